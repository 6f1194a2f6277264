"""A labelled text -> token ids, and at every decision the ids that the lock allows.

Uses the formats' `render` and `lock` and the prompt of extraction, so a model learns under the lock
it will decode under. Knows nothing of torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from genner_cli import locking
from genner_cli.formats import LeftOut, output_format
from genner_cli.locking import Lock
from genner_cli.prompting import Prompt
from genner_cli.training.tokens import Tokens
from genner_cli.types import Entity, Label


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


@dataclass(frozen=True, slots=True)
class Decision:
    """A position of `Example.ids` where more than one token was legal; the first one is right.

    `opens`: the right one opens an entity where none was open.
    """

    position: int
    legal: tuple[int, ...]
    opens: bool


@dataclass(frozen=True, slots=True)
class Example:
    """`ids` are prompt (BOS first, where the model wants it), completion and the token that ends it.

    The first `prefix` ids are those of the prompt before the text, which other examples may begin with too; the
    prompt ends before `completion_start`. `left_out`: entities that the completion does not say, as its format cannot.
    """

    ids: tuple[int, ...]
    prefix: int
    completion_start: int
    decisions: tuple[Decision, ...]
    left_out: tuple[LeftOut, ...]


def encode(
    sample: Sample, tokens: Tokens, prompt: Prompt, format: str, depth: int, *, decisions: bool = True
) -> Example:
    """The example of a sample, without its decisions where nobody asks for them: to find them takes most of the time.

    Raises DataError where an entity's boundary falls inside a token of a format that keeps tokens whole.
    """
    output = output_format(format)
    names = [label.name for label in sample.labels]
    rendering = output.render(sample.text, sample.entities, names, depth=depth)
    lock = output.lock(sample.text, names, depth=depth).segmented(tokens.pieces)
    prefix = tokens.begins + tokens.prompt(prompt.prefix(sample.labels))
    prompt_ids = prefix + tokens.prompt(prompt.rest(sample.text))
    canonical = None if lock.by_token else tokens.plain(rendering.completion)
    written = list(_follow(rendering.completion, lock, tokens, canonical, decisions=decisions))
    return Example(
        ids=(*prompt_ids, *(step.id for step in written), tokens.tokenizer.eos_token_id),
        prefix=len(prefix),
        completion_start=len(prompt_ids),
        decisions=tuple(
            Decision(at, (step.id, *step.others), step.opens)
            for at, step in enumerate(written, len(prompt_ids))
            if step.others
        ),
        left_out=rendering.left_out,
    )


class _Step(NamedTuple):
    """A token of a completion, the others that were legal in its place, and whether it opens an entity."""

    id: int
    others: tuple[int, ...] = ()
    opens: bool = False


def _follow(
    completion: str, lock: Lock, tokens: Tokens, canonical: Sequence[int] | None, *, decisions: bool
) -> Iterator[_Step]:
    """The completion, each token checked against the lock; where `canonical` is None the lock says how it is cut."""
    for id, legal, before, after in locking.follow(completion, lock, tokens.vocabulary, canonical, legal=decisions):
        opens = locking.inside(lock, after) and not locking.inside(lock, before)
        yield _Step(id, tuple(other for other in legal if other != id) if decisions else (), opens)
