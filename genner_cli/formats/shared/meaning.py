"""What a token of an inline format decides: to open an entity, to close it, with which label, or to continue the text.

In terms of the source text, so that models with different tokenizers and inline formats take the same decisions: where
one writes `to⟦ Rome⦂LOC⟧` and the other `to [Rome | LOC]`, both decide before "Rome" whether an entity opens. Knows
nothing of token ids.
"""

from __future__ import annotations

from typing import NamedTuple

from genner_cli.formats.shared.inline_lock import InlineLock, Position
from genner_cli.locking import Place, Places, advance

CONTINUE = "continue"
"""The outcome of a token that copies text and leaves open entities as they are."""
UNDECIDED = "undecided"
"""The outcome of a token after which the same decision is still to be taken: white space before a mention."""


class Situation(NamedTuple):
    """What a decision depends on, besides the text and the labels.

    `offset`: characters of the text that are copied, without white space that could only be copied; `frames`: the open
    entities, each with its start and the label of its opening ("" where the closing has it); `pending`: the labels'
    outcomes that are left where an opening or a closing has begun, sorted, else empty.
    """

    offset: int
    frames: tuple[tuple[int, str], ...]
    pending: tuple[str, ...]


class Reader:
    """Follows one completion. `read` must be given the places before each of its tokens, in order."""

    def __init__(self, lock: InlineLock) -> None:
        self._lock = lock
        self._anchor = Position()
        self._offset: int | None = 0
        self._before: Places = ()
        self._pending = self._forced = False

    def read(self, places: Places, *, forced: bool) -> Situation | None:
        """The situation before a token; None where it lies inside a character. `forced`: whether no other one is
        legal."""
        self._before = places
        self._pending = len(places) > 1 or bool(places[0].rest) or bool(_position(places[0]).closing)
        if not self._pending:
            self._move(_position(places[0]))
        self._forced = forced and (self._forced or not self._pending)
        if self._offset is None:
            return None
        frames = tuple((frame.start, frame.label or "") for frame in self._anchor.frames)
        left = self._all(places) if self._pending else ()
        kinds = {outcome.split()[0] for outcome in left}
        return Situation(self._offset, frames, left if kinds in ({"open"}, {"close"}) else ())

    def _move(self, anchor: Position) -> None:
        """Goes to where no markup has begun."""
        end = self._lock.offsets[anchor.unit]
        same = self._forced and anchor.frames == self._anchor.frames and not anchor.closed
        if not (same and None not in (end, self._offset) and self._lock.text[self._offset : end].isspace()):
            self._offset = end
        self._anchor = anchor

    def outcomes(self, data: bytes, after: Places) -> tuple[str, ...]:
        """What a token of these bytes, which leads to these places, may mean: several labels where it writes what they
        share. Sorted."""
        if not self._pending:
            return self._all(after)
        found: set[str] = set()
        for place in self._before:  # in the middle of markup they know the label, those behind it may have forgotten it
            behind = advance(self._lock, (place,), data)
            found |= {*self._all((place,) if place.rest and behind else behind)}
        return tuple(sorted(found))

    def _all(self, places: Places) -> tuple[str, ...]:
        return tuple(sorted({self._outcome(place) for place in places}))

    def _outcome(self, place: Place) -> str:
        """What happens first on the way from the anchor to a place."""
        state, anchor, depth = _position(place), self._anchor, len(self._anchor.frames)
        if state.unit == anchor.unit:
            if state.closing or len(state.closed) > len(anchor.closed):
                label = state.closing[0] if state.closing else state.closed[len(anchor.closed)].label
                return f"close {label}"
        elif state.frames[:depth] != anchor.frames:
            return CONTINUE if place.rest else UNDECIDED  # text and a part of a closing; or a closing and text
        if len(state.frames) > depth and self._is_next(state.frames[depth].start):
            return f"open {state.frames[depth].label or ''}".rstrip()
        return CONTINUE if self._decided(state.unit) else UNDECIDED

    def _is_next(self, start: int) -> bool:
        """Whether a mention that starts here is the next one that could: only white space stands before it."""
        offset = self._lock.offsets[self._anchor.unit]
        return offset is not None and not self._lock.text[offset:start].strip()

    def _decided(self, unit: int) -> bool:
        """Whether after copying up to this unit no entity can open where the next one could."""
        lock, start, end = self._lock, self._lock.offsets[self._anchor.unit], self._lock.offsets[unit]
        if unit == self._anchor.unit:
            return False
        if start is None or end is None or lock.format.space_inside or len(self._anchor.frames) >= lock.depth:
            return True
        return bool(lock.text[start:end].strip()) or end == len(lock.text)


def _position(place: Place) -> Position:
    assert isinstance(place.state, Position)
    return place.state
