"""The output formats, one file each, all with the same four functions.

    render(text, entities, labels, *, depth)   what the model should write, and what that cannot say
    grammar(labels, *, depth)                  the GBNF of everything it may write, for any text
    lock(text, labels, *, depth)               what it may write next, for this text (`locking.Lock`)
    parse(completion, text)                    the entities it has written, in canonical order

For all entities that a format can carry, `parse(render(x)) == x`, and grammar and lock accept `render(x)`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from genner_cli.errors import UsageError
from genner_cli.formats import bracketed, category_json, inserted, occurrence_json, offset_json, xml
from genner_cli.formats.carriable import Rendering
from genner_cli.locking import Lock
from genner_cli.types import Entity


class OutputFormat(Protocol):
    """The four functions of a format's module."""

    def render(self, text: str, entities: Sequence[Entity], labels: Sequence[str], *, depth: int = 1) -> Rendering: ...

    def grammar(self, labels: Sequence[str], *, depth: int = 1) -> str: ...

    def lock(self, text: str, labels: Sequence[str], *, depth: int = 1) -> Lock: ...

    def parse(self, completion: str, text: str) -> list[Entity]: ...


FORMATS: Mapping[str, OutputFormat] = {
    "bracketed": bracketed,
    "xml": xml,
    "category": category_json,
    "occurrence": occurrence_json,
    "offset": offset_json,
    "inserted": inserted,
}


def output_format(name: str) -> OutputFormat:
    """The format of this name; raises UsageError."""
    if name not in FORMATS:
        raise UsageError(f"there is no output format {name!r}; choose one of {', '.join(FORMATS)}")
    return FORMATS[name]
