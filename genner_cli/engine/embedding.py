"""Vectors of texts, or of spans in them: the mean of the model's states after its last layer, over their tokens.

Several texts are decoded side by side, in a context of their own beside the engine's. A vector does not depend on what
is decoded beside it wherever completions do not (`invariance`): the states of a text are added token by token, in
order, however they were cut into steps. Knows nothing of what vectors are for.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from genner_cli.engine.context import Context
from genner_cli.engine.invariance import invariance
from genner_cli.engine.model import Model
from genner_cli.generation import EngineOptions
from genner_cli.types import Passage, Range

SLOTS = 8
WINDOW = 512
"""Tokens that see each other; a longer text is read window by window."""
WAITING = 64
"""Passages that are read ahead of one that is not done."""

Vectors = NDArray[np.float32]
"""Rows of length 1: (spans, width)."""


@dataclass(slots=True)
class _Reading:
    """A passage in progress. `spans`: ranges of its tokens; `sums`: of the states of each span; `left`: tokens whose
    state is not there yet."""

    spans: list[Range]
    sums: NDArray[np.float64]
    left: int

    def add(self, at: int, state: NDArray[np.float32]) -> None:
        """Takes the state of token `at`."""
        self.left -= 1
        for sum, span in zip(self.sums, self.spans, strict=True):
            if span.start <= at < span.end:
                sum += state

    @property
    def vectors(self) -> Vectors:
        lengths = np.linalg.norm(self.sums, axis=1, keepdims=True)
        return (self.sums / np.where(lengths, lengths, 1.0)).astype(np.float32)


@dataclass(slots=True)
class _Window:
    """Tokens of a reading, from its token `start` on, after the `begins` that the model expects before a text."""

    reading: _Reading
    start: int
    tokens: list[int]
    begins: int
    sequence: int = 0
    position: int = 0

    def take(self, states: Sequence[NDArray[np.float32]]) -> None:
        """The states of its next tokens."""
        for at, state in enumerate(states, self.position - self.begins):
            if at >= 0:
                self.reading.add(self.start + at, state)
        self.position += len(states)


@dataclass(slots=True)
class _Queue:
    """Windows that wait for a slot, and those that have one."""

    waiting: deque[_Window] = field(default_factory=deque)
    running: list[_Window] = field(default_factory=list)


class Embedder:
    """Reads texts with one model. `close` frees what llama.cpp holds; also a context manager."""

    def __init__(self, model: Model, options: EngineOptions) -> None:
        """`options`: of the engine that works beside it. Raises ModelError where there is no memory for its context."""
        threads = options.thread_count
        self._model = model
        self._window = min(WINDOW, options.context, model.trained_context)
        self._slots = min(SLOTS, options.slots)
        rows = invariance(model, options, threads).rows
        own = replace(options, slots=self._slots, context=self._slots * self._window)
        self._context = Context(model, own, threads, rows, states=True)
        self.width = self._context.width
        self._free = list(range(self._slots, 0, -1))
        self._begins = model.begin_ids or model.plain("\n")  # a first token draws attention, and its state says little

    def __enter__(self) -> Embedder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Frees the context; the model stays loaded."""
        self._context.close()

    def embed(self, passages: Iterable[Passage]) -> Iterator[Vectors]:
        """The vectors of each passage, in order: one for each span, or one for the whole text where `spans` is None.

        All zero for what has no token. Passages are drawn as they are needed. Raises DataError where the vocabulary
        cannot write a text.
        """
        source, queue, readings = iter(passages), _Queue(), deque[_Reading]()
        exhausted = False
        while True:
            while not exhausted and len(readings) < WAITING and len(queue.waiting) < self._slots:
                passage = next(source, None)
                exhausted = passage is None
                if passage:
                    reading, windows = self._begun(passage)
                    readings.append(reading)
                    queue.waiting.extend(windows)
            while readings and not readings[0].left:
                yield readings.popleft().vectors
            if queue.waiting or queue.running:
                self._step(queue)
            elif exhausted and not readings:
                return

    def _begun(self, passage: Passage) -> tuple[_Reading, list[_Window]]:
        ids, begins = self._model.plain(passage.text), self._begins
        spans = [Range(0, len(ids))] if passage.spans is None else self._token_spans(passage.text, ids, passage.spans)
        reading = _Reading(spans, np.zeros((len(spans), self.width)), len(ids))
        size = self._window - len(begins)
        starts = range(0, len(ids), size)
        return reading, [_Window(reading, at, begins + ids[at : at + size], len(begins)) for at in starts]

    def _token_spans(self, text: str, ids: Sequence[int], spans: Sequence[Range]) -> list[Range]:
        """For ranges of code points, the ranges of the tokens that overlap them."""
        pieces = self._model.vocabulary.pieces
        ends = list(accumulate(len(pieces[id] or b"") for id in ids))
        found = []
        for start, end in spans:
            first = len(text[:start].encode())
            last = first + len(text[start:end].encode())
            found.append(Range(bisect_right(ends, first), bisect_left(ends, last) + 1))
        return found

    def _step(self, queue: _Queue) -> None:
        """One llama_decode."""
        while queue.waiting and self._free:
            window = queue.waiting.popleft()
            window.sequence = self._free.pop()
            self._context.share_prefix(window.sequence)
            queue.running.append(window)
        room, taken = self._context.capacity, []
        for window in queue.running:
            tokens = window.tokens[window.position : window.position + room]
            if tokens:
                self._context.add(tokens, window.position, window.sequence, outputs=len(tokens))
                taken.append((window, len(tokens)))
                room -= len(tokens)
        rows = self._context.decode()
        assert rows is not None, "each slot has room for a whole window"
        start = 0
        for window, count in taken:
            window.take([np.asarray(row) for row in rows[start : start + count]])
            start += count
            if window.position == len(window.tokens):
                queue.running.remove(window)
                self._context.forget(window.sequence)
                self._free.append(window.sequence)
