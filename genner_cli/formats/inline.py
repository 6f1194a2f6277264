"""What the inline formats share: the source text repeated, with markup around its entities.

`bracketed`, `xml` and `inserted` each give a `Style`; here stand its canonical form, its lock and its
parser. Canonical: markup opens right before the mention (before one leading blank if `blank_inside`)
and closes right after it; spans never cross; of equal spans the label that sorts first is outermost;
every character that markup needs is escaped wherever it stands.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

from genner_cli.errors import DataError
from genner_cli.formats.carriable import Rendering, select
from genner_cli.locking import Edge, Segment, State
from genner_cli.types import Entity, Range, canonical_order


class Style(NamedTuple):
    """One inline format: its markup, as plain data and module-level functions.

    `closing` gives the parts of a closing, each of them one literal. `label_first`: the label stands
    in the opening. `scan` is a pattern with the groups `open`, `close`, `label`, `char`, `escaped`.
    """

    opening: Callable[[str], str]
    closing: Callable[[str], tuple[str, ...]]
    label_first: bool
    escapes: Mapping[str, str]
    scan: re.Pattern[str]
    blank_inside: bool = False
    markup: frozenset[bytes] = frozenset()

    def escape(self, text: str) -> str:
        """The text as it stands in a completion without entities."""
        table: dict[str, str | int | None] = {**self.escapes}
        return text.translate(str.maketrans(table))


def render(style: Style, text: str, entities: Sequence[Entity], labels: Sequence[str], depth: int) -> Rendering:
    """The canonical completion for these entities."""
    kept, left_out = select(text, entities, labels, depth)
    out: list[str] = []
    done = 0
    open_entities: list[Entity] = []

    def copy_to(end: int) -> None:
        nonlocal done
        out.append(style.escape(text[done:end]))
        done = max(done, end)

    def close_until(start: int) -> None:
        while open_entities and open_entities[-1].end <= start:
            entity = open_entities.pop()
            copy_to(entity.end)
            out.extend(style.closing(entity.label))

    for entity in kept:
        close_until(entity.start)
        blank = style.blank_inside and text.endswith(" ", 0, entity.start)
        copy_to(entity.start - blank)
        out.append(style.opening(entity.label))
        open_entities.append(entity)
    close_until(len(text))
    copy_to(len(text))
    return Rendering("".join(out), left_out)


def parse(style: Style, completion: str, text: str) -> list[Entity]:
    """The entities of a completion, in canonical order.

    Raises DataError where the completion is not the text with well-formed markup.
    """
    entities: list[Entity] = []
    frames: list[tuple[int, str, int, list[Range]]] = []
    unescape = {escaped: char for char, escaped in style.escapes.items()}
    at = 0
    for match in _scan(style, completion):
        if match["open"] is not None:
            blank = style.blank_inside and text.startswith(" ", at)
            frames.append((at + blank, match["label"] or "", match.start(), []))
        elif match["close"] is not None:
            if not frames:
                raise DataError(f"the completion closes an entity that is not open, at character {match.start()}")
            entity = _close(frames, match, at, text)
            entities.append(entity)
        else:
            char = match["char"] or unescape[match["escaped"]]
            if not text.startswith(char, at):
                raise DataError(f"the completion leaves the text at character {match.start()}")
            at += 1
    if frames or at != len(text):
        raise DataError("the completion ends before the text does")
    return sorted(entities, key=canonical_order)


def _scan(style: Style, completion: str) -> Iterator[re.Match[str]]:
    at = 0
    while at < len(completion):
        match = style.scan.match(completion, at)
        if match is None:
            raise DataError(f"the completion has broken markup at character {at}")
        yield match
        at = match.end()


def _close(frames: list[tuple[int, str, int, list[Range]]], match: re.Match[str], end: int, text: str) -> Entity:
    start, label, opened, inner = frames.pop()
    if label and label != match["label"]:
        raise DataError(f"the completion closes {match['label']!r} where {label!r} is open")
    if start >= end:
        raise DataError(f"the completion marks an empty entity at character {match.start()}")
    whole = Range(opened, match.end())
    if frames:
        frames[-1][3].append(whole)
    return Entity(start, end, match["label"], text[start:end], rendering=_without(whole, inner))


def _without(whole: Range, inner: Sequence[Range]) -> tuple[Range, ...]:
    starts = [whole.start, *(part.end for part in inner)]
    ends = [*(part.start for part in inner), whole.end]
    return tuple(Range(start, end) for start, end in zip(starts, ends, strict=True) if start < end)


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

    style: Style
    text: str
    labels: tuple[str, ...]
    depth: int
    units: tuple[bytes, ...]
    offsets: tuple[int | None, ...]
    closings: Mapping[str, tuple[bytes, ...]]
    by_token: bool = False
    start: State = field(default=Position())

    @property
    def markup(self) -> frozenset[bytes]:
        return self.style.markup if self.by_token else frozenset()

    def segmented(self, segment: Segment) -> InlineLock:
        """This lock over the canonical tokens, for a style whose markup leaves them unchanged.

        Raises DataError where these do not spell the text (a tokenizer that normalises it).
        """
        if not self.style.markup:
            return self
        offset_at = {end: offset for offset, end in enumerate(_ends(self.units))}
        units = tuple(segment(self.style.escape(self.text)))
        if b"".join(units) != b"".join(self.units):
            raise DataError("the model's tokenizer changes this text; choose another --format")
        closings = {
            label: tuple(
                piece
                for part in self.style.closing(label)
                for piece in ((part.encode(),) if part.encode() in self.style.markup else segment(part))
            )
            for label in self.labels
        }
        offsets = tuple(offset_at.get(end) for end in _ends(units))
        return replace(self, units=units, offsets=offsets, closings=closings, by_token=True)

    @cached_property
    def source(self) -> bytes:
        return b"".join(self.units)

    def copied(self, state: State) -> int | None:
        assert isinstance(state, Position)
        return None if state.closing else self._ends[state.unit]

    def edges(self, state: State) -> Sequence[Edge]:
        assert isinstance(state, Position)
        if state.closing:
            return (self._closing_edge(state, *state.closing),)
        found = []
        if state.unit < len(self.units):
            copied = Position(state.unit + 1, state.frames)
            if self._can_close(copied):
                found.append(Edge(self.units[state.unit], copied))
        offset = self.offsets[state.unit]
        if offset is not None:
            found += self._openings(state, offset)
            found += self._closings(state, offset)
        return found

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

    def _openings(self, state: Position, offset: int) -> Iterator[Edge]:
        if len(state.frames) >= self.depth:
            return
        start = self._mention_start(offset)
        if start is None:
            return
        for label in self.labels if self.style.label_first else ("",):
            opened = Position(state.unit, (*state.frames, Frame(start, label or None)), state.closed)
            if self._can_close(opened):
                yield Edge(self.style.opening(label).encode(), opened)

    def _closings(self, state: Position, offset: int) -> Iterator[Edge]:
        if not state.frames:
            return
        frame = state.frames[-1]
        if offset <= frame.start or self.text[offset - 1].isspace():
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

    def _mention_start(self, offset: int) -> int | None:
        """Where the mention of an opening at this offset starts; None if none may open here."""
        start = offset
        if self.style.blank_inside:
            if self.text.startswith(" ", offset):
                start += 1
            elif self.text.endswith(" ", 0, offset):
                return None
        return start if start < len(self.text) and not self.text[start].isspace() else None

    def _can_close(self, state: Position) -> bool:
        """Whether all open entities can still be closed, no two of them as the same entity."""
        if not state.frames:
            return True
        offset, last = self.offsets[state.unit], state.frames[-1].start
        here = self._closable[state.unit] and offset is not None and offset > last
        ends = self._ends_left[state.unit] - (self._closable[state.unit] and not here)
        if ends >= len(state.frames):
            return True
        capacity = 1 if self.style.label_first else len(self.labels)  # equal frames that may end together
        taken: Counter[tuple[Frame, int]] = Counter()
        end = 0
        for frame in reversed(state.frames):
            while taken[frame, end] >= capacity:
                end += 1
            taken[frame, end] += 1
        return end < ends

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
        return [bool(offset) and not self.text[offset - 1].isspace() for offset in self.offsets]  # type: ignore[operator]

    @cached_property
    def _ends_left(self) -> list[int]:
        return _suffix_sums(self._closable)

    @cached_property
    def _longest_closing(self) -> int:
        return max(sum(self._sizes(parts)) for parts in self.closings.values())


def lock(style: Style, text: str, labels: Sequence[str], depth: int) -> InlineLock:
    """The lock over the characters of a text."""
    return InlineLock(
        style=style,
        text=text,
        labels=tuple(labels),
        depth=depth,
        units=tuple(style.escapes.get(char, char).encode() for char in text),
        offsets=tuple(range(len(text) + 1)),
        closings={label: ("".join(style.closing(label)).encode(),) for label in labels},
    )


def _ends(parts: Sequence[bytes]) -> list[int]:
    """Byte offsets before, between and after the parts."""
    offsets = [0]
    for part in parts:
        offsets.append(offsets[-1] + len(part))
    return offsets


def _suffix_sums(sizes: Sequence[int]) -> list[int]:
    sums = [0]
    for size in reversed(sizes):
        sums.append(sums[-1] + size)
    return sums[::-1]
