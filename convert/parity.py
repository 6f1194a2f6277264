"""Is a GGUF the model that was trained? The same prompt tokens, and the same logits as in transformers.

Takes the transformers folder, the GGUF and what to try them on, gives findings that say where they part. Knows
nothing of quantization.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from convert.logits import Logits, gguf_logits
from convert.probe import OWN_TEXTS, Probe
from convert.reference import reference_logits
from convert.report import Finding
from genner_cli.chunking import split
from genner_cli.engine.gguf_header import read_header
from genner_cli.engine.model import Model
from genner_cli.errors import DataError
from genner_cli.types import Piece

MODEL = "model"
"""The subject of these findings: the model as a whole, before it is quantized."""
LOGIT_LIMITS = {"f32": 1e-3, "f16": 0.03, "bf16": 0.1}
"""Largest difference of a logit, in standard deviations of the logits, by the GGUF's number type. In F32 only the
order of sums differs (1e-5); F16 and BF16 round hidden states, too, in llama.cpp's products, those of an adapter in
such a type as well."""
FEW_LAYERS, MOST = 4, 0.3
"""Layers up to which those limits hold; roundings of more add up as the square root of their number. A wrong mapping
differs by 1 and more, so MOST is the limit of all models, and that where transformers had to compute in 16 bits too."""
ROUGH, ROUGH_LIMIT = ("gemma2", "gemma3"), 0.01
"""Architectures with GELU, which llama.cpp looks up in a table in half precision, and the limit that leaves in F32."""


def check_tokens(probe: Probe, gguf: Path) -> Finding:
    """Whether prompts have the same ids in transformers and llama.cpp, BOS included."""
    chunk_bytes = probe.task.chunk_bytes
    texts = [(d.source, chunk.text) for d in probe.documents for chunk in split(d.text, chunk_bytes)]
    texts += [(document.source, document.text) for document in OWN_TEXTS]
    prompt, prefix, compared = probe.task.prompt, probe.task.prompt.prefix(probe.task.labels), 0
    with Model(gguf, gpu_layers=0) as model:
        for source, text in texts:
            pieces = prefix + prompt.rest(text)
            theirs = _ids(probe.tokens.begins, probe.tokens.prompt, pieces)
            ours = _ids(model.begin_ids, model.prompt, pieces)
            compared += len(theirs)
            if theirs != ours:
                return Finding("prompt tokens", MODEL, False, {"tokens": compared}, _parting(source, theirs, ours))
    return Finding("prompt tokens", MODEL, True, {"texts": len(texts), "tokens": compared})


def _ids(begins: list[int], tokenize: Callable[[Sequence[Piece]], list[int]], pieces: Sequence[Piece]) -> list[int]:
    """Empty for a text that the vocabulary cannot write."""
    try:
        return begins + tokenize(pieces)
    except DataError:
        return []


def _parting(source: str, theirs: Sequence[int], ours: Sequence[int]) -> str:
    both = enumerate(zip(theirs, ours, strict=False))
    at = next((at for at, (a, b) in both if a != b), min(len(theirs), len(ours)))
    return (
        f"{source}: from token {at} on the prompt is {theirs[at : at + 4]} in transformers and {ours[at : at + 4]} in"
        " llama.cpp, so the tokenizer is not the same"
    )


def check_logits(
    probe: Probe,
    folder: Path,
    gguf: Path,
    *,
    dtype: str,
    threads: int,
    adapter: Path | None = None,
    virtual: torch.Tensor | None = None,
) -> Finding:
    """Whether the GGUF, with the adapter applied if there is one, computes the logits that transformers computes with
    the folder, on prompts and completions. `virtual`: the embeddings that the adapter holds, if it is of that kind.

    `dtype`: the GGUF's number type. LOGIT_LIMITS and what follows it document what may differ; another token may be the
    most probable one only where that difference explains it.
    """
    sequences = [example.ids for example in probe.examples]
    reference, computed_in = reference_logits(folder, sequences, virtual=virtual)
    if adapter:
        dtype = max(dtype, read_header(adapter).quantization.lower(), key=LOGIT_LIMITS.__getitem__)
    limit = _limit(gguf, dtype) if computed_in == "float32" else MOST
    found = gguf_logits(gguf, sequences, threads=threads, adapter=adapter)
    compared = [_compared(theirs, ours, limit) for theirs, ours in zip(reference, found, strict=True)]
    worst = max(range(len(compared)), key=lambda at: (not compared[at].passed, compared[at].largest))
    measured = {
        "tokens": sum(len(example.ids) for example in probe.examples),
        "standard_deviation": compared[worst].deviation,
        "largest_difference": max(part.largest for part in compared),
        "limit": limit,
        "top_1_agreement": float(np.concatenate([part.agrees for part in compared]).mean()),
        "computed_in": computed_in,
    }
    passed = compared[worst].passed
    exactly = "" if dtype == "f32" else "; --dtype f32 would tell what is wrong from what is rounded"
    message = "" if passed else _where(probe, worst, compared[worst]) + exactly
    return Finding("logits", MODEL, passed, measured, message)


def _limit(gguf: Path, dtype: str) -> float:
    metadata = read_header(gguf).metadata
    name = metadata.get("general.architecture")
    if dtype == "f32":
        return ROUGH_LIMIT if name in ROUGH else LOGIT_LIMITS[dtype]
    layers = int(metadata[f"{name}.block_count"])
    return min(MOST, LOGIT_LIMITS[dtype] * math.sqrt(max(1, layers / FEW_LAYERS)))


@dataclass(frozen=True, slots=True)
class _Compared:
    """One example, a value for each token. `differences` and `margins`, by which another token is the most probable,
    are in standard deviations of the reference's logits; `agrees` says whether the same token is."""

    deviation: float
    differences: Logits
    margins: Logits
    agrees: NDArray[np.bool_]
    limit: float

    @property
    def largest(self) -> float:
        return float(self.differences.max())

    @property
    def passed(self) -> bool:
        return self.largest <= self.limit and float(self.margins.max()) <= self.limit


