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
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from genner_cli.formats import Claim, LeftOut, Rendering, select
from genner_cli.formats.shared import gbnf, listing
from genner_cli.formats.shared.boundaries import Mentions
from genner_cli.formats.shared.listing import Done, ListingFormat, ListingLock, Naming, Opening, Reading, Span, Taken
from genner_cli.locking import Edge, State
from genner_cli.types import Entity, Range, canonical_order


class Category(ListingFormat):
    """An object with a list of mentions for each label."""

    task = "List the named entities of the text as a JSON object: for each label its mentions, in order."

    def render(self, text: str, entities: Sequence[Entity], labels: Sequence[str], *, depth: int = 1) -> Rendering:
        mentions = Mentions(text)
        kept, left_out = select(text, entities, labels, depth)
        counts: Counter[str] = Counter()
        listed: dict[str, list[str]] = {label: [] for label in labels}
        for entity in sorted(kept, key=lambda e: labels.index(e.label)):
            places, count = mentions.occurrences(entity.text), counts[entity.text]
            if entity.start in places[count : count + 1]:
                listed[entity.label].append(entity.text)
                counts[entity.text] += 1
            elif entity.start in places:
                left_out += (LeftOut(entity, f"listing {entity.text!r} here would mean another occurrence"),)
            else:
                left_out += (LeftOut(entity, "it does not stand between word boundaries"),)
        return Rendering(json.dumps(listed, ensure_ascii=False), left_out)

    def grammar(self, labels: Sequence[str], *, depth: int = 1) -> str:
        """The same for any depth."""
        keys = (gbnf.literal(f"{json.dumps(label, ensure_ascii=False)}: ") for label in labels)
        return gbnf.rules(
            root='"{" ' + ' ", " '.join(f"{key} list" for key in keys) + ' "}"',
            list='"[]" | "[" string (", " string)* "]"',
            string=r'"\"" char+ "\""',
            char=listing.CHARACTER,
        )

    def lock(self, text: str, labels: Sequence[str], *, depth: int = 1, whole_words: bool = True) -> ListingLock:
        return _Lock(text, tuple(labels), depth)

    def parse(self, completion: str, text: str) -> list[Entity]:
        mentions = Mentions(text)
        scanner = listing.Scanner(completion)
        listed: Counter[str] = Counter()
        entities = []
        scanner.take("{")
        for label in _members(scanner, "}"):
            scanner.take(":")
            scanner.take("[")
            for mention in _members(scanner, "]"):
                places = mentions.occurrences(mention) if mention else ()
                start = places[listed[mention]] if listed[mention] < len(places) else -1
                listed[mention] += 1
                rendering = Range(scanner.began, scanner.at)
                entities.append(listing.located(text, start, mention, label, rendering))
        scanner.end()
        return sorted(entities, key=canonical_order)

    def claims(self, completion: str) -> Iterator[Claim]:
        """The k-th listing of a mention is its k-th occurrence."""
        listed: Counter[str] = Counter()
        for match in _STRINGS.finditer(completion):
            if match["mention"]:
                mention = _unquoted(match["mention"])
                listed[mention] += 1
                yield Claim(mention, occurrence=listed[mention])

    def official_tuples(self, value: Any) -> Iterable[tuple[Any, ...]]:
        for label, mentions in value.items() if isinstance(value, dict) else ():
            yield from ((label, str(mention)) for mention in (mentions if isinstance(mentions, list) else ()))


_STRING = r'"(?:[^"\\\x00-\x1f]|\\.)*"'
_STRINGS = re.compile(rf"(?P<key>{_STRING})\s*:\s*\[|(?P<mention>{_STRING})")


def _unquoted(string: str) -> str:
    try:
        return str(json.loads(string))
    except ValueError:
        return string[1:-1]


def _members(scanner: listing.Scanner, end: str) -> Iterator[str]:
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

    _listed: dict[Taken, Counter[str]] = field(default_factory=dict, repr=False)

    @property
    def start(self) -> State:
        return Opening(None, frozenset())

    def spans(self, place: Any, taken: Taken, mention: str) -> Iterator[Span]:
        start = self._next(taken, mention)
        if start is not None and self._fits(place, taken, start, start + len(mention)):
            yield Span(start, start + len(mention), self.labels[place[0]])

    def listable(self, place: Any, taken: Taken, start: int, end: int) -> bool:
        return self._next(taken, self.text[start:end]) == start and self._fits(place, taken, start, end)

    def _next(self, taken: Taken, mention: str) -> int | None:
        """The place of the occurrence that a further listing of this mention means."""
        places = self._mentions.occurrences(mention)
        if taken not in self._listed:
            self._listed[taken] = Counter(self.text[span.start : span.end] for span in taken)
        count = self._listed[taken][mention]
        return places[count] if count < len(places) else None

    def _fits(self, place: Any, taken: Taken, start: int, end: int) -> bool:
        return listing.fits(taken, Span(start, end, self.labels[place[0]]), self.depth)

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
