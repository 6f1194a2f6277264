"""The tensors of a transformer layer: their names in transformers and in llama.cpp, shapes, orders of rows.

Knows nothing of architectures and files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

LLAMA_NORMS = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
GEMMA_NORMS = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
HEAD_NORMS = {"self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm"}
OTHER_PARTS = ("vision_tower.", "multi_modal_projector.", "model.vision_tower.", "model.multi_modal_projector.")


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of the GGUF and the weight of the transformers model that it is made of.

    `shape` is the whole source's, of which `rows` (start, stop) are taken; None takes all. `heads` is the number of
    heads whose rows are reordered for llama.cpp's RoPE, 0 if none are. `offset` is added to every number.
    """

    source: str
    name: str
    shape: tuple[int, ...]
    rows: tuple[int, int] | None = None
    heads: int = 0
    offset: float = 0.0

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """The shape in the GGUF, outermost dimension first."""
        start, stop = self.rows or (0, self.shape[0])
        return (stop - start, *self.shape[1:])

    def arranged(self, rows: torch.Tensor) -> torch.Tensor:
        """The rows of the source (or of B in a LoRA pair A [rank, in], B [out, rank] on it) that the GGUF has."""
        taken = rows[slice(*self.rows)] if self.rows else rows
        return interleave(taken, self.heads) if self.heads else taken


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes of a model in numbers and rows; `context` in tokens."""

    vocabulary: int
    context: int
    layers: int
    width: int
    feed_forward: int
    heads: int
    kv_heads: int
    head_width: int

    @classmethod
    def of(cls, config: Mapping[str, Any], *, feed_forward: str = "intermediate_size") -> Sizes:
        """`feed_forward` names the field with the width between the feed-forward matrices."""
        heads = config["num_attention_heads"]
        return cls(
            vocabulary=config["vocab_size"],
            context=config["max_position_embeddings"],
            layers=config["num_hidden_layers"],
            width=config["hidden_size"],
            feed_forward=config[feed_forward],
            heads=heads,
            kv_heads=config.get("num_key_value_heads") or heads,
            head_width=config.get("head_dim") or config["hidden_size"] // heads,
        )


def interleave(rows: torch.Tensor, heads: int) -> torch.Tensor:
    """Reorders rows [heads * head_width, ...] of a query or key weight for llama.cpp's RoPE.

    transformers turns row i of a head together with row i + head_width / 2 (rotate_half in modeling_llama),
    llama.cpp turns neighbours 2i and 2i + 1 (LLAMA_ROPE_TYPE_NORM).
    """
    return rows.reshape(heads, 2, -1, *rows.shape[1:]).transpose(1, 2).reshape(rows.shape)


def text_name(name: str) -> str | None:
    """The name, in a model for text alone, of a tensor of a file or of a module; None if it is not part of that.

    Files of models for text and images put `language_model` into it; very old ones hold RoPE's frequencies.
    """
    if name.startswith(OTHER_PARTS) or name.endswith("rotary_emb.inv_freq"):
        return None
    return name.replace("language_model.", "", 1)


def attention(sizes: Sizes, *, neighbours: bool = False, biases: str = "") -> Iterator[Tensor]:
    """The four matrices, with biases on those whose letters stand in `biases`; `neighbours` as in `interleave`."""
    inner, shared = sizes.heads * sizes.head_width, sizes.kv_heads * sizes.head_width
    parts = {
        "q": ("attn_q", (inner, sizes.width), sizes.heads),
        "k": ("attn_k", (shared, sizes.width), sizes.kv_heads),
        "v": ("attn_v", (shared, sizes.width), 0),
        "o": ("attn_output", (sizes.width, inner), 0),
    }
    for letter, (name, shape, heads) in parts.items():
        weight = Tensor(f"self_attn.{letter}_proj.weight", f"{name}.weight", shape, heads=heads if neighbours else 0)
        yield weight
        if letter in biases:
            yield replace(weight, source=f"self_attn.{letter}_proj.bias", name=f"{name}.bias", shape=shape[:1])


def feed_forward(sizes: Sizes, *, biased: bool | None = False) -> Iterator[Tensor]:
    """The three matrices of a gated feed-forward network."""
    wide, narrow = (sizes.feed_forward, sizes.width), (sizes.width, sizes.feed_forward)
    for part, shape in (("gate", wide), ("up", wide), ("down", narrow)):
        yield Tensor(f"mlp.{part}_proj.weight", f"ffn_{part}.weight", shape)
        if biased:
            yield Tensor(f"mlp.{part}_proj.bias", f"ffn_{part}.bias", shape[:1])


def norms(sizes: Sizes, names: Mapping[str, str], *, width: int = 0, offset: float = 0.0) -> Iterator[Tensor]:
    """A norm for each of `names`, as wide as the model where `width` is 0."""
    for source, name in names.items():
        yield Tensor(f"{source}.weight", f"{name}.weight", (width or sizes.width,), offset=offset)
