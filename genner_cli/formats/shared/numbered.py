"""What occurrence JSON and offset JSON share: a list of objects with a text, a label and numbers.

The two differ in the numbers by which they tell one occurrence of a text from another.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from genner_cli.errors import DataError
from genner_cli.formats import Claim, Rendering, select
from genner_cli.formats.shared import gbnf, json_text, listing, listing_lock
from genner_cli.formats.shared.boundaries import Mentions
from genner_cli.formats.shared.listing import ListingFormat
from genner_cli.formats.shared.listing_lock import Done, ItemsLock, Naming, Opening, Reading, Span, Taken
from genner_cli.locking import Edge, State
from genner_cli.types import Entity, Range, canonical_order


class NumberedFormat(ListingFormat):
    """A list of objects; subclasses give the numbers, by their JSON `keys`."""

    keys: ClassVar[tuple[str, ...]]

    @abstractmethod
    def numbers(self, mentions: Mentions, mention: str, start: int) -> dict[str, int]:
        """The numbers of the mention that starts there."""

    @abstractmethod
    def start(self, mentions: Mentions, mention: str, numbers: Mapping[str, int]) -> int:
        """Where the mention with these numbers starts, -1 where there is none."""

    @abstractmethod
    def claim(self, mention: str, numbers: Mapping[str, int]) -> Claim:
        """An item as a claim; a number is -1 where the item has none."""

    def render(self, text: str, entities: Sequence[Entity], labels: Sequence[str], *, depth: int = 1) -> Rendering:
        mentions = Mentions(text)

        def refuse(entity: Entity) -> str | None:
            known = entity.start in mentions.occurrences(entity.text)
            return None if known else "it does not stand between word boundaries"

        kept, left_out = select(text, entities, labels, depth, refuse)
        items = [{"text": e.text, "label": e.label, **self.numbers(mentions, e.text, e.start)} for e in kept]
        return Rendering(json.dumps(items, ensure_ascii=False), left_out)

    def grammar(self, labels: Sequence[str], *, depth: int = 1) -> str:
        """The same for any depth."""
        numbers = ' ", " '.join(f'"\\"{key}\\": " number' for key in self.keys)
        return gbnf.rules(
            root='"[]" | "[" item (", " item)* "]"',
            item=r'"{\"text\": \"" char+ "\", \"label\": " label ", " ' + numbers + ' "}"',
            label=gbnf.one_of(json.dumps(label, ensure_ascii=False) for label in labels),
            number='"0" | [1-9] [0-9]*',
            char=json_text.CHARACTER,
        )

    def lock(self, text: str, labels: Sequence[str], *, depth: int = 1, whole_words: bool = True) -> ItemsLock:
        return _Lock(text, tuple(labels), depth, format=self)

    def parse(self, completion: str, text: str) -> list[Entity]:
        mentions = Mentions(text)
        scanner = json_text.Scanner(completion)
        entities = []
        scanner.take("[")
        more = scanner.take("{", "]") == "{"
        while more:
            entities.append(self._item(scanner, mentions))
            more = scanner.take(",", "]") == ","
            if more:
                scanner.take("{")
        scanner.end()
        return sorted(entities, key=canonical_order)

    def _item(self, scanner: json_text.Scanner, mentions: Mentions) -> Entity:
        """The entity of an object whose brace is read."""
        began = scanner.began
        mention = _field(scanner, "text").string()
        scanner.take(",")
        label = _field(scanner, "label").string()
        numbers = {}
        for key in self.keys:
            scanner.take(",")
            numbers[key] = _field(scanner, key).number()
        scanner.take("}")
        start = self.start(mentions, mention, numbers) if mention else -1
        return listing.located(mentions.text, start, mention, label, Range(began, scanner.at))

    def claims(self, completion: str) -> Iterator[Claim]:
        for item in _objects(completion):
            if isinstance(item.get("text"), str):
                numbers = {key: item[key] if type(item.get(key)) is int else -1 for key in self.keys}
                yield self.claim(item["text"], numbers)

    def official_tuples(self, value: Any) -> Iterable[tuple[Any, ...]]:
        for item in value if isinstance(value, list) else []:
            if isinstance(item, dict) and all(item.get(key) is not None for key in ("text", "label", *self.keys)):
                yield str(item["label"]), str(item["text"]), *(int(item[key]) for key in self.keys)


def _field(scanner: json_text.Scanner, key: str) -> json_text.Scanner:
    name = scanner.string()
    if name != key:
        raise DataError(f"the completion has the key {name!r} where {key!r} belongs, at character {scanner.began}")
    scanner.take(":")
    return scanner


def _objects(completion: str) -> Iterator[dict[str, Any]]:
    """The JSON objects that are whole, whatever stands around them."""
    decoder = json.JSONDecoder()
    at = completion.find("{")
    while at >= 0:
        try:
            value, end = decoder.raw_decode(completion, at)
        except (ValueError, RecursionError):
            value, end = None, at + 1
        if isinstance(value, dict):
            yield value
        at = completion.find("{", end)


@dataclass(frozen=True, eq=False)
class _Lock(ItemsLock):
    format: NumberedFormat = field(kw_only=True)
    item = b'{"text": "'

    def spans(self, place: Any, taken: Taken, mention: str) -> Iterator[Span]:
        for start in self._mentions.occurrences(mention):
            for label in self.labels:
                span = Span(start, start + len(mention), label)
                if listing_lock.fits(taken, span, self.depth):
                    yield span

    def listable(self, place: Any, taken: Taken, start: int, end: int) -> bool:
        return any(listing_lock.fits(taken, Span(start, end, label), self.depth) for label in self.labels)

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
        numbers = self.format.numbers(self._mentions, mention, start)
        return ", ".join(f'"{key}": {value}' for key, value in numbers.items()).encode() + b"}"


def _named(label: str) -> bytes:
    return b'", "label": ' + json.dumps(label, ensure_ascii=False).encode() + b", "
