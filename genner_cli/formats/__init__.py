"""The output formats: each module of this package is one, and its `FORMAT` is all that the rest of genner knows of it.

For all entities that a format can carry, `parse(render(x)) == x`, and grammar and lock accept `render(x)`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, NamedTuple

from genner_cli.errors import UsageError
from genner_cli.locking import Lock
from genner_cli.registry import Registry
from genner_cli.types import Entity

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

    @abstractmethod
    def render(self, text: str, entities: Sequence[Entity], labels: Sequence[str], *, depth: int = 1) -> Rendering:
        """The canonical completion for these entities, nested at most `depth` deep."""

    @abstractmethod
    def grammar(self, labels: Sequence[str], *, depth: int = 1) -> str:
        """The GBNF of all completions with these labels, for any text."""

    @abstractmethod
    def lock(self, text: str, labels: Sequence[str], *, depth: int = 1) -> Lock:
        """What may be written for this text."""

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
