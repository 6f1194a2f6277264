"""Offset JSON: `[{"text": "John Smith", "label": "PER", "start": 0, "end": 10}]` (paper, output formats).

Canonical: items by position; offsets in code points, end exclusive. Under the lock a start is a place
where the mention stands, and the end follows from it.
"""

from __future__ import annotations

from collections.abc import Sequence

from genner_cli.formats import listing, numbered
from genner_cli.formats.borders import Mentions
from genner_cli.formats.carriable import Rendering
from genner_cli.types import Entity

_KEYS = ("start", "end")


def _numbers(mentions: Mentions, mention: str, start: int) -> dict[str, int]:
    return {"start": start, "end": start + len(mention)}


def _start(mentions: Mentions, mention: str, numbers: dict[str, int]) -> int:
    return numbers["start"] if numbers["end"] - numbers["start"] == len(mention) else -1


def render(text: str, entities: Sequence[Entity], labels: Sequence[str], *, depth: int = 1) -> Rendering:
    """The completion that says these entities, and what it cannot say."""
    return numbered.render(text, entities, labels, depth, _numbers)


def grammar(labels: Sequence[str], *, depth: int = 1) -> str:
    """The GBNF of all completions with these labels; the same for any depth."""
    return numbered.grammar(labels, _KEYS)


def lock(text: str, labels: Sequence[str], *, depth: int = 1) -> listing.ListingLock:
    """What may be written for this text (`locking.Lock`)."""
    return numbered.NumberedLock(text, tuple(labels), depth, numbers=_numbers)


def parse(completion: str, text: str) -> list[Entity]:
    """The entities of a completion; raises DataError if it is no listing of this text's mentions."""
    return numbered.parse(completion, text, _KEYS, _start)
