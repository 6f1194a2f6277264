"""A label's colour and a verdict's icon: the same on every page, on the terminal, and in every run.

A colour is a hue of OKLCH in degrees; lightness and chroma are the page's, and the same for all labels, so that all
are equally legible.
"""

from __future__ import annotations

from zlib import crc32

from genner_cli.scoring import ErrorClass

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
