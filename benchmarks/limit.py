"""Two limits of a run: how long the tokens that must be computed take llama.cpp in full batches, and the processor.

    python benchmarks/limit.py --model GGUF [--threads 2]

`bench.py` holds runs against the first. The command shows the second beside it: the tokens a second that the model's
products of matrices alone would allow, at the rate of large products by PyTorch, in F32, BF16 and 8-bit integers.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from genner_cli.engine.context import Context
from genner_cli.engine.invariance import invariance
from genner_cli.engine.model import Model
from genner_cli.engine.statistics import Statistics
from genner_cli.generation import EngineOptions

ROWS = 64
"""Of the products: about as many tokens as a full step has."""
REPEATED = 40
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


def products(width: int, feed_forward: int, rounds: int, threads: int) -> dict[str, float]:
    """Operations a second of products by a layer's largest matrix, by the type of their numbers; medians."""
    import torch

    torch.set_num_threads(threads)
    left, right = torch.randn(ROWS, width), torch.randn(width, feed_forward)
    integers = [torch.randint(-100, 100, each.shape, dtype=torch.int8) for each in (left, right)]
    halves = left.bfloat16(), right.bfloat16()
    run: dict[str, Callable[[], object]] = {
        "F32": lambda: left @ right,
        "BF16": lambda: halves[0] @ halves[1],
        "8-bit integers": lambda: torch._int_mm(*integers),
    }
    operations = 2 * ROWS * width * feed_forward * REPEATED
    return {kind: operations / _median_seconds(product, rounds) for kind, product in run.items()}


def _median_seconds(product: Callable[[], object], rounds: int) -> float:
    """Of REPEATED products."""
    seconds = []
    for _ in range(rounds + 1):  # the first one warms up
        started = time.perf_counter()
        for _ in range(REPEATED):
            product()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:])


def main() -> None:
    """Reads the command line, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, metavar="GGUF")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    options = EngineOptions(threads=args.threads, gpu_layers=0)
    with Model(args.model, gpu_layers=0) as model:
        own = measure(model, options, args.rounds).without_logits
        header = model.header
    architecture = header.metadata["general.architecture"]
    width, feed_forward = (
        header.metadata[f"{architecture}.{key}"] for key in ("embedding_length", "feed_forward_length")
    )
    layers = sum(tensor.numbers for name, tensor in header.tensors.items() if name.startswith("blk."))
    print(f"{header.quantization}: {own:,.0f} tokens/s in full batches, without logits, threads: {args.threads}")
    for kind, rate in products(width, feed_forward, args.rounds, args.threads).items():
        tokens = rate / (2 * layers)
        print(f"{kind}: {rate / 1e9:,.0f} GFLOPS, {tokens:,.0f} tokens/s; llama.cpp reaches {own / tokens:.2f} of that")


if __name__ == "__main__":
    main()
