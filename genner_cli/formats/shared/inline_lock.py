"""The source lock of the inline formats: what may be written next is a unit of the source, an opening or a closing.

An opening is legal only where all open entities can still be closed. Knows nothing of parsing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple

from genner_cli.data.characters import inner_offsets
from genner_cli.errors import DataError
from genner_cli.formats.shared.boundaries import is_boundary
from genner_cli.formats.shared.markup import Markup
from genner_cli.locking import Edge, Guess, Segment, State


class Frame(NamedTuple):
    """An open entity: where its mention starts; its label, once known."""

    start: int
    label: str | None


class Position(NamedTuple):
    """A state: units copied, open entities, those closed here, and how far a closing has come."""

    unit: int = 0
    frames: tuple[Frame, ...] = ()
    closed: tuple[Frame, ...] = ()
    closing: tuple[str, int] | None = None


@dataclass(frozen=True, eq=False)
class InlineLock:
    """The lock of an inline format: the next unit of the source, an opening, or a closing.

    `units` are the parts of the escaped source that markup may stand between (characters, or the
    canonical tokens), `offsets[i]` is the offset into the text before unit i, None inside a character.
    """

    format: Markup
    text: str
    labels: tuple[str, ...]
    depth: int
    units: tuple[bytes, ...]
    offsets: tuple[int | None, ...]
    closings: Mapping[str, tuple[bytes, ...]]
    by_token: bool = False
    whole_words: bool = False
    start: State = field(default=Position())

    @cached_property
    def markup(self) -> frozenset[bytes]:
        return self.format.markup if self.by_token else frozenset()

    def segmented(self, segment: Segment) -> InlineLock:
        """This lock over the canonical tokens, for a format whose markup leaves them unchanged.

        Raises DataError where these do not spell the text (a tokenizer that normalises it).
        """
        if not self.format.markup:
            return self
        offset_at = {end: offset for offset, end in enumerate(_ends(self.units))}
        units = tuple(segment(self.format.escape(self.text)))
        if b"".join(units) != b"".join(self.units):
            raise DataError("the model's tokenizer changes this text; choose another --format")
        closings = {
            label: tuple(
                piece
                for part in self.format.closing(label)
                for piece in ((part.encode(),) if part.encode() in self.format.markup else segment(part))
            )
            for label in self.labels
        }
        offsets = tuple(offset_at.get(end) for end in _ends(units))
        return replace(self, units=units, offsets=offsets, closings=closings, by_token=True)

    def likely(self, state: State) -> Guess:
        """The source without further markup."""
        assert isinstance(state, Position)
        if state.closing:
            return Guess(b"")
        data = self._source[self._ends[state.unit] :]
        return Guess(data, 0, len(data) if state.frames else 0)

    def edges(self, state: State) -> Sequence[Edge]:
        assert isinstance(state, Position)
        if state.closing:
            return (self._closing_edge(state, *state.closing),)
        edges = []
        if state.unit < len(self.units):
            copied = Position(state.unit + 1, state.frames)
            if self._can_close(copied):
                edges.append(Edge(self.units[state.unit], copied))
        if self._mention_starts[state.unit] is not None and len(state.frames) < self.depth:
            edges += self._openings(state)
        if state.frames:
            edges += self._closings(state)
        return edges

    def remaining(self, state: State) -> int:
        assert isinstance(state, Position)
        bound = self._units_left[state.unit] + len(state.frames) * self._longest_closing
        if state.closing:
            label, done = state.closing
            bound += sum(self._sizes(self.closings[label][done:])) - self._longest_closing
        return bound

    def inside(self, state: State) -> bool:
        assert isinstance(state, Position)
        return bool(state.frames)

    def _openings(self, state: Position) -> Iterator[Edge]:
        start = self._mention_starts[state.unit]
        assert start is not None
        for label, opening in self._marks:
            opened = Position(state.unit, (*state.frames, Frame(start, label)), state.closed)
            if self._can_close(opened):
                yield Edge(opening, opened)

    def _closings(self, state: Position) -> Iterator[Edge]:
        frame, offset = state.frames[-1], self.offsets[state.unit]
        if offset is None or offset <= frame.start or not self._closable[state.unit]:
            return
        for label in (frame.label,) if frame.label else self.labels:
            if Frame(frame.start, label) not in state.closed:
                yield self._closing_edge(state, label, 0)

    def _closing_edge(self, state: Position, label: str, done: int) -> Edge:
        parts = self.closings[label]
        if done + 1 < len(parts):
            return Edge(parts[done], Position(state.unit, state.frames, state.closed, (label, done + 1)))
        closed = (*state.closed, Frame(state.frames[-1].start, label))
        return Edge(parts[done], Position(state.unit, state.frames[:-1], closed))

    @cached_property
    def _marks(self) -> list[tuple[str | None, bytes]]:
        """The openings, with their labels where they have one."""
        labels = self.labels if self.format.label_first else ("",)
        return [(label or None, self.format.opening(label).encode()) for label in labels]

    @cached_property
    def _mention_starts(self) -> list[int | None]:
        """Where the mention of an opening before each unit starts; None if none may open there."""
        return [self._mention_start(offset) for offset in self.offsets]

    def _mention_start(self, offset: int | None) -> int | None:
        if offset is None:
            return None
        start = offset
        if self.format.space_inside:
            if self.text.startswith(" ", offset):
                start += 1
            elif self.text.endswith(" ", 0, offset):
                return None
        opens = start < len(self.text) and not self.text[start].isspace() and self._may_bound(start)
        return start if opens else None

    def _may_bound(self, offset: int) -> bool:
        """Whether a mention may start or end here as far as words and visible characters go."""
        return is_boundary(self.text, offset, self._inside) if self.whole_words else offset not in self._inside

    @cached_property
    def _inside(self) -> frozenset[int]:
        """The offsets at which no mention may start or end: they lie inside a visible character."""
        return inner_offsets(self.text)

    def _can_close(self, state: Position) -> bool:
        """Whether all open entities can still be closed, no two of them as the same entity."""
        if not state.frames:
            return True
        offset, last = self.offsets[state.unit], state.frames[-1].start
        here = self._closable[state.unit] and offset is not None and offset > last
        ends = self._ends_left[state.unit] - (self._closable[state.unit] and not here)
        if ends >= len(state.frames):
            return True
        capacity = 1 if self.format.label_first else len(self.labels)  # equal frames that may end together
        taken: Counter[tuple[Frame, int]] = Counter()
        end = 0
        for frame in reversed(state.frames):
            while taken[frame, end] >= capacity:
                end += 1
            taken[frame, end] += 1
        return end < ends

    @cached_property
    def _source(self) -> bytes:
        return b"".join(self.units)

    @cached_property
    def _ends(self) -> list[int]:
        return _ends(self.units)

    def _sizes(self, literals: Sequence[bytes]) -> list[int]:
        return [1 if self.by_token else len(literal) for literal in literals]

    @cached_property
    def _units_left(self) -> list[int]:
        return _suffix_sums(self._sizes(self.units))

    @cached_property
    def _closable(self) -> list[bool]:
        return [
            bool(offset) and not self.text[offset - 1].isspace() and self._may_bound(offset)
            for offset in (each or 0 for each in self.offsets)
        ]

    @cached_property
    def _ends_left(self) -> list[int]:
        return _suffix_sums(self._closable)

    @cached_property
    def _longest_closing(self) -> int:
        return max(sum(self._sizes(parts)) for parts in self.closings.values())


def _ends(parts: Sequence[bytes]) -> list[int]:
    """Byte offsets before, between and after the parts."""
    return list(accumulate(map(len, parts), initial=0))


def _suffix_sums(sizes: Sequence[int]) -> list[int]:
    return list(accumulate(reversed(sizes), initial=0))[::-1]
