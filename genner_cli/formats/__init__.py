"""The output formats: each module of this package is one, and its `FORMAT` is all that the rest of genner knows of it.

For all entities that a format can carry, `parse(render(x)) == x`, and grammar and lock accept `render(x)`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar, NamedTuple

from genner_cli.data.characters import inner_offsets
from genner_cli.errors import UsageError
from genner_cli.locking import Lock
from genner_cli.registry import Registry
from genner_cli.types import Entity, canonical_order

DEFAULT_DEPTH = 4
"""How deep nested entities may nest; 1 is flat."""


class LeftOut(NamedTuple):
    """An entity that a format cannot carry, and why."""

    entity: Entity
    reason: str


class Rendering(NamedTuple):
    """A completion, and the entities that are not in it."""

    completion: str
    left_out: tuple[LeftOut, ...]


class Claim(NamedTuple):
    """A mention in a completion, valid or not; `start` and `end`, or the number of its occurrence from 1, if given."""

    mention: str
    start: int | None = None
    end: int | None = None
    occurrence: int | None = None


class Marked(NamedTuple):
    """A completion as the paper's scripts read it: its text without markup, "" for JSON, and a tuple for each entity.

    Tuples begin with the label; start and end in the text follow, or what a JSON item says.
    """

    text: str
    entities: list[tuple[Any, ...]]


class OutputFormat(ABC):
    """What training teaches (`render`), decoding allows (`grammar`, `lock`) and extraction reads (`parse`)."""

    task: ClassVar[str]
    """How instruction data describe the output, a sentence or two."""
    free_labels: ClassVar[bool] = False
    """Whether entities may have labels of any name where no labels are given."""

    @abstractmethod
    def render(self, text: str, entities: Sequence[Entity], labels: Sequence[str], *, depth: int = 1) -> Rendering:
        """The canonical completion for these entities, nested at most `depth` deep."""

    @abstractmethod
    def grammar(self, labels: Sequence[str], *, depth: int = 1) -> str:
        """The GBNF of all completions with these labels, for any text."""

    @abstractmethod
    def lock(self, text: str, labels: Sequence[str], *, depth: int = 1, whole_words: bool = False) -> Lock:
        """What may be written for this text. `whole_words`: mentions start and end at word boundaries only, as they
        always do in the JSON formats."""

    @abstractmethod
    def parse(self, completion: str, text: str) -> list[Entity]:
        """The entities of a completion in canonical order; raises DataError where it is not one for this text."""

    @abstractmethod
    def parse_loosely(self, completion: str, text: str, labels: Sequence[str]) -> list[Entity]:
        """Like `parse`, for completions as the paper's data have them: markup in the text is not escaped, and
        mentions may stand inside words."""

    @abstractmethod
    def claims(self, completion: str) -> Iterator[Claim]:
        """Every whole mention in a completion, also in one that `parse` refuses, in order of their ends."""

    @abstractmethod
    def official(self, completion: str, labels: Sequence[str]) -> Marked:
        """The completion as the scripts of arXiv 2601.17898 read it (szu-tera/LLMs4NER, evaluation/, 2026-05)."""


FORMATS: Registry[OutputFormat] = Registry(__name__, __path__)


def output_format(name: str) -> OutputFormat:
    """The format of this name; raises UsageError."""
    if name not in FORMATS:
        raise UsageError(f"there is no output format {name!r}; choose one of {', '.join(FORMATS)}")
    return FORMATS[name]


def select(
    text: str,
    entities: Iterable[Entity],
    labels: Sequence[str],
    depth: int,
    refuse: Callable[[Entity], str | None] | None = None,
) -> tuple[list[Entity], tuple[LeftOut, ...]]:
    """The entities that any format can carry, in canonical order: spans that nest, of whole visible characters, without
    outer white space; and the others.

    `refuse` is the format's own objection to an entity, asked last.
    """
    kept: list[Entity] = []
    around: list[Entity] = []
    left_out: list[LeftOut] = []
    inside = inner_offsets(text)
    for entity in sorted(entities, key=canonical_order):
        while around and around[-1].end <= entity.start:
            around.pop()
        reason = _objection(text, entity, labels, around, kept, depth)
        if not reason and (entity.start in inside or entity.end in inside):
            reason = "it starts or ends inside a visible character"
        reason = reason or (refuse(entity) if refuse else None)
        if reason:
            left_out.append(LeftOut(entity, reason))
        else:
            kept.append(entity)
            around.append(entity)
    return kept, tuple(left_out)


def _objection(
    text: str, entity: Entity, labels: Sequence[str], around: Sequence[Entity], kept: Sequence[Entity], depth: int
) -> str | None:
    mention = text[entity.start : entity.end]
    if entity.label not in labels:
        return f"label {entity.label!r} is not in the label set"
    if not 0 <= entity.start < entity.end <= len(text):
        return f"{entity.start}:{entity.end} is not a range of the text"
    if mention != entity.text:
        return f"the text has {mention!r} at {entity.start}:{entity.end}, not {entity.text!r}"
    if mention != mention.strip():
        return "it starts or ends with white space"
    if entity in kept:
        return "it is listed twice"
    if around and around[-1].end < entity.end:
        return f"it crosses {around[-1].text!r}"
    if len(around) >= depth:
        return "it lies within another entity" if depth == 1 else f"it nests deeper than {depth}"
    return None
