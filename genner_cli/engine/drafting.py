"""What is decoded ahead of the choice, and how much of it: text that the lock takes for likely.

A drafted token that is then chosen makes a step larger, and larger steps take less time for each token; one that is not
was decoded in vain. So both are measured: what a step costs, and how often drafts are right, by what stands there.
A draft changes speed, never output.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from heapq import heapify, heapreplace
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from genner_cli.constrained import Tokenizer
from genner_cli.engine.step_times import TYPICAL, StepTimes

LONGEST = 64
"""Tokens drafted for one slot in one step, at most."""

HOPELESS = 0.05
"""Tokens of a draft that are reached more seldom are never worth their time: a step's fixed cost is that of a few."""

Look = int | bytes
Key = tuple[bool, Look, Look]
"""Whether an entity is open, the look of the last token, the look of the next one."""


class Draft(NamedTuple):
    """Tokens that may come next; `inside`: whether each of them belongs to a mention."""

    ids: Sequence[int]
    inside: Sequence[bool]


NO_DRAFT = Draft((), ())


class Cut:
    """The tokens of what probably comes next. They are kept, since mostly the same text comes up again, without what
    has been written meanwhile."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._data = b""
        self._ids: list[int] = []
        self._starts = [0]

    def ids(self, data: bytes, fresh: int) -> list[int]:
        """Tokens of these bytes, of which the first `fresh` did not belong to the text before.

        Raises UnicodeDecodeError where they begin inside a character, DataError where the vocabulary lacks one.
        """
        at = len(self._data) - len(data) + fresh
        if at < 0 or self._data[at:] != data[fresh:]:
            self._ids = self._plain(data)
            self._starts = [0, *accumulate(len(self._tokenizer.vocabulary.pieces[id] or b"") for id in self._ids)]
            self._data, at, fresh = data, 0, 0
        first = bisect_left(self._starts, at)
        if not fresh and self._starts[first] == at:
            return self._ids[first:]
        first = min(first + 1, len(self._ids))
        return self._plain(data[: fresh + self._starts[first] - at]) + self._ids[first:]

    def _plain(self, data: bytes) -> list[int]:
        return list(self._tokenizer.plain(data.decode()))


class StepCosts:
    """Seconds of a step as `fixed + scale * times.of(tokens) + row * outputs + cell * others`: least squares over what
    was measured.

    `others`: cells of the KV cache that belong to other sequences, summed over the tokens: with a unified cache
    attention looks at each of them, if only to pass it over. Errors count relative to the step's length, and old steps
    fade.
    """

    FADING = 0.995
    EVERY = 16
    DOUBT = 0.01
    """Weight of the first guess, where the steps leave it open what costs how much."""
    CELL = 1.5e-4
    """The first guess of `cell`, as a share of a token's time in a large step."""

    def __init__(self, times: StepTimes = TYPICAL, most: int = 63) -> None:
        """`most`: tokens of a step."""
        self._times = times
        self._most = most
        self._of: Callable[[int], float] = lru_cache(maxsize=None)(lambda tokens: float(times.of(tokens)))
        self._squares = np.zeros((4, 4))
        self._products = np.zeros(4)
        self._steps: list[tuple[float, float, float, float]] = []
        self._fading = self.FADING ** np.arange(self.EVERY)[::-1]
        self._guess = np.array((0.0, 1.0, 0.0, self.CELL * float(times.of(64)) / 64))
        self.fixed, self.scale, self.row, self.cell = self._guess.tolist()
        self.best_size = times.best(most)
        """Tokens of the step that takes the shortest time for each, as far as measured."""

    def note(self, tokens: int, outputs: int, others: int, seconds: float) -> None:
        """A step of this many tokens, with logits for `outputs` of them, took `seconds`; 0 seconds are ignored."""
        if seconds <= 0:
            return
        self._steps.append((1.0 / seconds, self._of(tokens) / seconds, outputs / seconds, others / seconds))
        if len(self._steps) == self.EVERY:
            self._solve(np.array(self._steps))
            self._steps.clear()

    def _solve(self, terms: NDArray[np.float64]) -> None:
        faded = self._fading[:, None] * terms
        self._squares = self.FADING**self.EVERY * self._squares + faded.T @ terms
        self._products = self.FADING**self.EVERY * self._products + faded.sum(0)
        size = np.sqrt(np.diag(self._squares)) + 1e-12
        squares = self._squares / np.outer(size, size) + self.DOUBT * np.eye(4)
        found = np.linalg.solve(squares, self._products / size + self.DOUBT * self._guess * size) / size
        self.fixed, self.scale, self.row, self.cell = (max(0.0, float(value)) for value in found)
        self.best_size = self._times.best(self._most, self.fixed / self.scale if self.scale else 0.0)

    def seconds(self, tokens: NDArray[np.int64], outputs: NDArray[np.int64], others: int = 0) -> NDArray[np.float64]:
        """What steps of these sizes cost; `others`: cells for each token."""
        found = self.fixed + self.scale * self._times.of(tokens) + self.row * outputs + self.cell * others * tokens
        return np.asarray(found, np.float64)

    def slot_pays(self, slots: int, cells: int, needed: int, tokens: float) -> bool:
        """Whether one slot more saves time for each token: a larger step against more cells to look over.

        `cells`: of the running slots; `needed`: of one more; `tokens`: of a slot in a step.
        """
        without = self._each(min(slots * tokens, self.best_size), cells * (1 - 1 / slots))
        with_it = self._each(min((slots + 1) * tokens, self.best_size), (cells + needed) * slots / (slots + 1))
        return with_it < without

    def _each(self, tokens: float, others: float) -> float:
        """Seconds for each token of a step, logits aside."""
        low = int(tokens)
        seconds = self._of(low) + (tokens - low) * (self._of(low + 1) - self._of(low))
        return float((self.fixed + self.scale * seconds) / tokens + self.cell * others)


