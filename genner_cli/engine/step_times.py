"""How long a step of some tokens takes: measured once for a model's shapes and types on a machine.

The time is not linear in tokens: products with repacked weights take rows in groups of 4 and 16 (ggml-cpu/repack.cpp),
so that 16 tokens cost little more than 12, and 8 may cost as much for each as one. On a CPU it is processor time, not
the clock on the wall, that counts: other programs make steps longer than a time slice many times as long, and short
ones not at all, so that sizes would compare wrongly. Knows nothing of requests.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from time import perf_counter, process_time, thread_time
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genner_cli.engine.context import PREFIX, Context, on_gpu
from genner_cli.engine.measured import Kept, kept, read, write
from genner_cli.engine.model import Model
from genner_cli.generation import EngineOptions, Rows

log = logging.getLogger("genner")

SIZES = (1, 2, 4, 8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 63)
"""Tokens of the steps that are timed; between and behind them a straight line is assumed."""
ROUNDS = 4
"""The shortest time of each size counts. Further rounds follow where it was not reached a second time."""
REACHED = 1.2
"""How many times the shortest time the second shortest may take."""
HARDLY = 1.03
ENOUGH_SECONDS = 3.0
"""No round after the second is begun after this."""

Clock = Callable[[], float]


class StepTimes(NamedTuple):
    """`seconds[i]`: of a step of `sizes[i]` tokens of one sequence, without logits. `steady`: whether each was measured
    twice."""

    sizes: tuple[int, ...]
    seconds: tuple[float, ...]
    steady: bool = True

    def of(self, tokens: ArrayLike) -> NDArray[np.float64]:
        """Seconds of steps with this many tokens each."""
        counts = np.asarray(tokens, np.float64)
        beyond = np.maximum(1.0, counts / self.sizes[-1])
        return np.asarray(np.interp(counts, self.sizes, self.seconds) * beyond)

    def best(self, most: int, fixed: float = 0.0) -> int:
        """The largest of the timed sizes up to `most` that takes hardly longer for each token than any other, where
        each step takes `fixed` seconds besides."""
        timed = zip(self.sizes, self.seconds, strict=True)
        each = {size: (fixed + seconds) / size for size, seconds in timed if size <= most}
        enough = HARDLY * min(each.values(), default=0.0)
        return max((size for size, found in each.items() if found <= enough), default=most)


TYPICAL = StepTimes((1, 63), (5.0, 67.0))
"""As long as nothing is measured: what a step costs once is as much as four tokens."""


def step_times(model: Model, options: EngineOptions, threads: int, rows: Rows | None) -> StepTimes:
    """What steps take, as measured now or before; `rows`: sizes of steps that the engine keeps to."""
    headers = [model.header, *([model.adapter_header] if model.adapter_header else [])]
    name = kept("step_times", *headers, threads=threads)
    found = _read(name)
    if found is None:
        log.info("timing steps of %d to %d tokens (once for a model and machine)", SIZES[0], SIZES[-1])
        found = measure(model, options, threads, rows)
        if found.steady:
            write(name, {"sizes": found.sizes, "seconds": found.seconds})
        else:
            log.info("the times of equal steps differ, since the machine is busy; the next run measures them again")
    return found


def measure(model: Model, options: EngineOptions, threads: int, rows: Rows | None) -> StepTimes:
    """Times steps of one sequence."""
    sizes = sorted({rows.padded(size) for size in SIZES if size <= rows.most}) if rows else SIZES
    tokens = np.random.default_rng(0).integers(0, model.size, sizes[-1]).tolist()
    small = replace(options, slots=1, context=256, batch_tokens=sizes[-1])
    clock = clock_of(options, threads)
    with closing(Context(model, small, threads, rows)) as context:
        _time(context, tokens, clock)  # reads the weights from disk
        return repeated(sizes, lambda size: _time(context, tokens[:size], clock))


def clock_of(options: EngineOptions, threads: int) -> Clock:
    """What tells how long a step takes, in seconds: processor time of each of its threads. The clock on the wall for a
    GPU, which computes without them, and on Windows, where processor time is counted in sixty-fourths of a second."""
    if on_gpu(options) or sys.platform == "win32":
        return perf_counter
    if threads == 1:
        return thread_time
    return lambda: process_time() / threads


def repeated(sizes: Sequence[int], timed: Callable[[int], float], now: Clock = perf_counter) -> StepTimes:
    """The shortest of several times of each size; `timed`: seconds of one step of so many tokens."""
    until = now() + ENOUGH_SECONDS
    rounds: list[list[float]] = []
    while True:
        rounds.append([timed(size) for size in sizes])
        if len(rounds) == 1:
            continue
        shortest, second = np.sort(rounds, axis=0)[:2]
        steady = bool((second <= REACHED * shortest).all())
        if now() > until or (steady and len(rounds) >= ROUNDS):
            return StepTimes(tuple(sizes), tuple(shortest.tolist()), steady)


def _time(context: Context, tokens: list[int], clock: Clock) -> float:
    context.add(tokens, 0, 1, outputs=0)
    started = clock()
    context.decode()
    context.synchronize()
    seconds = clock() - started
    context.forget(PREFIX)  # all cells: none has to be moved in a later step
    return seconds


def _read(name: Kept) -> StepTimes | None:
    value = read(name)
    with suppress(TypeError, KeyError):
        found = StepTimes(tuple(value["sizes"]), tuple(value["seconds"]))
        if found.sizes and len(found.sizes) == len(found.seconds) and min(found.seconds) > 0:
            return found
    return None
