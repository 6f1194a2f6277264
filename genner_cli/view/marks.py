"""A document beside gold, or alone -> marks around its entities, and its text cut where they open and close.

Knows nothing of colours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from genner_cli.plurals import counted
from genner_cli.scoring.matching import Aligned, ErrorClass, align
from genner_cli.types import Entity, canonical_order
from genner_cli.view.viewed import ICONS, Viewed, verdict


@dataclass(frozen=True, slots=True)
class Mark:
    """An entity and the label shown behind it; `number` tells those apart that cross others."""

    entity: Entity
    label: str
    error: ErrorClass | None = None
    number: str = ""


def marks_of(document: Viewed) -> tuple[list[Mark], str]:
    """The marks of a document in canonical order, and what was counted in it."""
    marks, counts = _alone(document) if document.gold is None else _compared(document, document.gold)
    return list(_numbered(marks)), counts


def _alone(document: Viewed) -> tuple[list[Mark], str]:
    marks = [Mark(entity, entity.label) for entity in document.predicted]
    return marks, counted(len(marks), "entity")


def _compared(document: Viewed, gold: Sequence[Entity]) -> tuple[list[Mark], str]:
    pairs = list(align(gold, document.predicted))
    numbers = Counter(pair.error for pair in pairs)
    shown = [f"{icon} {numbers[error]:,} {verdict(error)}" for error, icon in ICONS.items() if numbers[error]]
    return [_judged(pair) for pair in pairs], "  ".join(shown) or "no entities"


def _judged(pair: Aligned) -> Mark:
    """The predicted entity, with what gold has in its place; the gold entity where it was missed."""
    entity = pair.predicted or pair.gold
    assert entity, "a pair has at least one side"
    expected = ""
    if pair.gold and pair.error in (ErrorClass.LABEL, ErrorClass.BOTH):
        expected += f" {pair.gold.label}"
    if pair.gold and pair.error in (ErrorClass.BOUNDARY, ErrorClass.BOTH):
        expected += f" {pair.gold.start}:{pair.gold.end}"
    shown = f"{ICONS[pair.error]} {entity.label}{', gold' if expected else ''}{expected}"
    return Mark(entity, shown, pair.error)


def _numbered(marks: Iterable[Mark]) -> Iterator[Mark]:
    """The marks in canonical order; those that cross another get a number, which opens and closes them."""
    ordered = sorted(marks, key=lambda mark: canonical_order(mark.entity))
    crossing: set[int] = set()
    running: list[int] = []
    for place, mark in enumerate(ordered):
        running = [other for other in running if ordered[other].entity.end > mark.entity.start]
        crossed = [
            other
            for other in running
            if ordered[other].entity.start < mark.entity.start and ordered[other].entity.end < mark.entity.end
        ]
        crossing.update(crossed, [place] if crossed else [])
        running.append(place)
    numbers = {place: f"{number} " for number, place in enumerate(sorted(crossing), 1)}
    return (replace(mark, number=numbers.get(place, "")) for place, mark in enumerate(ordered))


class Piece(NamedTuple):
    """A part of the text, of the innermost mark if any; or what opens a mark, or closes it (`tag`)."""

    text: str
    mark: Mark | None
    opens: bool = False
    tag: bool = False


def pieces(text: str, marks: Sequence[Mark]) -> Iterator[Piece]:
    """The text in order, with what opens and closes the marks, which are in canonical order."""
    boundaries = {0, len(text)}.union(*((mark.entity.start, mark.entity.end) for mark in marks))
    waiting = list(reversed(marks))
    running: list[Mark] = []
    at = 0
    for boundary in sorted(boundaries):
        yield Piece(text[at:boundary], running[-1] if running else None)
        for mark in reversed(running):
            if mark.entity.end == boundary:
                yield Piece(f" | {mark.number}{mark.label}]", mark, tag=True)
        running = [mark for mark in running if mark.entity.end > boundary]
        while waiting and waiting[-1].entity.start == boundary:
            running.append(waiting.pop())
            yield Piece(f"[{running[-1].number}", running[-1], opens=True)
        at = boundary
