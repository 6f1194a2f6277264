"""The metadata and tensors of a GGUF -> config.json of the transformers model that computes the same.

One function for each architecture, listed in FAMILIES. Keys that a GGUF leaves out have llama.cpp's defaults
(llama_model::load_hparams and each model's load_arch_hparams). Knows nothing of tokenizers and of weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genner_cli.engine.gguf_header import TensorInfo

GELU, SILU = "gelu_pytorch_tanh", "silu"
GEMMA_WINDOWS = 6
"""In a Gemma 3, the last of this many layers attends to the whole text (llama.cpp: set_swa_pattern)."""
_SPECIAL = {"bos": "bos", "eos": "eos", "pad": "padding"}


@dataclass(frozen=True, slots=True)
class Described:
    """What a GGUF says of its model: metadata `pairs`, and which tensors it has; `factors` of RoPE's frequencies
    [head width / 2], None where it has none."""

    pairs: Mapping[str, Any]
    tensors: Mapping[str, TensorInfo]
    factors: NDArray[np.float32] | None = None

    @property
    def architecture(self) -> str:
        """llama.cpp's name."""
        return str(self.pairs["general.architecture"])

    def __getitem__(self, key: str) -> Any:
        """The value of a key of the architecture. Raises KeyError with its full name."""
        return self.pairs[f"{self.architecture}.{key}"]

    def get(self, key: str, default: Any) -> Any:
        """The same, with a default; a 32-bit float as the shortest decimal that it was written from."""
        value = self.pairs.get(f"{self.architecture}.{key}", default)
        return float(str(np.float32(value))) if isinstance(value, float) else value


def config_of(model: Described) -> dict[str, Any]:
    """config.json. Raises KeyError with the key or the tensor that is missing."""
    heads, width = model["attention.head_count"], model["embedding_length"]
    return {
        "vocab_size": model.tensors["token_embd.weight"].shape[1],
        "max_position_embeddings": model["context_length"],
        "num_hidden_layers": model["block_count"],
        "hidden_size": width,
        "intermediate_size": model["feed_forward_length"],
        "num_attention_heads": heads,
        "num_key_value_heads": model.get("attention.head_count_kv", heads),
        "head_dim": model.get("attention.key_length", width // heads),
        "rms_norm_eps": model.get("attention.layer_norm_rms_epsilon", 0.0),
        "tie_word_embeddings": "output.weight" not in model.tensors,
        "dtype": "float32",
        **{f"{name}_token_id": model.pairs.get(f"tokenizer.ggml.{key}_token_id") for name, key in _SPECIAL.items()},
        **FAMILIES[model.architecture](model),
    }


def _llama(model: Described) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": SILU,
        "attention_bias": "blk.0.attn_q.bias" in model.tensors,
        "mlp_bias": "blk.0.ffn_gate.bias" in model.tensors,
        "rope_parameters": _rope(model),
    }


def _qwen2(model: Described) -> dict[str, Any]:
    own = {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_act": SILU}
    return {**own, "use_sliding_window": False, "rope_parameters": _rope(model)}


def _qwen3(model: Described) -> dict[str, Any]:
    return {**_qwen2(model), "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "attention_bias": False}


def _gemma3(model: Described) -> dict[str, Any]:
    layers, width = model["block_count"], model["embedding_length"]
    head = model.get("attention.key_length", width // model["attention.head_count"])
    sliding = model.get("attention.sliding_window_pattern", GEMMA_WINDOWS)
    if isinstance(sliding, int):
        sliding = [(layer + 1) % sliding != 0 for layer in range(layers)]
    local = {"rope_type": "default", "rope_theta": model.get("rope.freq_base_swa", 10_000.0)}
    return {
        "architectures": ["Gemma3ForCausalLM"],
        "model_type": "gemma3_text",
        "hidden_activation": GELU,
        "attention_bias": False,
        "query_pre_attn_scalar": width // model["attention.head_count"] if layers == 62 else head,  # the 27B
        "sliding_window": model["attention.sliding_window"],
        "layer_types": ["sliding_attention" if each else "full_attention" for each in sliding],
        "rope_parameters": {"full_attention": _rope(model), "sliding_attention": local},
        "attn_logit_softcapping": None,
        "final_logit_softcapping": model.get("final_logit_softcapping", None),
    }


FAMILIES: Mapping[str, Callable[[Described], dict[str, Any]]] = {
    "llama": _llama,
    "qwen2": _qwen2,
    "qwen3": _qwen3,
    "gemma3": _gemma3,
}


def _rope(model: Described) -> dict[str, Any]:
    """RoPE's parameters, as transformers has them."""
    base = {"rope_theta": model.get("rope.freq_base", 10_000.0)}
    if model.factors is not None:  # Llama 3.1 and later; whether they are its factors is checked where they are read
        trained = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
        return {"rope_type": "llama3", **base, "factor": float(model.factors.max()), **trained}
    kind, factor = model.get("rope.scaling.type", "none"), model.get("rope.scaling.factor", 1.0)
    if kind == "none" or (kind == "linear" and factor == 1):
        return {"rope_type": "default", **base}
    scaled = {"rope_type": kind, **base, "factor": factor}
    if kind != "yarn":
        return scaled
    usual = 1.0 if factor <= 1 else 0.1 * math.log(factor) + 1  # llama.cpp multiplies by it (llama_context)
    trained = model.get("rope.scaling.original_context_length", model["context_length"])
    attention = usual * float(model.get("rope.scaling.attn_factor", 1.0))
    return {**scaled, "original_max_position_embeddings": trained, "attention_factor": attention}
