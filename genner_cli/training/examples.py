"""A labelled text -> token ids, and at every decision the ids that the lock allows.

Uses the formats' `render` and `lock` and the prompt of extraction, so a model learns under the lock
it will decode under. Knows nothing of torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from genner_cli import constrained, locking
from genner_cli.formats import LeftOut, output_format
from genner_cli.formats.shared.inline_lock import InlineLock
from genner_cli.formats.shared.meaning import Reader, Situation
from genner_cli.locking import Lock, Places
from genner_cli.prompting import Prompt
from genner_cli.types import Entity, Label, Piece


class Tokenizer(constrained.Tokenizer, Protocol):
    """One model's tokenizer. `begins`: ids that stand before every prompt; `end`: the id that ends a completion."""

    @property
    def begins(self) -> list[int]: ...

    @property
    def end(self) -> int: ...

    def prompt(self, pieces: Sequence[Piece]) -> list[int]: ...


@dataclass(frozen=True, slots=True)
class Sample:
    """A text, its gold entities, and the labels to ask for.

    `source` names file and line for messages, and `start` says where the text begins in that document.
    """

    text: str
    entities: tuple[Entity, ...]
    labels: tuple[Label, ...]
    source: str = ""
    start: int = 0


class Meaning(NamedTuple):
    """A decision in terms of the text: its situation, and for each legal token the outcomes that it leaves."""

    situation: Situation
    outcomes: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """A position of `Example.ids` where more than one token was legal; the first one is right.

    `opens`: the right one opens an entity where none was open. `meaning`: what each of them decides, where that was
    asked for. `target`: the probabilities that a teacher gives to groups of the legal tokens, and `groups` the group of
    each token (-1: in none); both empty without a teacher's answer.
    """

    position: int
    legal: tuple[int, ...]
    opens: bool
    meaning: Meaning | None = None
    groups: tuple[int, ...] = ()
    target: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Example:
    """`ids` are prompt (BOS first, where the model wants it), completion and the token that ends it.

    The first `prefix` ids are those of the prompt before the text, which other examples may begin with too; the
    prompt ends before `completion_start`. `left_out`: entities that the completion does not say, as its format cannot.
    `reference`: the log-probability (nats) of the completion before training, where preferences are learnt.
    """

    ids: tuple[int, ...]
    prefix: int
    completion_start: int
    decisions: tuple[Decision, ...]
    left_out: tuple[LeftOut, ...]
    reference: float = 0.0


def encode(
    sample: Sample,
    tokens: Tokenizer,
    prompt: Prompt,
    format: str,
    depth: int,
    *,
    decisions: bool = True,
    meanings: bool = False,
) -> Example:
    """The example of a sample, without its decisions where nobody asks for them: to find them takes most of the time.

    `meanings`: whether decisions get theirs, which takes an inline format.
    Raises DataError where an entity's boundary falls inside a token of a format that keeps tokens whole.
    """
    output = output_format(format)
    names = [label.name for label in sample.labels]
    rendering = output.render(sample.text, sample.entities, names, depth=depth)
    lock = output.lock(sample.text, names, depth=depth).segmented(tokens.pieces)
    prefix = tokens.begins + tokens.prompt(prompt.prefix(sample.labels))
    prompt_ids = prefix + tokens.prompt(prompt.rest(sample.text))
    canonical = None if lock.by_token else tokens.plain(rendering.completion)
    reader = Reader(lock) if meanings and isinstance(lock, InlineLock) else None
    written = list(_follow(rendering.completion, lock, tokens, canonical, decisions=decisions, reader=reader))
    return Example(
        ids=(*prompt_ids, *(step.id for step in written), tokens.end),
        prefix=len(prefix),
        completion_start=len(prompt_ids),
        decisions=tuple(
            Decision(at, (step.id, *step.others), step.opens, step.meaning)
            for at, step in enumerate(written, len(prompt_ids))
            if step.others
        ),
        left_out=rendering.left_out,
    )


class _Step(NamedTuple):
    """A token of a completion, the others that were legal in its place, whether it opens an entity, and what each of
    them means."""

    id: int
    others: tuple[int, ...] = ()
    opens: bool = False
    meaning: Meaning | None = None


def _follow(
    completion: str,
    lock: Lock,
    tokens: Tokenizer,
    canonical: Sequence[int] | None,
    *,
    decisions: bool,
    reader: Reader | None,
) -> Iterator[_Step]:
    """The completion, each token checked against the lock; where `canonical` is None the lock says how it is cut."""
    vocabulary = tokens.vocabulary
    for id, legal, before, after in locking.follow(completion, lock, vocabulary, canonical, legal=decisions):
        opens = locking.inside(lock, after) and not locking.inside(lock, before)
        others = tuple(other for other in legal if other != id) if decisions else ()
        options = [(vocabulary.bytes_of(each, lock) or b"", legal[each]) for each in (id, *others)] if reader else []
        yield _Step(id, others, opens, _meaning(reader, before, options) if reader else None)


def _meaning(reader: Reader, places: Places, options: Sequence[tuple[bytes, Places]]) -> Meaning | None:
    """What each of the legal tokens decides, of which these are the bytes and the places they lead to."""
    situation = reader.read(places, forced=len(options) == 1)
    return situation and Meaning(situation, tuple(reader.outcomes(data, after) for data, after in options))