class Acceptance:
    """How often a draft is right, by what is there."""

    def __init__(self, pieces: Sequence[bytes | None]) -> None:
        """`pieces[id]`: the bytes of a token."""
        self._look = lru_cache(maxsize=None)(lambda id: look(pieces[id]))
        self._counts: dict[Key, tuple[int, int]] = {}  # tried, agreed
        self._all_tried, self._all_agreed = 5, 4

    def key(self, inside: bool, last: int, following: int) -> Key:
        """Where a choice is made, after the token `last` and before `following`."""
        return inside, self._look(last), self._look(following)

    def note(self, key: Key, agreed: bool) -> None:
        """The draft was right, or was not."""
        tried, right = self._counts.get(key, (0, 0))
        self._counts[key] = tried + 1, right + agreed
        self._all_tried += 1
        self._all_agreed += agreed

    def probability(self, key: Key) -> float:
        """The probability that the draft is right; where little is known, as often as anywhere."""
        tried, right = self._counts.get(key, (0, 0))
        return (right + 5.0 * self._all_agreed / self._all_tried) / (tried + 5)

    def chances(self, last: int, draft: Draft) -> Iterator[float]:
        """How probably the choices behind the token `last` reach and agree with each token of a draft, as long as that
        is likely enough."""
        chance, before = 1.0, self._look(last)
        for id, inside in zip(*draft, strict=True):
            following = self._look(id)
            chance *= self.probability((inside, before, following))
            if chance < HOPELESS:
                break
            yield chance
            before = following


def look(piece: bytes | None) -> Look:
    """What a token looks like: ASCII without letters and digits like itself, others by whether they begin with a space,
    and then with a capital, a small letter, a digit, or something else."""
    if not piece:
        return 0
    if piece.isascii() and not any(chr(byte).isalnum() for byte in piece):
        return piece
    space = piece[:1].isspace()
    first = piece[1:2] if space else piece[:1]
    kind = 1 + first.isupper() + 2 * first.islower() + 3 * first.isdigit()
    return kind + 4 * space


def lengths(
    chances: Sequence[Iterable[float]], costs: StepCosts, pending: int, most: int, others: int = 0
) -> list[int]:
    """How many tokens to draft for each slot: `chances[slot]` says how probably each token of its draft will be chosen,
    and is read no further than needed.

    `pending`: tokens of the step without drafts; `most`: drafted ones, at most; `others`: cells of other sequences for
    each token. Takes the most probable ones first, as many as make the time for a token that is needed the shortest.
    """
    order = _most_probable([iter(reached) for reached in chances], most)
    if not order:
        return [0] * len(chances)
    needed = pending + np.cumsum([0.0, *(chance for chance, _ in order)])
    drafted = np.arange(len(order) + 1)
    count = int(np.argmin(costs.seconds(pending + drafted, len(chances) + drafted, others) / np.maximum(needed, 1e-9)))
    found = [0] * len(chances)
    for _, slot in order[:count]:
        found[slot] += 1
    return found


def _most_probable(chances: Sequence[Iterator[float]], most: int) -> list[tuple[float, int]]:
    """The chances and slots of the tokens that are most probably chosen, in order, each behind those before it."""
    heap = [(-next(reached, 0.0), slot) for slot, reached in enumerate(chances)]
    heapify(heap)
    order: list[tuple[float, int]] = []
    while heap and len(order) < most and heap[0][0] < 0:
        chance, slot = heap[0]
        order.append((-chance, slot))
        heapreplace(heap, (-next(chances[slot], 0.0), slot))
    return order
