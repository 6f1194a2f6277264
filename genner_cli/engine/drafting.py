"""How many tokens of the source to decode ahead of the choice (copy-drafting, for formats that repeat the text).

A drafted token that is then chosen saves its share of a step's fixed cost; one that is not was decoded in vain.
So both are measured while the engine runs: what a step costs, and how often the source continues, by what stands
there. A draft changes speed, never output.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from heapq import heapify, heapreplace

import numpy as np

LONGEST = 64
"""Tokens drafted for one slot in one step, at most."""

Key = tuple[bool, int, int]
"""Whether an entity is open, the look of the last token, the look of the next one."""


class StepCosts:
    """Seconds of a step as `fixed + each * tokens + row * outputs`: least squares over what was measured.

    Errors count relative to the step's length, and old steps fade.
    """

    FADING = 0.995
    EVERY = 16
    CELL = 3e-4
    """What a cell of the KV cache costs each token, as a share of `each`: with a unified cache a token looks over all
    cells, whichever sequence they belong to (measured: docs/LOG.md)."""

    def __init__(self) -> None:
        self._squares = np.zeros((3, 3))
        self._products = np.zeros(3)
        self._noted = 0
        self.fixed, self.each, self.row = 4.0, 1.0, 0.0

    def note(self, tokens: int, outputs: int, seconds: float) -> None:
        """A step of this many tokens, with logits for `outputs` of them, took `seconds`; 0 seconds are ignored."""
        if seconds <= 0:
            return
        terms = np.array((1.0, tokens, outputs)) / seconds
        self._squares = self.FADING * self._squares + np.outer(terms, terms)
        self._products = self.FADING * self._products + terms
        self._noted += 1
        if self._noted % self.EVERY == 0:
            scale = np.sqrt(np.diag(self._squares)) + 1e-12
            steadied = self._squares / np.outer(scale, scale) + 1e-6 * np.eye(3)
            found = np.linalg.solve(steadied, self._products / scale) / scale
            self.fixed, self.each, self.row = (max(0.0, float(value)) for value in found)

    def slot_pays(self, slots: int, cells: int, advance: float) -> bool:
        """Whether one slot more saves time for each token written: all slots share a step's fixed cost, and look over
        the new one's cells. `advance`: tokens that a slot writes in a step."""
        return self.fixed / advance * (1 / slots - 1 / (slots + 1)) > self.CELL * self.each * cells


class Acceptance:
    """How often the source continues without markup, by what is there."""

    def __init__(self, pieces: Sequence[bytes | None]) -> None:
        """`pieces[id]`: the bytes of a token."""
        self._look = lru_cache(maxsize=None)(lambda id: look(pieces[id]))
        self._tried: dict[Key, float] = {}
        self._agreed: dict[Key, float] = {}

    def key(self, inside: bool, last: int, following: int) -> Key:
        """Where a choice is made, after the token `last` and before `following`."""
        return inside, self._look(last), self._look(following)

    def note(self, key: Key, agreed: bool) -> None:
        """The source went on, or did not."""
        self._tried[key] = self._tried.get(key, 0.0) + 1.0
        self._agreed[key] = self._agreed.get(key, 0.0) + agreed

    def probability(self, key: Key) -> float:
        """The probability that the source continues; 0.8 where little is known."""
        return (self._agreed.get(key, 0.0) + 4.0) / (self._tried.get(key, 0.0) + 5.0)


def look(piece: bytes | None) -> int:
    """A number for what a token looks like: begins with a blank or not; then capital, small letter, digit, or other."""
    if not piece:
        return 0
    blank = piece[:1].isspace()
    first = piece[1:2] if blank else piece[:1]
    kind = 1 + first.isupper() + 2 * first.islower() + 3 * first.isdigit()
    return kind + 4 * blank


def lengths(chances: Sequence[Sequence[float]], costs: StepCosts, most: int) -> list[int]:
    """How many tokens to draft for each slot: `chances[slot][k]` is how probably token k will be chosen.

    Takes the most probable ones first, as long as each shortens the time for a chosen token on average.
    """
    found = [0] * len(chances)
    heap = [(-reached[0], slot) for slot, reached in enumerate(chances) if reached]
    heapify(heap)
    expected = float(len(chances))
    wasted = costs.each + costs.row
    while heap and most > 0:
        chance, slot = -heap[0][0], heap[0][1]
        if chance * (costs.fixed / expected + wasted) <= wasted:
            break
        found[slot] += 1
        most -= 1
        expected += chance
        left = chances[slot][found[slot] :]
        heapreplace(heap, (-left[0] if left else 0.0, slot))
    return found
