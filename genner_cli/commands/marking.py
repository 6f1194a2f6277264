"""A document and its entities -> text for the terminal: brackets and labels, and colours where there are any.

    [John Smith | PER] joined [[Acme | ORG] Labs | ORG].

Beside gold each label follows a mark, as on the page: ✓ hit, ≠ wrong label, ↔ wrong boundary, ✗ both, + spurious,
− missed.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from colorsys import hls_to_rgb
from dataclasses import dataclass, replace

from rich.color import Color
from rich.style import Style
from rich.text import Text

from genner_cli.plurals import counted
from genner_cli.scoring.matching import Aligned, ErrorClass, align
from genner_cli.types import Entity, canonical_order
from genner_cli.view.viewed import ICONS, Viewed, hue, verdict

_STEERING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_HEAD, _FAILED = Style(bold=True), Style(bold=True, color="red")


@dataclass(frozen=True, slots=True)
class _Mark:
    """An entity and the label shown behind it; `number` tells those apart that cross others."""

    entity: Entity
    label: str
    error: ErrorClass | None = None
    number: str = ""


def marked(document: Viewed) -> Text:
    """The document: its name, what was counted in it, and its text with all entities marked."""
    marks, counts = _alone(document) if document.gold is None else _compared(document, document.gold)
    shown = Text.assemble((_printable(document.id or document.source), _HEAD), f"  {counts}\n")
    if document.error:
        shown.append(f"failed: {_printable(document.error)}\n", _FAILED)
    for text, style in _pieces(document.text, list(_numbered(marks))):
        shown.append(_printable(text), style)
    return shown.append("\n")


def _alone(document: Viewed) -> tuple[list[_Mark], str]:
    marks = [_Mark(entity, entity.label) for entity in document.predicted]
    return marks, counted(len(marks), "entity")


def _compared(document: Viewed, gold: Sequence[Entity]) -> tuple[list[_Mark], str]:
    pairs = list(align(gold, document.predicted))
    numbers = Counter(pair.error for pair in pairs)
    shown = [f"{icon} {numbers[error]:,} {verdict(error)}" for error, icon in ICONS.items() if numbers[error]]
    return [_judged(pair) for pair in pairs], "  ".join(shown) or "no entities"


def _judged(pair: Aligned) -> _Mark:
    """The predicted entity, with what gold has in its place; the gold entity where it was missed."""
    entity = pair.predicted or pair.gold
    assert entity, "a pair has at least one side"
    expected = ""
    if pair.gold and pair.error in (ErrorClass.LABEL, ErrorClass.BOTH):
        expected += f" {pair.gold.label}"
    if pair.gold and pair.error in (ErrorClass.BOUNDARY, ErrorClass.BOTH):
        expected += f" {pair.gold.start}:{pair.gold.end}"
    shown = f"{ICONS[pair.error]} {entity.label}{', gold' if expected else ''}{expected}"
    return _Mark(entity, shown, pair.error)


def _numbered(marks: Iterable[_Mark]) -> Iterator[_Mark]:
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


def _pieces(text: str, marks: Sequence[_Mark]) -> Iterator[tuple[str, Style]]:
    """The text in order, with what opens and closes the marks, which are in canonical order."""
    boundaries = {0, len(text)}.union(*((mark.entity.start, mark.entity.end) for mark in marks))
    waiting = list(reversed(marks))
    running: list[_Mark] = []
    at = 0
    for boundary in sorted(boundaries):
        yield text[at:boundary], _style(running[-1]) if running else Style.null()
        for mark in reversed(running):
            if mark.entity.end == boundary:
                yield f" | {mark.number}{mark.label}]", _style(mark) + _tag(mark)
        running = [mark for mark in running if mark.entity.end > boundary]
        while waiting and waiting[-1].entity.start == boundary:
            running.append(waiting.pop())
            yield f"[{running[-1].number}", _style(running[-1]) + _HEAD
        at = boundary


def _style(mark: _Mark) -> Style:
    """A tint of the label's hue; a line for what was not predicted."""
    if mark.error is ErrorClass.MISSED:
        return Style(underline=True)
    red, green, blue = (round(255 * part) for part in hls_to_rgb(hue(mark.entity.label) / 360, 0.86, 0.7))
    return Style(color="black", bgcolor=Color.from_rgb(red, green, blue))


def _tag(mark: _Mark) -> Style:
    return _FAILED if mark.error else _HEAD


def _printable(text: str) -> str:
    """Without what would steer the terminal or turn the text around: a file may say anything."""
    return "".join(repr(c)[1:-1] if _steers(c) else c for c in text)


def _steers(c: str) -> bool:
    return c in _STEERING or (unicodedata.category(c) == "Cc" and c not in "\n\t")
