"""The source lock of the JSON formats: the walk through a mention, and which spans may still be listed.

`category`, `open` and the formats of `numbered` say what stands around the mentions. Knows nothing of parsing.
"""

from __future__ import annotations

import re
import sys
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

from genner_cli.formats.shared.boundaries import Mentions
from genner_cli.formats.shared.json_text import quoted
from genner_cli.locking import Edge, Free, Guess, Segment, State


class Span(NamedTuple):
    """A listed entity: its place and its label."""

    start: int
    end: int
    label: str


Taken = frozenset[Span]


def fits(taken: Taken, span: Span, depth: int) -> bool:
    """Whether a span can be listed beside these: not again, not crossing, nesting at most `depth`."""
    start, end, _ = span
    around = within = 0
    for other in taken:
        if other.end <= start or end <= other.start:
            continue
        if other == span or not (
            (other.start <= start and end <= other.end) or (start <= other.start and other.end <= end)
        ):
            return False
        if other.start <= start and end <= other.end:
            around += 1
        else:
            within = max(within, _levels(taken, other))
    return around + 1 + within <= depth


def _levels(taken: Taken, outer: Span) -> int:
    """How deep the spans within `outer` nest, itself included."""
    inner = [s for s in taken if s != outer and outer.start <= s.start and s.end <= outer.end]
    inner = [s for s in inner if (s.start, s.end) != (outer.start, outer.end) or s.label > outer.label]
    return 1 + max((_levels(taken, s) for s in inner), default=0)


def reach(taken: Taken, start: int, depth: int) -> int:
    """Behind this no span from `start` can end beside these; it may be `start` itself."""
    around, furthest = 0, sys.maxsize
    for other in taken:
        if other.start < start < other.end:
            around += 1
            furthest = min(furthest, other.end)
        elif depth == 1 and start <= other.start:
            furthest = min(furthest, other.start)
    return furthest if around < depth else start


class Opening(NamedTuple):
    """State: between items. `place` is the format's own (a label's number, whether any item came)."""

    place: Any
    taken: Taken


class Reading(NamedTuple):
    """State: `length` characters of a mention are written; it may be any of those at `starts`."""

    place: Any
    taken: Taken
    starts: tuple[int, ...]
    length: int


class Naming(NamedTuple):
    """State: the mention and the label are written, which occurrence is to come."""

    place: Any
    taken: Taken
    mention: str
    label: str


class Done(NamedTuple):
    """State: the completion is whole."""


