"""Occurrence JSON: `[{"text": "John Smith", "label": "PER", "occurrence_index": 1}]` (paper, output formats).

Canonical: items by position; the index counts the occurrences of that text between word borders, from 1.
"""

from __future__ import annotations

from collections.abc import Sequence

from genner_cli.formats import listing, numbered
from genner_cli.formats.borders import Mentions
from genner_cli.formats.carriable import Rendering
from genner_cli.types import Entity

_KEY = "occurrence_index"


def _numbers(mentions: Mentions, mention: str, start: int) -> dict[str, int]:
    places = mentions.occurrences(mention)
    return {_KEY: places.index(start) + 1 if start in places else len(mentions.text)}


def _start(mentions: Mentions, mention: str, numbers: dict[str, int]) -> int:
    places = mentions.occurrences(mention)
    return places[numbers[_KEY] - 1] if 1 <= numbers[_KEY] <= len(places) else -1


def render(text: str, entities: Sequence[Entity], labels: Sequence[str], *, depth: int = 1) -> Rendering:
    """The completion that says these entities, and what it cannot say."""
    return numbered.render(text, entities, labels, depth, _numbers)


def grammar(labels: Sequence[str], *, depth: int = 1) -> str:
    """The GBNF of all completions with these labels; the same for any depth."""
    return numbered.grammar(labels, [_KEY])


def lock(text: str, labels: Sequence[str], *, depth: int = 1) -> listing.ListingLock:
    """What may be written for this text (`locking.Lock`)."""
    return numbered.NumberedLock(text, tuple(labels), depth, numbers=_numbers)


def parse(completion: str, text: str) -> list[Entity]:
    """The entities of a completion; raises DataError if it is no listing of this text's mentions."""
    return numbered.parse(completion, text, [_KEY], _start)
