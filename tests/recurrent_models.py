"""Small models of random weights with a recurrent state, as GGUF: Mamba, Mamba 2, RWKV 7, and hybrids with attention.

They have the bundled model's vocabulary and metadata. Names and shapes: llama-model.cpp.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from changed_gguf import finish
from gguf import GGUFWriter
from numpy.typing import NDArray
from random_model import CLOSED, SPREAD, short_metadata

WIDTH, LAYERS, HEADS, FEED_FORWARD = 64, 2, 2, 96
INNER, STATE, RANK, GROUPS, CONVOLUTION = 2 * WIDTH, 16, 4, 2, 4
Tensors = Iterator[tuple[str, NDArray[np.float32]]]


class _Random:
    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)

    def matrix(self, rows: int, columns: int, scale: float = 1.0) -> NDArray[np.float32]:
        """Gives (rows, columns): `columns` in, `rows` out."""
        return (self._random.standard_normal((rows, columns)) * scale / columns**0.5).astype(np.float32)

    def around(self, mean: float, *shape: int) -> NDArray[np.float32]:
        """Numbers close to the mean."""
        return (mean + 0.1 * self._random.standard_normal(shape)).astype(np.float32)


def _mamba(layer: str, random: _Random) -> Tensors:
    yield f"{layer}.ssm_in.weight", random.matrix(2 * INNER, WIDTH)
    yield f"{layer}.ssm_conv1d.weight", random.matrix(INNER, CONVOLUTION)
    yield f"{layer}.ssm_conv1d.bias", random.around(0, INNER)
    yield f"{layer}.ssm_x.weight", random.matrix(RANK + 2 * STATE, INNER)
    yield f"{layer}.ssm_dt.weight", random.matrix(INNER, RANK)
    yield f"{layer}.ssm_dt.bias", random.around(-2, INNER)
    yield f"{layer}.ssm_a", -np.tile(np.arange(1, STATE + 1, dtype=np.float32), (INNER, 1))
    yield f"{layer}.ssm_d", random.around(1, INNER)
    yield f"{layer}.ssm_out.weight", random.matrix(WIDTH, INNER)


def _mamba2(layer: str, random: _Random) -> Tensors:
    mixed = INNER + 2 * GROUPS * STATE
    yield f"{layer}.ssm_in.weight", random.matrix(INNER + mixed + RANK, WIDTH)
    yield f"{layer}.ssm_conv1d.weight", random.matrix(mixed, CONVOLUTION)
    yield f"{layer}.ssm_conv1d.bias", random.around(0, mixed)
    yield f"{layer}.ssm_dt.bias", random.around(-2, RANK)
    yield f"{layer}.ssm_a", random.around(-1, RANK, 1)
    yield f"{layer}.ssm_d", random.around(1, RANK, 1)
    yield f"{layer}.ssm_norm.weight", random.around(1, GROUPS, INNER // GROUPS)
    yield f"{layer}.ssm_out.weight", random.matrix(WIDTH, INNER)


def _rwkv7(layer: str, random: _Random) -> Tensors:
    if layer == "blk.0":
        yield "token_embd_norm.weight", random.around(1, WIDTH)
        for name in ("token_embd_norm", "output_norm"):
            yield f"{name}.bias", random.around(0, WIDTH)
    yield f"{layer}.attn_norm.bias", random.around(0, WIDTH)
    for name in ("attn_norm_2", "time_mix_ln"):
        yield f"{layer}.{name}.weight", random.around(1, WIDTH)
        yield f"{layer}.{name}.bias", random.around(0, WIDTH)
    for name in ("time_mix_w", "time_mix_a", "time_mix_v"):
        yield f"{layer}.{name}0.weight", random.around(-1, WIDTH)
    for name in ("time_mix_w", "time_mix_a", "time_mix_v", "time_mix_g"):
        yield f"{layer}.{name}1.weight", random.matrix(RANK, WIDTH)
        yield f"{layer}.{name}2.weight", random.matrix(WIDTH, RANK)
    yield f"{layer}.time_mix_lerp_fused.weight", random.around(0.5, 6, 1, 1, WIDTH)
    for name in ("k_k", "k_a", "r_k"):
        yield f"{layer}.time_mix_{name}.weight", random.around(1, WIDTH)
    for name in ("key", "value", "receptance", "output"):
        yield f"{layer}.time_mix_{name}.weight", random.matrix(WIDTH, WIDTH)
    yield f"{layer}.channel_mix_lerp_k.weight", random.around(0.5, 1, 1, WIDTH)
    yield f"{layer}.channel_mix_key.weight", random.matrix(FEED_FORWARD, WIDTH)
    yield f"{layer}.channel_mix_value.weight", random.matrix(WIDTH, FEED_FORWARD)


def _attention(layer: str, random: _Random) -> Tensors:
    for name in ("q", "k", "v", "output"):
        yield f"{layer}.attn_{name}.weight", random.matrix(WIDTH, WIDTH)


def _feed_forward(layer: str, random: _Random) -> Tensors:
    yield f"{layer}.ffn_norm.weight", random.around(1, WIDTH)
    yield f"{layer}.ffn_gate.weight", random.matrix(FEED_FORWARD, WIDTH)
    yield f"{layer}.ffn_up.weight", random.matrix(FEED_FORWARD, WIDTH)
    yield f"{layer}.ffn_down.weight", random.matrix(WIDTH, FEED_FORWARD)


def _jamba(layer: str, random: _Random) -> Tensors:
    yield from _feed_forward(layer, random)
    if layer == "blk.1":
        yield from _attention(layer, random)
        return
    yield from _mamba(layer, random)
    yield f"{layer}.ssm_dt_norm.weight", random.around(1, RANK)
    yield f"{layer}.ssm_b_norm.weight", random.around(1, STATE)
    yield f"{layer}.ssm_c_norm.weight", random.around(1, STATE)


def _lfm2(layer: str, random: _Random) -> Tensors:
    yield from _feed_forward(layer, random)
    if layer == "blk.1":
        yield from _attention(layer, random)
        yield f"{layer}.attn_q_norm.weight", random.around(1, WIDTH // HEADS)
        yield f"{layer}.attn_k_norm.weight", random.around(1, WIDTH // HEADS)
        return
    yield f"{layer}.shortconv.in_proj.weight", random.matrix(3 * WIDTH, WIDTH)
    yield f"{layer}.shortconv.conv.weight", random.matrix(WIDTH, CONVOLUTION - 1)
    yield f"{layer}.shortconv.out_proj.weight", random.matrix(WIDTH, WIDTH)


_SSM = {
    "ssm.conv_kernel": CONVOLUTION,
    "ssm.inner_size": INNER,
    "ssm.state_size": STATE,
    "ssm.time_step_rank": RANK,
}
_HEADS_BY_LAYER = {
    "attention.head_count": HEADS,
    "attention.head_count_kv": [0, HEADS],
    "feed_forward_length": FEED_FORWARD,
}
_RWKV = {
    "attention.layer_norm_epsilon": 1e-5,
    "wkv.head_size": WIDTH,
    "token_shift_count": 2,
    "attention.head_count": 0,
    "feed_forward_length": FEED_FORWARD,
    **{f"attention.{name}_lora_rank": RANK for name in ("decay", "iclr", "value_residual_mix", "gate")},
}
ARCHITECTURES: dict[str, tuple[Callable[[str, _Random], Tensors], Mapping[str, Any]]] = {
    "mamba": (_mamba, {**_SSM, "feed_forward_length": 0, "attention.head_count": 0}),
    "mamba2": (_mamba2, {**_SSM, "ssm.group_count": GROUPS, "feed_forward_length": 0, "attention.head_count": 0}),
    "rwkv7": (_rwkv7, _RWKV),
    "jamba": (_jamba, {**_SSM, **_HEADS_BY_LAYER}),
    "lfm2": (_lfm2, {**_HEADS_BY_LAYER, "shortconv.l_cache": CONVOLUTION - 1, "rope.freq_base": 10000.0}),
}
"""The tensors of a layer beside its first norm, and the pairs that describe them."""


def write_recurrent_model(path: Path, architecture: str, *, seed: int = 1) -> Path:
    """Writes a model of one of ARCHITECTURES."""
    layer_tensors, described = ARCHITECTURES[architecture]
    writer = GGUFWriter(path, architecture)
    for key, (value, kind, items) in short_metadata().items():
        if key.startswith(("general.name", "tokenizer.", "genner.")):
            writer.add_key_value(key, CLOSED.get(key, value), kind, items)
    common = {"context_length": 4096, "block_count": LAYERS, "embedding_length": WIDTH}
    pairs = {**common, "attention.layer_norm_rms_epsilon": 1e-6, **described}
    for key, value in pairs.items():
        _add(writer, f"{architecture}.{key}", value)
    random = _Random(seed)
    size = len(short_metadata()["tokenizer.ggml.tokens"][0])
    writer.add_tensor("token_embd.weight", random.matrix(size, WIDTH))
    last_norm = "token_embd_norm.weight" if architecture == "lfm2" else "output_norm.weight"
    writer.add_tensor(last_norm, np.ones(WIDTH, np.float32))
    writer.add_tensor("output.weight", random.matrix(size, WIDTH, SPREAD))
    for layer in (f"blk.{number}" for number in range(LAYERS)):
        writer.add_tensor(f"{layer}.attn_norm.weight", np.ones(WIDTH, np.float32))
        for name, values in layer_tensors(layer, random):
            writer.add_tensor(name, values)
    finish(writer)
    return path


def _add(writer: GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, list):
        writer.add_array(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    else:
        writer.add_uint32(key, value)
