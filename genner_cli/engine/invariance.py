"""Whether a model's logits depend on the batch: the same tokens in several cuts, alone and beside others, bit for bit.

It follows from the kernels that llama.cpp takes for the types and shapes of a model's tensors on a processor, so it is
measured once for those and kept in a file in the user's cache folder. Knows nothing of requests.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import asdict, replace

import numpy as np
from numpy.typing import NDArray

from genner_cli.engine import llama
from genner_cli.engine.context import Context, on_gpu
from genner_cli.engine.measured import Kept, kept, read, write
from genner_cli.engine.model import Model
from genner_cli.errors import ModelError
from genner_cli.generation import EngineOptions, Invariance, Rows

log = logging.getLogger("genner")

CANDIDATES = (Rows(2, 63, 1), Rows(8, 60, 4))
"""Sizes of steps to try. One token alone, and from 64 on, attention is computed in another way
(ggml_compute_forward_flash_attn_ext_f16); so are products with K-quants up to 7 (ggml_tiled_min_batch), and those with
repacked ones for what is left after groups of 4 (ggml-cpu/repack.cpp)."""

ALONE = (60, 19), (2, 3, 4, 5, 6, 7, 8, 9, 15, 20)
BESIDE = (
    *((1, 1), (1, 2), (1, 3), (1, 6), (1, 14), (1, 59), (2, 1), (2, 5), (3, 4), (4, 5), (5, 7), (6, 8), (7, 9)),
    *((8, 24), (16, 16), (20, 43)),
)
"""(own, other) tokens of each step; fewer others where that is too many for the sizes that are tried."""
LENGTH = 79
CELLS = 256
"""Context of the check; more tokens than that are decoded, so that cells are moved together on the way."""


def invariance(model: Model, options: EngineOptions, threads: int) -> Invariance:
    """Whether this model can be run so that output does not depend on the batch, as measured now or before."""
    reason = _obstacle(model, options)
    if reason:
        return Invariance(None, reason)
    headers = [model.header, *([model.adapter_header] if model.adapter_header else [])]
    name = kept("invariance", *headers, threads=threads)
    found = _read(name)
    if found is None:
        log.info("checking whether output depends on what is decoded side by side (once for a model and machine)")
        rows = next((rows for rows in CANDIDATES if _same_bits(model, options, threads, rows)), None)
        found = Invariance(rows, "" if rows else "products with its types depend on the number of tokens")
        write(name, asdict(found))
    return found


def _obstacle(model: Model, options: EngineOptions) -> str:
    """Why there is no need to measure."""
    if on_gpu(options):
        return "it is computed on a GPU"
    if options.flash_attention is False:
        return "flash attention is off"
    if llama.llama_model_n_swa(model.handle):
        return "its attention has a sliding window"
    if model.recurrent:
        return "it is recurrent"
    return ""


def _same_bits(model: Model, options: EngineOptions, threads: int, rows: Rows) -> bool:
    """Whether all cuts give the same logits."""
    small = replace(options, slots=2, context=CELLS, batch_tokens=rows.most)
    try:
        context = Context(model, small, threads, rows)
    except ModelError:
        return False  # no flash attention for this architecture
    with closing(context):
        own = np.random.default_rng(0).integers(0, model.size, (2, 4 * CELLS)).tolist()
        beside = [(count, min(others, rows.most - count)) for count, others in BESIDE]
        steps = [[(count, 0) for count in cut] for cut in ALONE] + [beside]
        runs = (_logits(context, own, cut) for cut in steps)
        expected = next(runs)
        return all(np.array_equal(found, expected) for found in runs)


def _logits(context: Context, tokens: Sequence[list[int]], steps: Sequence[tuple[int, int]]) -> NDArray[np.float32]:
    """Logits of the first sequence; `steps`: tokens of both sequences in each step. Shape: (LENGTH, vocabulary)."""
    found: list[NDArray[np.float32]] = []
    starts = [0, 0]
    for step, counts in enumerate(steps):
        for sequence in (0, 1) if step % 2 else (1, 0):
            start, count = starts[sequence], counts[sequence]
            if count:
                context.add(tokens[sequence][start : start + count], start, sequence + 1, outputs=count)
            starts[sequence] += count
        rows = context.decode()
        assert rows is not None
        own = slice(0, counts[0]) if step % 2 else slice(counts[1], None)
        found += [np.array(row) for row in rows[own]]
        if starts[1] > LENGTH:  # a slot is done, and its cells are given to others
            context.forget(2)
            starts[1] = 0
    context.forget(1)
    context.forget(2)
    return np.stack(found)


def _read(name: Kept) -> Invariance | None:
    """What was found before; None where nothing was."""
    value = read(name)
    with suppress(TypeError, KeyError):
        return Invariance(Rows(*value["rows"]) if value["rows"] else None, value["reason"])
    return None
