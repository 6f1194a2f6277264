"""Entities of a text -> a tag for each word (BIO), and back; widened to whole words. Knows nothing of models."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from genner_cli.types import Entity, Range

_WORD = re.compile(r"\w+|[^\w\s]")
OUTSIDE = "O"


def words(text: str, within: Range | None = None) -> list[Range]:
    """Runs of letters, digits and underscores, and every other character but white space on its own."""
    start, end = within or (0, len(text))
    return [Range(*match.span()) for match in _WORD.finditer(text, start, end)]


def tags(places: Sequence[Range], entities: Iterable[Entity]) -> list[str]:
    """A tag for each word; an entity has all words that it touches, if no entity before it has one of them."""
    found = [OUTSIDE] * len(places)
    for entity in entities:
        touched = [at for at, place in enumerate(places) if place.start < entity.end and entity.start < place.end]
        if touched and all(found[at] == OUTSIDE for at in touched):
            found[touched[0]] = f"B-{entity.label}"
            found[touched[0] + 1 : touched[-1] + 1] = [f"I-{entity.label}"] * (len(touched) - 1)
    return found


def entities_of(text: str, places: Sequence[Range], found: Sequence[str]) -> list[Entity]:
    """The entities that tags say; I- where nothing of that label goes before it begins one (as conlleval reads it)."""
    runs: list[tuple[str, int, int]] = []
    before = OUTSIDE
    for place, tag in zip(places, found, strict=True):
        if tag.startswith("I-") and before[2:] == tag[2:]:
            runs[-1] = (tag[2:], runs[-1][1], place.end)
        elif tag != OUTSIDE:
            runs.append((tag[2:], *place))
        before = tag
    return [Entity(start, end, label, text[start:end]) for label, start, end in runs]
