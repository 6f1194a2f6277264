"""What occurrence JSON and offset JSON share: a list of objects with a text, a label and numbers.

The two differ in how they tell one occurrence of a text from another, given here as `numbers`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from genner_cli.errors import DataError
from genner_cli.formats import gbnf, listing
from genner_cli.formats.borders import Mentions
from genner_cli.formats.carriable import Rendering, select
from genner_cli.formats.listing import Done, Naming, Opening, Reading, Span, Taken
from genner_cli.locking import Edge, State
from genner_cli.types import Entity, Range, canonical_order

Numbers = Callable[[Mentions, str, int], dict[str, int]]
"""(mentions of the text, mention, start) -> the numbers of an item, by their JSON keys."""

Start = Callable[[Mentions, str, dict[str, int]], int]
"""(mentions of the text, mention, numbers) -> its start, or -1 where the numbers fit no occurrence."""


def render(text: str, entities: Sequence[Entity], labels: Sequence[str], depth: int, numbers: Numbers) -> Rendering:
    """The completion that says these entities, and what it cannot say."""
    mentions = Mentions(text)

    def refuse(entity: Entity) -> str | None:
        known = entity.start in mentions.occurrences(entity.text)
        return None if known else "it does not stand between word borders"

    kept, left_out = select(text, entities, labels, depth, refuse)
    items = [{"text": e.text, "label": e.label, **numbers(mentions, e.text, e.start)} for e in kept]
    return Rendering(json.dumps(items, ensure_ascii=False), left_out)


def grammar(labels: Sequence[str], keys: Sequence[str]) -> str:
    """The GBNF of all completions with these labels."""
    numbers = ' ", " '.join(f'"\\"{key}\\": " number' for key in keys)
    label = " | ".join(gbnf.literal(json.dumps(label, ensure_ascii=False)) for label in labels)
    return gbnf.rules(
        root='"[]" | "[" item (", " item)* "]"',
        item=r'"{\"text\": \"" char+ "\", \"label\": " label ", " ' + numbers + ' "}"',
        label=label,
        number='"0" | [1-9] [0-9]*',
        char=listing.CHARACTER,
    )


@dataclass(frozen=True, eq=False)
class NumberedLock(listing.ListingLock):
    """`place` says whether an item has come yet."""

    numbers: Numbers = lambda mentions, mention, start: {}

    @property
    def start(self) -> State:
        return Opening(False, frozenset())

    def spans(self, place: Any, taken: Taken, mention: str) -> Iterator[Span]:
        for start in self._mentions.occurrences(mention):
            for label in self.labels:
                span = Span(start, start + len(mention), label)
                if listing.fits(taken, span, self.depth):
                    yield span

    def listable(self, place: Any, taken: Taken, start: int, end: int) -> bool:
        return any(listing.fits(taken, Span(start, end, label), self.depth) for label in self.labels)

    def between(self, state: Opening) -> Iterator[Edge]:
        any_item = state.place
        reading = self.readable(True, state.taken)
        if reading:
            yield Edge((b", " if any_item else b"[") + b'{"text": "', reading)
        yield Edge(b"]" if any_item else b"[]", Done())

    def closing(self, state: Reading, mention: str) -> Iterator[Edge]:
        for label in dict.fromkeys(span.label for span in self.spans(True, state.taken, mention)):
            yield Edge(_named(label), Naming(True, state.taken, mention, label))

    def naming(self, state: Naming) -> Iterator[Edge]:
        for span in self.spans(True, state.taken, state.mention):
            if span.label == state.label:
                yield Edge(self._numbered(state.mention, span.start), Opening(True, state.taken | {span}))

    def tail(self, state: State) -> int:
        if isinstance(state, Done):
            return 0
        if isinstance(state, Opening):
            return len("]") if state.place else len("[]")
        if isinstance(state, Naming):
            return min(len(edge.data) for edge in self.edges(state)) + len("]")
        named = max(len(_named(label)) for label in self.labels)
        return named + len(self._numbered(self.text, len(self.text))) + len("]")

    def _numbered(self, mention: str, start: int) -> bytes:
        numbers = self.numbers(self._mentions, mention, start)
        return ", ".join(f'"{key}": {value}' for key, value in numbers.items()).encode() + b"}"


def _named(label: str) -> bytes:
    return b'", "label": ' + json.dumps(label, ensure_ascii=False).encode() + b", "


def parse(completion: str, text: str, keys: Sequence[str], start_of: Start) -> list[Entity]:
    """The entities of a completion; raises DataError if it is no listing of this text's mentions."""
    mentions = Mentions(text)
    scanner = listing.Scanner(completion)
    entities = []
    scanner.take("[")
    more = scanner.take("{", "]") == "{"
    while more:
        began = scanner.began
        mention = _field(scanner, "text").string()
        scanner.take(",")
        label = _field(scanner, "label").string()
        numbers = {}
        for key in keys:
            scanner.take(",")
            numbers[key] = _field(scanner, key).number()
        scanner.take("}")
        start = start_of(mentions, mention, numbers) if mention else -1
        entities.append(listing.located(text, start, mention, label, Range(began, scanner.at)))
        more = scanner.take(",", "]") == ","
        if more:
            scanner.take("{")
    scanner.end()
    return sorted(entities, key=canonical_order)


def _field(scanner: listing.Scanner, key: str) -> listing.Scanner:
    found = scanner.string()
    if found != key:
        raise DataError(f"the completion has the key {found!r} where {key!r} belongs, at character {scanner.began}")
    scanner.take(":")
    return scanner
