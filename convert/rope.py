"""The rotary position embedding of a transformers config -> llama.cpp's: metadata, and factors for each frequency.

A scaling is carried only where llama.cpp computes the same angles. Knows nothing of the other tensors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Factors = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Rope:
    """`pairs` of metadata, `factors` by tensor name, and the longest text in tokens up to which the angles agree."""

    pairs: Mapping[str, Any] = field(default_factory=dict)
    factors: Factors = field(default_factory=dict)
    limit: float = math.inf


@dataclass(frozen=True, slots=True)
class Rotation:
    """What a config says of RoPE (`parameters` as transformers standardizes them); `width` of one head in numbers."""

    parameters: Mapping[str, Any]
    width: int
    context: int

    @property
    def kind(self) -> str:
        """transformers' name of the scaling: default, linear, llama3 ..."""
        return str(self.parameters.get("rope_type") or self.parameters.get("type") or "default")

    @property
    def rotated(self) -> int:
        """How many numbers of a head are rotated."""
        return int(self.width * (self.parameters.get("partial_rotary_factor") or 1.0))

    @property
    def trained(self) -> int:
        """The context in tokens before it was extended."""
        return int(self.parameters.get("original_max_position_embeddings") or self.context)

    def unsupported(self, kinds: Collection[str], *, partial: bool = False) -> dict[str, bool]:
        """What llama.cpp has not, for an architecture in which it has scalings of these kinds."""
        get = self.parameters.get
        yarn = self.kind == "yarn"
        odd = {
            "beta_fast": get("beta_fast") not in (None, 32),
            "beta_slow": get("beta_slow") not in (None, 1),
            "truncate": get("truncate", True) is not True,
            "mscale": get("mscale") is not None or get("mscale_all_dim") is not None,
        }
        return {
            f"rope type {self.kind!r}": self.kind not in {"default", *kinds},
            f"partial_rotary_factor {get('partial_rotary_factor')}": self.rotated != self.width and not partial,
            **{f"{key} {get(key)} of rope type 'yarn'": yarn and present for key, present in odd.items()},
        }

    def carried(self) -> Rope:
        """For a kind that is supported (transformers: modeling_rope_utils; llama.cpp: ggml_rope_ext)."""
        scaled = SCALINGS[self.kind](self)
        base = {"rope.freq_base": float(self.parameters["rope_theta"]), "rope.dimension_count": self.rotated}
        return Rope({**base, **scaled.pairs}, scaled.factors, scaled.limit)


def _linear(rotation: Rotation) -> Rope:
    return Rope({"rope.scaling.type": "linear", "rope.scaling.factor": float(rotation.parameters["factor"])})


def _llama3(rotation: Rotation) -> Rope:
    """Long waves are stretched, short ones kept, those between in proportion (Llama 3.1's model card)."""
    get = rotation.parameters
    stretch, low, high = float(get["factor"]), float(get["low_freq_factor"]), float(get["high_freq_factor"])
    exponents = np.arange(0, rotation.rotated, 2, dtype=np.float64) / rotation.rotated
    turns = rotation.trained / (2 * math.pi * float(get["rope_theta"]) ** exponents)  # in the trained context
    kept = np.clip((turns - low) / (high - low), 0, 1)
    return Rope(factors={"rope_freqs.weight": (1 / ((1 - kept) / stretch + kept)).astype(np.float32)})


def _yarn(rotation: Rotation) -> Rope:
    """llama.cpp multiplies by YaRN's own attention factor: only what differs from it is written (llama_context)."""
    factor = float(rotation.parameters.get("factor") or rotation.context / rotation.trained)
    usual = 1.0 if factor <= 1 else 0.1 * math.log(factor) + 1
    pairs = {
        "rope.scaling.type": "yarn",
        "rope.scaling.factor": factor,
        "rope.scaling.original_context_length": rotation.trained,
        "rope.scaling.attn_factor": float(rotation.parameters.get("attention_factor") or usual) / usual,
    }
    return Rope(pairs)


def _longrope(rotation: Rotation) -> Rope:
    """transformers takes the long factors for long texts, llama.cpp for a large context whatever the text.

    So the short ones are written as both, and texts end where transformers would change over.
    """
    factor = float(rotation.parameters.get("factor") or rotation.context / rotation.trained)
    usual = 1.0 if factor <= 1 else math.sqrt(1 + math.log(factor) / math.log(rotation.trained))
    pairs = {"rope.scaling.attn_factor": float(rotation.parameters.get("attention_factor") or usual)}
    short = np.array(rotation.parameters["short_factor"], np.float32)
    factors = {"rope_factors_long.weight": short, "rope_factors_short.weight": short}
    return Rope(pairs, factors, rotation.trained)


SCALINGS: Mapping[str, Callable[[Rotation], Rope]] = {
    "default": lambda rotation: Rope(),
    "linear": _linear,
    "llama3": _llama3,
    "yarn": _yarn,
    "longrope": _longrope,
}
