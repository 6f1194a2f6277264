"""Category JSON: `{"PER": ["John Smith"], "ORG": [], "LOC": ["New York"]}` (paper, output formats).

Canonical: every label, in label-set order; under each the mentions by position. The k-th listing of a text
in the whole completion is its k-th occurrence between word boundaries, so an entity whose earlier
occurrences are not entities, or come under a later label, cannot be carried.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from genner_cli.formats import Claim, Rendering, select
from genner_cli.formats.shared import gbnf, json_text, listing, listing_lock
from genner_cli.formats.shared.boundaries import Mentions
from genner_cli.formats.shared.listing import ListingFormat
from genner_cli.formats.shared.listing_lock import Done, ListingLock, Naming, Opening, Reading, Span, Taken
from genner_cli.locking import Edge, State
from genner_cli.types import Entity, Range, canonical_order


class Category(ListingFormat):
    """An object with a list of mentions for each label."""

    task = "List the named entities of the text as a JSON object: for each label its mentions, in order."

    def render(self, text: str, entities: Sequence[Entity], labels: Sequence[str], *, depth: int = 1) -> Rendering:
        kept, left_out = select(text, entities, labels, depth)
        counted = listing.counted(Mentions(text), sorted(kept, key=lambda e: labels.index(e.label)))
        listed: dict[str, list[str]] = {label: [] for label in labels}
        for entity in counted.entities:
            listed[entity.label].append(entity.text)
        return Rendering(json.dumps(listed, ensure_ascii=False), left_out + counted.left_out)

    def grammar(self, labels: Sequence[str], *, depth: int = 1) -> str:
        """The same for any depth."""
        keys = (gbnf.literal(f"{json.dumps(label, ensure_ascii=False)}: ") for label in labels)
        return gbnf.rules(
            root='"{" ' + ' ", " '.join(f"{key} list" for key in keys) + ' "}"',
            list='"[]" | "[" string (", " string)* "]"',
            string=r'"\"" char+ "\""',
            char=json_text.CHARACTER,
        )

    def lock(self, text: str, labels: Sequence[str], *, depth: int = 1, whole_words: bool = True) -> ListingLock:
        return _Lock(text, tuple(labels), depth)

    def parse(self, completion: str, text: str) -> list[Entity]:
        scanner, occurrences = json_text.Scanner(completion), listing.Occurrences(text)
        entities = []
        scanner.take("{")
        for label in _members(scanner, "}"):
            scanner.take(":")
            scanner.take("[")
            for mention in _members(scanner, "]"):
                rendering = Range(scanner.began, scanner.at)
                entities.append(listing.located(text, occurrences.next(mention), mention, label, rendering))
        scanner.end()
        return sorted(entities, key=canonical_order)

    def claims(self, completion: str) -> Iterator[Claim]:
        """The k-th listing of a mention is its k-th occurrence."""
        listed: Counter[str] = Counter()
        for match in _STRINGS.finditer(completion):
            if match["mention"]:
                mention = json_text.unquoted(match["mention"])
                listed[mention] += 1
                yield Claim(mention, occurrence=listed[mention])

    def official_tuples(self, value: Any) -> Iterable[tuple[Any, ...]]:
        for label, mentions in value.items() if isinstance(value, dict) else ():
            yield from ((label, str(mention)) for mention in (mentions if isinstance(mentions, list) else ()))


_STRINGS = re.compile(rf"(?P<key>{json_text.STRING})\s*:\s*\[|(?P<mention>{json_text.STRING})")


def _members(scanner: json_text.Scanner, end: str) -> Iterator[str]:
    """The strings up to `end`; the caller reads what belongs to each before the next is asked for."""
    if scanner.completion[scanner.at :].lstrip().startswith(end):
        scanner.take(end)
        return
    while True:
        yield scanner.string()
        if scanner.take(",", end) == end:
            return


@dataclass(frozen=True, eq=False)
class _Lock(ListingLock):
    """`place`: the number of the label, and whether it has an item yet."""

    @property
    def start(self) -> State:
        return Opening(None, frozenset())

    def spans(self, place: Any, taken: Taken, mention: str) -> Iterator[Span]:
        start = self._next(taken, mention)
        if start is not None and self._fits(place, taken, start, start + len(mention)):
            yield Span(start, start + len(mention), self.labels[place[0]])

    def listable(self, place: Any, taken: Taken, start: int, end: int) -> bool:
        return self._next(taken, self.text[start:end]) == start and self._fits(place, taken, start, end)

    def _fits(self, place: Any, taken: Taken, start: int, end: int) -> bool:
        return listing_lock.fits(taken, Span(start, end, self.labels[place[0]]), self.depth)

    def between(self, state: Opening) -> Iterator[Edge]:
        if state.place is None:
            yield Edge(b"{" + self._keys[0], Opening((0, False), state.taken))
            return
        number, any_item = state.place
        reading = self.readable((number, True), state.taken)
        if reading:
            yield Edge(b', "' if any_item else b'"', reading)
        if number + 1 < len(self.labels):
            yield Edge(b"], " + self._keys[number + 1], Opening((number + 1, False), state.taken))
        else:
            yield Edge(b"]}", Done())

    def closing(self, state: Reading, mention: str) -> Iterator[Edge]:
        for span in self.spans(state.place, state.taken, mention):
            yield Edge(b'"', Opening(state.place, state.taken | {span}))

    def naming(self, state: Naming) -> Iterator[Edge]:
        raise AssertionError("category JSON names the label first")

    def following(self, state: Opening) -> Edge:
        if state.place is None:
            return Edge(b"{" + self._keys[0] + self._endings[0], Done())
        return Edge(self._endings[state.place[0]], Done())

    def in_order(self, place: Any, taken: Taken) -> Iterator[Span]:
        return (span for span in taken if span.label == self.labels[place[0]])

    def tail(self, state: State) -> int:
        if isinstance(state, Done):
            return 0
        assert isinstance(state, Opening | Reading)
        if state.place is None:
            return len(self._keys[0]) + len("], ") + len(self._endings[0])
        return len(self._endings[state.place[0]]) + isinstance(state, Reading)

    @cached_property
    def _endings(self) -> list[bytes]:
        """What ends the completion from the list of each label on, without further items."""
        found = [b"]}"]
        for number in range(len(self.labels) - 1, 0, -1):
            found.append(b"], " + self._keys[number] + found[-1])
        return found[::-1]

    @cached_property
    def _keys(self) -> list[bytes]:
        return [json.dumps(label, ensure_ascii=False).encode() + b": [" for label in self.labels]


FORMAT = Category()
