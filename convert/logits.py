"""Token ids -> their logits, from a GGUF as llama.cpp computes them on the CPU, as exactly as it can.

Knows nothing of text and of where the model comes from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genner_cli.engine import llama
from genner_cli.engine.model import Model, llama_errors
from genner_cli.errors import ModelError

Logits = NDArray[np.float32]
BATCH = 512
NOISE_LIMIT = 0.5
"""Root mean square difference of logits, in their standard deviations. The bundled model: 0.004 for Q8_0, 0.02 for
Q4_K_M, 0.06 for Q2_K; genner-base: 0.27 for Q8_0. Beyond one half, noise decides what is written."""


def gguf_logits(
    path: Path,
    sequences: Sequence[Sequence[int]],
    *,
    threads: int = 1,
    adapter: Path | None = None,
    made_of: Path | None = None,
) -> Iterator[Logits]:
    """Logits [tokens, vocabulary] of each sequence: row i is what llama.cpp expects after its first i + 1 tokens.

    Keys and values are kept in F32 and attention is computed without flash attention, so that what differs from
    transformers comes from the weights. `adapter`: an adapter GGUF that is applied; of virtual tokens, the id -1 in a
    sequence is the first one, and so on; `made_of`: see `Model`. Raises ModelError where llama.cpp cannot load or run
    the model.
    """
    longest = max(map(len, sequences), default=0)
    with Model(path, gpu_layers=0, adapter=adapter, made_of=made_of) as model, llama_errors() as errors:
        context = llama.llama_init_from_model(model.handle, _parameters(longest, threads))
        if not context:
            raise ModelError(f"{path}: llama.cpp cannot run it ({'; '.join(errors) or 'no reason given'})")
        try:
            model.apply_adapter(context)
            for ids in sequences:
                llama.llama_memory_clear(llama.llama_get_memory(context), True)
                parts = (_decoded(model, context, ids[start:end], start) for start, end in _batches(ids))
                yield np.concatenate([np.empty((0, model.size), np.float32), *parts])
        finally:
            llama.llama_free(context)


def _batches(ids: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Where batches begin and end: each of tokens alone, or of virtual tokens alone."""
    start = 0
    for _, run in groupby(ids, lambda id: id < 0):
        end = start + sum(1 for _ in run)
        yield from ((at, min(at + BATCH, end)) for at in range(start, end, BATCH))
        start = end


def _parameters(length: int, threads: int) -> Any:
    params = llama.llama_context_default_params()
    params.n_ctx = max(length, 1)
    params.n_batch = params.n_ubatch = BATCH
    params.n_threads = params.n_threads_batch = threads
    params.type_k = params.type_v = llama.GGML_TYPE_F32
    params.flash_attn_type = llama.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.offload_kqv = params.op_offload = False
    return params


def _decoded(model: Model, context: Any, ids: Sequence[int], start: int) -> Logits:
    virtual = ids[0] < 0
    known = range(-len(model.virtual_tokens), 0) if virtual else range(model.size)
    if unknown := [id for id in ids if id not in known]:
        raise ModelError(f"{model.path}: no token has the id {unknown[0]} in a vocabulary of {model.size}; retokenize")
    width = model.virtual_tokens.shape[1]
    batch = llama.llama_batch_init(len(ids), width if virtual else 0, 1)
    try:
        batch.n_tokens = len(ids)
        if virtual:
            rows = model.virtual_tokens[[-1 - id for id in ids]]
            np.ctypeslib.as_array(batch.embd, rows.shape)[:] = rows
        for at, id in enumerate(ids):
            if not virtual:
                batch.token[at] = id
            batch.pos[at], batch.logits[at] = start + at, True
            batch.n_seq_id[at], batch.seq_id[at][0] = 1, 0
        if llama.llama_decode(context, batch):
            raise ModelError(f"{model.path}: llama.cpp cannot decode {start + len(ids)} tokens; export it again")
        return np.ctypeslib.as_array(llama.llama_get_logits(context), (len(ids), model.size)).copy()
    finally:
        llama.llama_batch_free(batch)


def noise(whole: Logits, found: Logits) -> float:
    """Root mean square difference in standard deviations; what shifts all logits of a token alike changes nothing."""
    differences = (found - whole).astype(np.float64)
    differences -= differences.mean(axis=1, keepdims=True)
    return float(np.nan_to_num(differences.std() / whole.std(axis=1, dtype=np.float64).mean(), nan=np.inf))
