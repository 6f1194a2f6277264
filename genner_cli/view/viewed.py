"""An extraction, alone or with its gold document -> a document as it is shown, with the icon of each verdict and the
colour of each label: the same on the page, on the terminal, and in every run.

A colour is a hue of OKLCH in degrees; lightness and chroma are the page's, and the same for all labels, so that all
are equally legible.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any
from zlib import crc32

from genner_cli.scoring import ErrorClass
from genner_cli.types import Document, Entity, Extraction


@dataclass(frozen=True, slots=True)
class Viewed:
    """A document as it is shown. `gold` is None where there is none to compare with; `error` says why it failed."""

    text: str
    id: str | None = None
    predicted: tuple[Entity, ...] = ()
    gold: tuple[Entity, ...] | None = None
    error: str | None = None
    source: str = ""
    fields: dict[str, Any] = field(default_factory=dict)


def alone(extraction: Extraction) -> Viewed:
    """The document without gold; each entity once."""
    document = extraction.document
    text, message = (document.text, None) if isinstance(document, Document) else ("", document.message)
    return Viewed(
        text=text,
        id=document.id,
        predicted=tuple(dict.fromkeys(extraction.entities)),
        error=extraction.error or message,
        source=document.source,
        fields=document.fields,
    )


def with_gold(gold: Document, extraction: Extraction) -> Viewed:
    """The document beside its gold entities; a failed one takes its text from gold, and misses all."""
    return replace(alone(extraction), text=gold.text, gold=tuple(dict.fromkeys(gold.entities)))


ICONS: dict[ErrorClass | None, str] = {
    None: "✓",
    ErrorClass.LABEL: "≠",
    ErrorClass.BOUNDARY: "↔",
    ErrorClass.BOTH: "✗",
    ErrorClass.SPURIOUS: "+",
    ErrorClass.MISSED: "−",
}
"""By what `scoring.matching.align` says of an entity; None is a hit."""

_USUAL = {
    25: ("per", "person", "people"),
    245: ("org", "organization", "organisation", "group"),
    150: ("loc", "location", "place", "gpe", "polity"),
    75: ("time", "date"),
    320: ("event",),
    195: ("norp", "facility", "fac"),
    285: ("work", "work_of_art", "abstract"),
    110: ("product", "object", "vehicle"),
    0: ("misc",),
}
"""Labels that often stand together, apart from each other."""

_HUES = {name: hue for hue, names in _USUAL.items() for name in names}


def verdict(error: ErrorClass | None) -> str:
    """What the icon stands for."""
    return "hit" if error is None else error.value


def hue(label: str) -> int:
    """In [0, 360), from the name alone."""
    name = label.casefold()
    return _HUES[name] if name in _HUES else crc32(name.encode()) % 360
