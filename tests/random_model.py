"""A small Llama of random weights with the bundled model's metadata and the start of its vocabulary, as GGUF.

It has learnt nothing, so its completions go wherever the constraint lets them.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from changed_gguf import finish
from gguf import GGUFValueType, GGUFWriter, TokenType
from numpy.typing import NDArray
from short_vocabulary import END, MERGES, NORMAL

from genner_cli import hub
from genner_cli.engine.gguf_header import read_header
from genner_cli.files.calibrations import KEY

LAYERS, WIDTH, HEADS, KV_HEADS, HEAD_SIZE, FEED_FORWARD = 2, 128, 2, 1, 64, 192
SPREAD = 4.0
"""Standard deviation of the logits: about that of a trained model."""

SIZES = {
    "llama.block_count": LAYERS,
    "llama.embedding_length": WIDTH,
    "llama.attention.head_count": HEADS,
    "llama.attention.head_count_kv": KV_HEADS,
    "llama.attention.key_length": HEAD_SIZE,
    "llama.attention.value_length": HEAD_SIZE,
    "llama.rope.dimension_count": HEAD_SIZE,
    "llama.feed_forward_length": FEED_FORWARD,
    "general.file_type": 0,
}

LABELS = {"PER": "named people", "ORG": "named companies and institutions", "LOC": "named places", "TIME": "dates"}
CLOSED = {
    "genner.labels": json.dumps(LABELS),
    "genner.together": "[]",
    "genner.open_labels": "false",
}
"""Unlike the bundled model it knows no other labels than these, and defines them."""


def _bundled_metadata() -> dict[str, tuple[Any, GGUFValueType, GGUFValueType | None]]:
    """Value, type and, for arrays, the items' type of each pair of the bundled model, without its calibration."""
    pairs = read_header(hub.BUNDLED, arrays=True).metadata
    return {key: (value, *_types(value)) for key, value in pairs.items() if key != KEY}


def _types(value: Any) -> tuple[GGUFValueType, GGUFValueType | None]:
    match value:
        case [first, *_]:
            return GGUFValueType.ARRAY, GGUFValueType.get_type(first)
        case bool() | str() | float():
            return GGUFValueType.get_type(value), None
    return GGUFValueType.UINT32, None


@cache
def short_metadata() -> dict[str, tuple[Any, GGUFValueType, GGUFValueType | None]]:
    """The same with the short vocabulary, in the order of the file."""
    pairs = _bundled_metadata()
    kinds = pairs["tokenizer.ggml.token_type"][0]
    kept = [*range(NORMAL), *(id for id, kind in enumerate(kinds) if kind != TokenType.NORMAL)]
    short: dict[str, Any] = {
        "llama.vocab_size": len(kept),
        "tokenizer.ggml.merges": pairs["tokenizer.ggml.merges"][0][:MERGES],
        "tokenizer.ggml.eos_token_id": END,
        "tokenizer.ggml.padding_token_id": END,
    }
    for key in ("tokenizer.ggml.tokens", "tokenizer.ggml.token_type"):
        short[key] = [pairs[key][0][id] for id in kept]
    return {key: (short.get(key, value), kind, items) for key, (value, kind, items) in pairs.items()}


def write_random_model(
    path: Path, *, seed: int = 1, change: Mapping[str, Any] | None = None, leave_out: Collection[str] = ()
) -> Path:
    """Writes the model; `change` gives other values to pairs or adds strings, `leave_out` names prefixes of keys."""
    pairs = dict(short_metadata())
    for key, value in {**SIZES, **CLOSED, **(change or {})}.items():
        kinds = pairs.get(key, (None, GGUFValueType.STRING, None))[1:]
        pairs[key] = (value, *kinds)
    writer = GGUFWriter(path, "llama")
    for key, (value, kind, items) in pairs.items():
        if key != "general.architecture" and not key.startswith(tuple(leave_out)):
            writer.add_key_value(key, value, kind, items)
    for name, values in _tensors(len(pairs["tokenizer.ggml.tokens"][0]), np.random.default_rng(seed)):
        writer.add_tensor(name, values)
    finish(writer)
    return path


def _tensors(vocabulary: int, random: np.random.Generator) -> list[tuple[str, NDArray[np.float32]]]:
    def matrix(rows: int, columns: int, scale: float = 1.0) -> NDArray[np.float32]:
        return (random.standard_normal((rows, columns)) * scale / columns**0.5).astype(np.float32)

    ones = np.ones(WIDTH, dtype=np.float32)
    queries, keys = HEADS * HEAD_SIZE, KV_HEADS * HEAD_SIZE
    tensors = [
        ("token_embd.weight", matrix(vocabulary, WIDTH)),
        ("output_norm.weight", ones),
        ("output.weight", matrix(vocabulary, WIDTH, SPREAD)),
    ]
    for layer in (f"blk.{number}" for number in range(LAYERS)):
        tensors += [
            (f"{layer}.attn_norm.weight", ones),
            (f"{layer}.attn_q.weight", matrix(queries, WIDTH)),
            (f"{layer}.attn_k.weight", matrix(keys, WIDTH)),
            (f"{layer}.attn_v.weight", matrix(keys, WIDTH)),
            (f"{layer}.attn_output.weight", matrix(WIDTH, queries)),
            (f"{layer}.ffn_norm.weight", ones),
            (f"{layer}.ffn_gate.weight", matrix(FEED_FORWARD, WIDTH)),
            (f"{layer}.ffn_up.weight", matrix(FEED_FORWARD, WIDTH)),
            (f"{layer}.ffn_down.weight", matrix(WIDTH, FEED_FORWARD)),
        ]
    return tensors