def _compared(reference: Logits, found: Logits, limit: float) -> _Compared:
    rows = np.arange(len(reference))
    if reference.shape != found.shape:  # of another vocabulary
        nothing = np.full(len(rows), np.inf, np.float32)
        return _Compared(0.0, nothing, nothing, np.zeros(len(rows), bool), limit)
    deviation = float(reference.std(axis=1, dtype=np.float64).mean())
    unit = max(deviation, 1e-9)
    differences = np.nan_to_num(np.abs(reference - found).max(axis=1) / unit, nan=np.inf)
    best, other = reference.argmax(axis=1), found.argmax(axis=1)
    margins = (reference[rows, best] - reference[rows, other]) / unit
    return _Compared(deviation, differences, margins, best == other, limit)


def _where(probe: Probe, example: int, part: _Compared) -> str:
    """Which document and token, by how much, and which tensors it can be."""
    at = int(np.argmax((part.differences > part.limit) | (part.margins > part.limit)))
    id = probe.examples[example].ids[at]
    token = probe.tokens.tokenizer.convert_ids_to_tokens(id) if id >= 0 else f"virtual token {-id}"
    if np.isfinite(part.largest):
        what = f"differ by up to {part.largest:.2g} standard deviations, {part.limit:g} are allowed"
    else:
        what = "are not finite, or of another vocabulary"
    return f"{probe.examples[example].source}: from token {at} ({token!r}) on logits {what}; {_hint(part)}"


def _hint(part: _Compared) -> str:
    """At the first token attention has nothing to choose from, so queries, keys and RoPE have no effect there."""
    if part.differences[0] <= part.limit:
        return "the first token agrees: look at the rows of queries and keys (attn_q, attn_k), RoPE and the window"
    return "the first token differs already: look at embeddings, norms, attn_v, attn_output, ffn, output and scales"
