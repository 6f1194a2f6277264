"""A labelled text -> token ids, and at every decision the ids that the lock allows.

Uses the formats' `render` and `lock` and the prompt of extraction, so a model learns under the lock
it will decode under. Knows nothing of torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from genner_cli import locking
from genner_cli.errors import DataError
from genner_cli.formats import output_format
from genner_cli.formats.carriable import LeftOut
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
    """`ids` are prompt (BOS first, where the model wants it) and completion; the prompt ends before `completion_start`.

    `left_out`: entities that the completion does not say, as its format cannot.
    """

    ids: tuple[int, ...]
    completion_start: int
    decisions: tuple[Decision, ...]
    left_out: tuple[LeftOut, ...]


def encode(sample: Sample, tokens: Tokens, prompt: Prompt, format: str, depth: int) -> Example:
    """The example of a sample.

    Raises DataError where an entity's border falls inside a token of a format that keeps tokens whole.
    """
    output = output_format(format)
    names = [label.name for label in sample.labels]
    rendering = output.render(sample.text, sample.entities, names, depth=depth)
    lock = output.lock(sample.text, names, depth=depth).segmented(tokens.pieces)
    prompt_ids = tokens.begins + tokens.prompt(prompt.prefix(sample.labels) + prompt.rest(sample.text))
    completion_ids, decisions = _follow(rendering.completion, lock, tokens, len(prompt_ids))
    return Example(
        ids=(*prompt_ids, *completion_ids),
        completion_start=len(prompt_ids),
        decisions=decisions,
        left_out=rendering.left_out,
    )


def _follow(completion: str, lock: Lock, tokens: Tokens, offset: int) -> tuple[list[int], tuple[Decision, ...]]:
    """The completion's ids, checked token by token against the lock, and its decisions."""
    vocabulary, rest = tokens.vocabulary, completion.encode()
    canonical = [] if lock.by_token else tokens.plain(completion)
    places = locking.begin(lock)
    ids: list[int] = []
    decisions = []
    while rest:
        legal = vocabulary.legal(lock, places)
        id = _longest(legal, vocabulary, lock, rest) if lock.by_token else canonical[len(ids)]
        if id not in legal:
            raise DataError(f"the lock refuses the completion before {rest[:40].decode(errors='replace')!r}")
        data = vocabulary.bytes_of(id, lock) or b""
        after = locking.advance(lock, places, data)
        if len(legal) > 1:
            ordered = (id, *(other for other in legal if other != id))
            opens = locking.inside(lock, after) and not locking.inside(lock, places)
            decisions.append(Decision(offset + len(ids), ordered, opens))
        places, rest = after, rest[len(data) :]
        ids.append(id)
    return ids, tuple(decisions)


def _longest(legal: Sequence[int], vocabulary: locking.Vocabulary, lock: Lock, rest: bytes) -> int | None:
    fitting = [(len(data), id) for id in legal if (data := vocabulary.bytes_of(id, lock)) and rest.startswith(data)]
    return max(fitting)[1] if fitting else None
