"""How long a step of some tokens takes: measured once for a model's shapes and types on a machine.

The time is not linear in tokens: products with repacked weights take rows in groups of 4 and 16 (ggml-cpu/repack.cpp),
so that 16 tokens cost little more than 12, and 8 may cost as much for each as one. Knows nothing of requests.
"""

from __future__ import annotations

import logging
from contextlib import closing, suppress
from dataclasses import replace
from time import perf_counter
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genner_cli.engine.context import Context
from genner_cli.engine.measured import Kept, kept, read, write
from genner_cli.engine.model import Model
from genner_cli.generation import EngineOptions, Rows

log = logging.getLogger("genner")

SIZES = (1, 2, 4, 8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 63)
"""Tokens of the steps that are timed; between and behind them a straight line is assumed."""
ROUNDS = 4
"""The shortest time of each size counts."""
HARDLY = 1.03
ENOUGH_SECONDS = 3.0
"""No further round is begun after this."""


class StepTimes(NamedTuple):
    """`seconds[i]`: of a step of `sizes[i]` tokens of one sequence, without logits."""

    sizes: tuple[int, ...]
    seconds: tuple[float, ...]

    def of(self, tokens: ArrayLike) -> NDArray[np.float64]:
        """Seconds of steps with this many tokens each."""
        counts = np.asarray(tokens, np.float64)
        beyond = np.maximum(1.0, counts / self.sizes[-1])
        return np.asarray(np.interp(counts, self.sizes, self.seconds) * beyond)

    def best(self, most: int) -> int:
        """The largest of the timed sizes up to `most` that takes hardly longer for each token than any other."""
        each = {size: seconds / size for size, seconds in zip(self.sizes, self.seconds, strict=True) if size <= most}
        return max((size for size, found in each.items() if found <= HARDLY * min(each.values())), default=most)


TYPICAL = StepTimes((1, 63), (5.0, 67.0))
"""As long as nothing is measured: what a step costs once is as much as four tokens."""


def step_times(model: Model, options: EngineOptions, threads: int, rows: Rows | None) -> StepTimes:
    """What steps take, as measured now or before; `rows`: sizes of steps that the engine keeps to."""
    headers = [model.header, *([model.adapter_header] if model.adapter_header else [])]
    name = kept("steps", *headers, threads=threads)
    found = _read(name)
    if found is None:
        log.info("timing steps of %d to %d tokens (once for a model and machine)", SIZES[0], SIZES[-1])
        found = measure(model, options, threads, rows)
        write(name, found._asdict())
    return found


def measure(model: Model, options: EngineOptions, threads: int, rows: Rows | None) -> StepTimes:
    """Times steps of one sequence."""
    sizes = [size for size in SIZES if rows is None or size <= rows.most]
    best = dict.fromkeys(sizes, np.inf)
    tokens = np.random.default_rng(0).integers(0, model.size, sizes[-1]).tolist()
    small = replace(options, slots=1, context=256, batch_tokens=sizes[-1])
    with closing(Context(model, small, threads, rows)) as context:
        _time(context, tokens)  # reads the weights from disk
        started = perf_counter()
        for number in range(ROUNDS):
            if number and perf_counter() - started > ENOUGH_SECONDS:
                break
            for size in sizes:
                best[size] = min(best[size], _time(context, tokens[:size]))
    return StepTimes(tuple(best), tuple(best.values()))


def _time(context: Context, tokens: list[int]) -> float:
    context.add(tokens, 0, 1, outputs=0)
    started = perf_counter()
    context.decode()
    context.synchronize()
    seconds = perf_counter() - started
    context.forget(1)
    return seconds


def _read(name: Kept) -> StepTimes | None:
    value = read(name)
    with suppress(TypeError, KeyError):
        found = StepTimes(tuple(value["sizes"]), tuple(value["seconds"]))
        if found.sizes and len(found.sizes) == len(found.seconds) and min(found.seconds) > 0:
            return found
    return None
