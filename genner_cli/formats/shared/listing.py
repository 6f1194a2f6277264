"""What the JSON formats share: mentions listed as JSON strings, each a part of the source.

`category`, `open` and the formats of `numbered` say how an item looks. Mentions stand between word boundaries.
"""

from __future__ import annotations

import json
import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from genner_cli.errors import DataError
from genner_cli.formats import LeftOut, Marked, OutputFormat
from genner_cli.formats.shared.boundaries import Mentions
from genner_cli.types import Entity, Range, canonical_order


class ListingFormat(OutputFormat):
    """A JSON format; subclasses give its items."""

    @abstractmethod
    def official_tuples(self, value: Any) -> Iterable[tuple[Any, ...]]:
        """The tuples (label, mention, ...) in a parsed completion; raises ValueError or TypeError for a bad number."""

    def official(self, completion: str, labels: Sequence[str]) -> Marked:
        """JSON that cannot be read has no entities."""
        try:
            return Marked("", list(self.official_tuples(json.loads(completion))))
        except (ValueError, TypeError, OverflowError, RecursionError):
            return Marked("", [])

    def parse_loosely(self, completion: str, text: str, labels: Sequence[str]) -> list[Entity]:
        try:
            value = json.loads(completion)
        except (ValueError, RecursionError) as error:
            raise DataError(f"the completion is not JSON ({error})") from error
        if not isinstance(value, list | dict):
            raise DataError("the completion is neither a list nor an object")
        return sorted({_located(item, text) for item in self.items(value)}, key=canonical_order)

    def items(self, value: list[Any] | dict[str, Any]) -> Iterable[Any]:
        """The items of a parsed completion, each with its text, label, and the place or the number of its
        occurrence."""
        if isinstance(value, list):
            return value
        return counted_items((mention, label) for label, listed in value.items() for mention in _list(listed))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def counted_items(listed: Iterable[tuple[Any, Any]]) -> Iterator[dict[str, Any]]:
    """Mentions with their labels as items with the number of each mention among its equals."""
    counts: Counter[str] = Counter()
    for mention, label in listed:
        counts[str(mention)] += 1
        yield {"text": mention, "label": label, "occurrence_index": counts[str(mention)]}


def _located(item: Any, text: str) -> Entity:
    """The entity of an item: at its start, else its k-th occurrence, overlapping ones and those in words included."""
    given = item if isinstance(item, dict) else {}
    mention, label, start = given.get("text"), given.get("label"), given.get("start")
    if not (isinstance(mention, str) and mention and isinstance(label, str)):
        raise DataError(f"{item!r} has no text and label")
    if start is None:
        places = [match.start() for match in re.finditer(f"(?={re.escape(mention)})", text)]
        number = given.get("occurrence_index", 1)
        start = places[number - 1] if isinstance(number, int) and 0 < number <= len(places) else -1
    if not isinstance(start, int) or start < 0 or not text.startswith(mention, start):
        raise DataError(f"{mention!r} is not in the text where {item!r} has it")
    return Entity(start, start + len(mention), label, mention)


class Counted(NamedTuple):
    """Entities in an order in which the k-th listing of a text means its k-th occurrence, and the others."""

    entities: list[Entity]
    left_out: tuple[LeftOut, ...]


def counted(mentions: Mentions, entities: Iterable[Entity]) -> Counted:
    """Of entities in the order in which they are to be listed, those that can be."""
    listed: list[Entity] = []
    left_out: list[LeftOut] = []
    counts: Counter[str] = Counter()
    for entity in entities:
        places, count = mentions.occurrences(entity.text), counts[entity.text]
        if entity.start in places[count : count + 1]:
            listed.append(entity)
            counts[entity.text] += 1
        elif entity.start in places:
            left_out.append(LeftOut(entity, f"listing {entity.text!r} here would mean another occurrence"))
        else:
            left_out.append(LeftOut(entity, "it does not stand between word boundaries"))
    return Counted(listed, tuple(left_out))


class Occurrences:
    """Reads listings in order: the k-th of a text means its k-th occurrence."""

    def __init__(self, text: str) -> None:
        self._mentions = Mentions(text)
        self._listed: Counter[str] = Counter()

    def next(self, mention: str) -> int:
        """Where the mention that is listed next starts; -1 where there is none."""
        places = self._mentions.occurrences(mention) if mention else ()
        self._listed[mention] += 1
        number = self._listed[mention]
        return places[number - 1] if number <= len(places) else -1


def located(text: str, start: int, mention: str, label: str, rendering: Range) -> Entity:
    """The entity at this place; raises DataError if its mention does not stand there or has no label."""
    if not label:
        raise DataError(f"the completion gives {mention!r} no label, at character {rendering.start}")
    if not mention or start < 0 or text[start : start + len(mention)] != mention:
        raise DataError(f"the text has no {mention!r} at {start}")
    return Entity(start, start + len(mention), label, mention, rendering=(rendering,))