@dataclass(frozen=True, eq=False)
class ListingLock(ABC):
    """The lock of a JSON format. Subclasses say what stands around the mentions."""

    text: str
    labels: tuple[str, ...]
    depth: int
    by_token: bool = False
    markup: frozenset[bytes] = frozenset()
    _edges: dict[State, Sequence[Edge]] = field(default_factory=dict, repr=False)
    _bounds: dict[State, int] = field(default_factory=dict, repr=False)
    _nearest: dict[tuple[Any, Taken, int], tuple[int, int | None]] = field(default_factory=dict, repr=False)

    @property
    @abstractmethod
    def start(self) -> State:
        """The state of an empty completion."""

    @abstractmethod
    def spans(self, place: Any, taken: Taken, mention: str) -> Iterator[Span]:
        """The spans that this mention may mean here, already filtered by `fits`."""

    @abstractmethod
    def listable(self, place: Any, taken: Taken, start: int, end: int) -> bool:
        """Whether the mention between these may be listed here, meaning this place."""

    @abstractmethod
    def between(self, state: Opening) -> Iterator[Edge]:
        """From between two items: to a further mention, if `readable`, and onwards to the end."""

    @abstractmethod
    def closing(self, state: Reading, mention: str) -> Iterator[Edge]:
        """From the end of a mention to what follows its quote."""

    @abstractmethod
    def naming(self, state: Naming) -> Iterator[Edge]:
        """From a mention and its label to the item's end."""

    @abstractmethod
    def following(self, state: Opening) -> Edge:
        """What probably comes next between two items: a further one, or the end with all that belongs to it."""

    @abstractmethod
    def in_order(self, place: Any, taken: Taken) -> Iterator[Span]:
        """The listed spans behind which the next one probably stands."""

    @abstractmethod
    def tail(self, state: State) -> int:
        """Bytes that suffice to finish once the mention is written."""

    def segmented(self, segment: Segment) -> ListingLock:
        """The lock itself: any tokens that spell a legal listing are legal."""
        return self

    def likely(self, state: State) -> Guess:
        """The mention that is being written or comes next, what belongs to it, and the end behind it."""
        data, start, end = b"", 0, 0
        while not isinstance(state, Done | Free) and not (end and isinstance(state, Reading)):
            if isinstance(state, Reading):
                span = self.likely_mention(state)
                if span is None:
                    break
                written = quoted(self.text[span[0] + state.length : span[1]])
                start, end = len(data), len(data) + len(written)
                data += written
                edge = next(self.closing(state, self.text[slice(*span)]), None)
            else:
                assert isinstance(state, Opening | Naming)
                edge = self.following(state) if isinstance(state, Opening) else next(self.naming(state), None)
            if edge is None:
                break
            data += edge.data
            state = edge.state
        return Guess(data, start, end)

    def likely_mention(self, state: Reading) -> tuple[int, int] | None:
        """Start and end of the mention that is probably being written: of those that begin so, the first; of all, the
        first capitalised one behind those listed. It ends where a listed one ended, or with its capitalised words."""
        place, taken, starts, length = state
        start: int | None = starts[0]
        if not length:
            behind = max((span.end for span in self.in_order(place, taken)), default=0)
            inside = [span for span in taken if span.end > behind]
            free = (s for s in starts if s >= behind and not any(span.start <= s < span.end for span in inside))
            start = next((s for s in free if self.text[s].isupper()), None)
        if start is None:
            return None
        again = (self.text[span.start : span.end] for span in taken if span.end - span.start >= length)
        ends = [start + len(mention) for mention in again if self.text.startswith(mention, start)]
        end = max(ends, default=_end_of_words(self.text, start))
        if end >= start + max(length, 1) and self.listable(place, taken, start, end):
            return start, end
        nearest = self._end_of(place, taken, start, max(length, 1))
        return None if nearest is None else (start, nearest)

    def edges(self, state: State) -> Sequence[Edge]:
        if state not in self._edges:
            self._edges[state] = tuple(self._find_edges(state))
        return self._edges[state]

    def _find_edges(self, state: State) -> Iterator[Edge]:
        if isinstance(state, Opening):
            yield from self.between(state)
        elif isinstance(state, Reading):
            yield from self._reading(state)
        elif isinstance(state, Naming):
            yield from self.naming(state)

    def remaining(self, state: State) -> int:
        if state not in self._bounds:
            self._bounds[state] = self.tail(state) + (self._shortest(state) if isinstance(state, Reading) else 0)
        return self._bounds[state]

    def inside(self, state: State) -> bool:
        return isinstance(state, Reading | Naming)

    def readable(self, place: Any, taken: Taken) -> Reading | None:
        """The state of a mention that has just begun; None if none may be listed any more."""
        starts = tuple(s for s in self._mentions.starts if self._end_of(place, taken, s, 1) is not None)
        return Reading(place, taken, starts, 0) if starts else None

    def _reading(self, state: Reading) -> Iterator[Edge]:
        place, taken, starts, length = state
        mention = self.text[starts[0] : starts[0] + length]
        if length and any(self.spans(place, taken, mention)):
            yield from self.closing(state, mention)
        by_char: dict[str, list[int]] = {}
        for start in starts:
            if self._end_of(place, taken, start, length + 1) is not None:
                by_char.setdefault(self.text[start + length], []).append(start)
        for char, following in by_char.items():
            yield Edge(quoted(char), Reading(place, taken, tuple(following), length + 1))

    def _shortest(self, state: Reading) -> int:
        place, taken, starts, length = state
        nearest = ((start, self._end_of(place, taken, start, max(length, 1))) for start in starts)
        return min(len(quoted(self.text[start + length : end])) for start, end in nearest if end is not None)

    def _end_of(self, place: Any, taken: Taken, start: int, length: int) -> int | None:
        """The nearest end, at least `length` behind `start`, of a mention that may be listed."""
        key = (place, taken, start)
        shortest, nearest = self._nearest.get(key, (sys.maxsize, None))
        if length < shortest or (nearest is not None and nearest < start + length):
            ends = self._mentions.ends_between(start + length, reach(taken, start, self.depth))
            nearest = next((end for end in ends if self.listable(place, taken, start, end)), None)
            self._nearest[key] = length, nearest
        return nearest

    @cached_property
    def _mentions(self) -> Mentions:
        return Mentions(self.text)

    @cached_property
    def _listed(self) -> dict[Taken, Counter[str]]:
        return {}

    def _next(self, taken: Taken, mention: str) -> int | None:
        """Where the occurrence starts that a further listing of this mention means, in a format in which the k-th
        listing means the k-th occurrence."""
        places = self._mentions.occurrences(mention)
        if taken not in self._listed:
            self._listed[taken] = Counter(self.text[span.start : span.end] for span in taken)
        count = self._listed[taken][mention]
        return places[count] if count < len(places) else None


@dataclass(frozen=True, eq=False)
class ItemsLock(ListingLock):
    """The lock of a list of objects, each of which begins with a mention. `place`: whether any item is written."""

    item: ClassVar[bytes]
    """What stands before a mention in its object."""

    @property
    def start(self) -> State:
        return Opening(False, frozenset())

    def between(self, state: Opening) -> Iterator[Edge]:
        any_item = state.place
        reading = self.readable(True, state.taken)
        if reading:
            yield Edge((b", " if any_item else b"[") + self.item, reading)
        yield Edge(b"]" if any_item else b"[]", Done())

    def following(self, state: Opening) -> Edge:
        first, *_, end = (*self.edges(state), *self.edges(state))
        return first if isinstance(first.state, Reading) and self.likely_mention(first.state) else end

    def in_order(self, place: Any, taken: Taken) -> Iterator[Span]:
        return iter(taken)


_WORD = re.compile(r"\S*")


def _end_of_words(text: str, start: int) -> int:
    """The end of the word at `start` and of the capitalised ones that follow it, without punctuation."""
    end = start
    while end == start or (text[end : end + 1] == " " and text[end + 1 : end + 2].isupper()):
        begin = end + (end > start)
        word = _WORD.match(text, begin)[0]  # type: ignore[index]
        bare = word.rstrip(".,;:!?)]}\"'").removesuffix("'s")
        end = begin + len(bare)
        if bare != word:
            break
    return end
