"""The limit of the hardware: how long the tokens that must be computed take in full batches."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

from genner_cli.engine.context import Context
from genner_cli.engine.invariance import invariance
from genner_cli.engine.model import Model
from genner_cli.engine.statistics import Statistics
from genner_cli.generation import EngineOptions

_TEXT = "Ada Lovelace worked with Charles Babbage in London. "


@dataclass(frozen=True, slots=True)
class Rates:
    """Tokens a second in full batches, without logits and with them for every token."""

    without_logits: float
    with_logits: float

    def seconds(self, done: Statistics) -> float:
        """The least time for a run: its tokens without the drafted ones that were not chosen."""
        wasted = done.drafted - done.accepted
        outputs = done.outputs - wasted
        return outputs / self.with_logits + (done.decoded - wasted - outputs) / self.without_logits


def measure(model: Model, options: EngineOptions, rounds: int) -> Rates:
    """Medians over `rounds` rounds, of one sequence of as many tokens as a step takes."""
    threads = options.threads or 1
    context = Context(model, options, threads, invariance(model, options, threads).rows)
    tokens = (model.plain(_TEXT) * context.capacity)[: context.capacity]
    rates = [_rate(context, tokens, outputs, rounds) for outputs in (0, len(tokens))]
    context.close()
    return Rates(*rates)


def _rate(context: Context, tokens: list[int], outputs: int, rounds: int) -> float:
    seconds = []
    for _ in range(rounds):
        context.add(tokens, 0, 1, outputs)
        started = time.perf_counter()
        context.decode()
        context.synchronize()
        seconds.append(time.perf_counter() - started)
        context.forget(1)
    return len(tokens) / statistics.median(seconds)
