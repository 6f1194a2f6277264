"""The config of a transformers model -> the same model in llama.cpp's words: metadata, and where each tensor goes.

One function for each architecture, listed in FAMILIES. What llama.cpp would not compute alike is refused. Knows
nothing of files and tokenizers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from convert.rope import Factors, Rope, Rotation
from convert.tensors import GEMMA_NORMS, HEAD_NORMS, LLAMA_NORMS, Sizes, Tensor, attention, feed_forward, norms
from genner_cli.errors import ModelError

Config = Mapping[str, Any]
REMEDY = "train on another base model, or convert this one with llama.cpp's convert_hf_to_gguf.py"
LLAMA_SCALINGS = ("linear", "llama3", "yarn")
SILU, GELU = "silu", "gelu_pytorch_tanh"


@dataclass(frozen=True, slots=True)
class Architecture:
    """A model in llama.cpp's words: `name` of the architecture, metadata `pairs` without the tokenizer's, `tensors`
    made of weights, `factors` of RoPE that are tensors too. `tied` says that the output matrix is the embeddings."""

    name: str
    vocabulary: int
    tied: bool
    pairs: Mapping[str, Any]
    tensors: tuple[Tensor, ...]
    factors: Factors = field(default_factory=dict)


def architecture(config: Config) -> Architecture:
    """The architecture of a config as transformers reads it (PreTrainedConfig.to_dict).

    Raises ModelError that names whatever in the config llama.cpp would not compute alike, and for a broken config.
    """
    kind = str(config.get("model_type"))
    if kind not in FAMILIES:
        raise ModelError(f"model_type {kind!r} is not supported, only {', '.join(FAMILIES)}; {REMEDY}")
    if config.get("quantization_config"):
        raise ModelError(
            "config.json: quantized weights (quantization_config) are not supported; give F32, F16 or BF16"
        )
    try:
        return FAMILIES[kind](config)
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise ModelError(f"config.json is broken ({error!r}); give a folder written by save_pretrained") from error


def _llama(config: Config) -> Architecture:
    """Llama 2 and 3, SmolLM2 (llama.cpp: models/llama.cpp)."""
    sizes = Sizes.of(config)
    _require(config, hidden_act=SILU)
    return _model("llama", config, sizes, _llama_block(config, sizes), _rope(config, sizes, *LLAMA_SCALINGS))


def _mistral(config: Config) -> Architecture:
    """Mistral: a Llama with a sliding window, which llama.cpp has not."""
    return _within(config["sliding_window"], _llama(config))


def _qwen2(config: Config) -> Architecture:
    """Qwen 2 and 2.5: biases on queries, keys and values (llama.cpp: models/qwen2.cpp)."""
    sizes = Sizes.of(config)
    _require(config, hidden_act=SILU)
    _refuse({f"head_dim {sizes.head_width}": sizes.head_width * sizes.heads != sizes.width})
    block = [*attention(sizes, biases="qkv"), *feed_forward(sizes), *norms(sizes, LLAMA_NORMS)]
    return _within(_window(config), _model("qwen2", config, sizes, block, _rope(config, sizes, "linear", "yarn")))


def _qwen3(config: Config) -> Architecture:
    """Qwen 3: norms on the heads of queries and keys (llama.cpp: models/qwen3.cpp)."""
    sizes = Sizes.of(config)
    _require(config, hidden_act=SILU, attention_bias=False)
    all_norms = [*norms(sizes, LLAMA_NORMS), *norms(sizes, HEAD_NORMS, width=sizes.head_width)]
    block = [*attention(sizes), *feed_forward(sizes), *all_norms]
    return _within(_window(config), _model("qwen3", config, sizes, block, _rope(config, sizes, "linear", "yarn")))


def _gemma2(config: Config) -> Architecture:
    """Gemma 2: soft caps, sliding windows, norms after each part (llama.cpp: models/gemma2.cpp)."""
    sizes = Sizes.of(config)
    _require(config, tie_word_embeddings=True, **_gemma_fields(sizes, layers_of_27b=46))
    caps = ("attn_logit_softcapping", "final_logit_softcapping")
    _refuse({f"{cap} {config[cap]}": not config[cap] for cap in caps})
    pairs = {**{cap: float(config[cap]) for cap in caps}, **_windows(config)}
    block = [*attention(sizes), *feed_forward(sizes), *norms(sizes, GEMMA_NORMS, offset=1.0)]
    return _model("gemma2", config, sizes, block, _rope(config, sizes), pairs, offset=1.0)


def _gemma3(config: Config) -> Architecture:
    """Gemma 3: windows with a RoPE of their own, norms on heads too (llama.cpp: models/gemma3.cpp)."""
    sizes = Sizes.of(config)
    _require(config, attn_logit_softcapping=None, **_gemma_fields(sizes, layers_of_27b=62))
    ropes = config["rope_parameters"]
    rope = _rope({"rope_parameters": ropes["full_attention"]}, sizes, "linear")
    local = _rope({"rope_parameters": ropes["sliding_attention"]}, sizes)
    pairs = {"rope.freq_base_swa": local.pairs["rope.freq_base"], **_windows(config)}
    if config.get("final_logit_softcapping"):
        pairs["final_logit_softcapping"] = float(config["final_logit_softcapping"])
    head_norms = norms(sizes, HEAD_NORMS, width=sizes.head_width, offset=1.0)
    block = [*attention(sizes), *feed_forward(sizes), *norms(sizes, GEMMA_NORMS, offset=1.0), *head_norms]
    return _model("gemma3", config, sizes, block, rope, pairs, offset=1.0)


def _gemma3_with_images(config: Config) -> Architecture:
    """The language model of a Gemma 3 for text and images."""
    return _gemma3({**config["text_config"], "tie_word_embeddings": config["tie_word_embeddings"]})


def _granite(config: Config) -> Architecture:
    """Granite 3: a Llama with multipliers (llama.cpp: models/granite.cpp)."""
    sizes = Sizes.of(config)
    _require(config, hidden_act=SILU)
    rope = _rope(config, sizes, *LLAMA_SCALINGS)
    return _model("granite", config, sizes, _llama_block(config, sizes), rope, _multipliers(config))


def _granite4(config: Config) -> Architecture:
    """Granite 4 without Mamba layers and experts: a Granite whose gates stand in one matrix, with or without RoPE."""
    sizes = Sizes.of(config, feed_forward="shared_intermediate_size")
    _require(config, hidden_act=SILU, num_local_experts=0)
    if recurrent := {"linear_attention", "mamba"}.intersection(config["layer_types"]):
        raise ModelError(f"config.json: layers of type {recurrent.pop()!r} are not supported; {REMEDY}")
    inner = sizes.feed_forward
    fused = Tensor("shared_mlp.input_linear.weight", "ffn_gate.weight", (2 * inner, sizes.width), rows=(0, inner))
    block = [
        *attention(sizes, neighbours=True, biases=_biases(config)),
        fused,
        replace(fused, name="ffn_up.weight", rows=(inner, 2 * inner)),
        Tensor("shared_mlp.output_linear.weight", "ffn_down.weight", (sizes.width, inner)),
        *norms(sizes, LLAMA_NORMS),
    ]
    rotated = config["position_embedding_type"] == "rope"
    rope = _rope(config, sizes, *LLAMA_SCALINGS) if rotated else Rope({"rope.scaling.finetuned": False})
    return _model("granite", config, sizes, block, rope, _multipliers(config))


def _phi3(config: Config) -> Architecture:
    """Phi 3 and 4: fused matrices, RoPE on part of a head (llama.cpp: models/phi3.cpp, without sliding window)."""
    sizes = Sizes.of(config)
    _require(config, hidden_act=SILU)
    _refuse({f"head_dim {sizes.head_width}": sizes.head_width * sizes.heads != sizes.width})
    rows = (sizes.heads + 2 * sizes.kv_heads) * sizes.head_width
    block = [
        Tensor("self_attn.qkv_proj.weight", "attn_qkv.weight", (rows, sizes.width)),
        Tensor("self_attn.o_proj.weight", "attn_output.weight", (sizes.width, sizes.width)),
        Tensor("mlp.gate_up_proj.weight", "ffn_up.weight", (2 * sizes.feed_forward, sizes.width)),
        Tensor("mlp.down_proj.weight", "ffn_down.weight", (sizes.width, sizes.feed_forward)),
        *norms(sizes, LLAMA_NORMS),
    ]
    rope = _rope(config, sizes, "longrope", partial=True)
    return _within(config["sliding_window"], _model("phi3", config, sizes, block, rope))


def _smollm3(config: Config) -> Architecture:
    """SmolLM 3: every fourth layer without RoPE (llama.cpp: models/smollm3.cpp)."""
    sizes = Sizes.of(config)
    layers = [int((layer + 1) % 4 != 0) for layer in range(sizes.layers)]
    _require(config, hidden_act=SILU, attention_bias=False, mlp_bias=False, no_rope_layers=layers)
    block = [*attention(sizes, neighbours=True), *feed_forward(sizes), *norms(sizes, LLAMA_NORMS)]
    return _within(_window(config), _model("smollm3", config, sizes, block, _rope(config, sizes, "linear", "yarn")))


# config.json's model_type -> the function that reads it
FAMILIES: Mapping[str, Callable[[Config], Architecture]] = {
    "llama": _llama,
    "mistral": _mistral,
    "qwen2": _qwen2,
    "qwen3": _qwen3,
    "gemma2": _gemma2,
    "gemma3_text": _gemma3,
    "gemma3": _gemma3_with_images,
    "granite": _granite,
    "granitemoehybrid": _granite4,
    "phi3": _phi3,
    "smollm3": _smollm3,
}


def _model(
    name: str,
    config: Config,
    sizes: Sizes,
    block: Iterable[Tensor],
    rope: Rope,
    pairs: Mapping[str, Any] = {},
    offset: float = 0.0,
) -> Architecture:
    """`block` holds the tensors of one layer, named as they are within it; `offset` is the last norm's."""
    tied, tensors = bool(config["tie_word_embeddings"]), list(block)
    matrix = (sizes.vocabulary, sizes.width)
    ends = [
        Tensor("model.embed_tokens.weight", "token_embd.weight", matrix),
        Tensor("model.norm.weight", "output_norm.weight", (sizes.width,), offset=offset),
        *([] if tied else [Tensor("lm_head.weight", "output.weight", matrix)]),
    ]
    layers = [
        replace(tensor, source=f"model.layers.{layer}.{tensor.source}", name=f"blk.{layer}.{tensor.name}")
        for layer in range(sizes.layers)
        for tensor in tensors
    ]
    written = {
        "vocab_size": sizes.vocabulary,
        "context_length": int(min(sizes.context, rope.limit)),
        "block_count": sizes.layers,
        "embedding_length": sizes.width,
        "feed_forward_length": sizes.feed_forward,
        "attention.head_count": sizes.heads,
        "attention.head_count_kv": sizes.kv_heads,
        "attention.key_length": sizes.head_width,
        "attention.value_length": sizes.head_width,
        "attention.layer_norm_rms_epsilon": float(config["rms_norm_eps"]),
        **rope.pairs,
        **pairs,
    }
    named = {f"{name}.{key}": value for key, value in written.items()}
    return Architecture(name, sizes.vocabulary, tied, named, (*ends, *layers), rope.factors)


def _llama_block(config: Config, sizes: Sizes) -> list[Tensor]:
    gated = feed_forward(sizes, biased=config.get("mlp_bias"))
    return [*attention(sizes, neighbours=True, biases=_biases(config)), *gated, *norms(sizes, LLAMA_NORMS)]


def _biases(config: Config) -> str:
    return "qkvo" if config.get("attention_bias") else ""


def _rope(config: Config, sizes: Sizes, *kinds: str, partial: bool = False) -> Rope:
    rotation = Rotation(config["rope_parameters"], sizes.head_width, sizes.context)
    _refuse(rotation.unsupported(kinds, partial=partial))
    return rotation.carried()


def _multipliers(config: Config) -> dict[str, float]:
    """Granite's; llama.cpp reads 0 as 'none'."""
    fields = {
        "attention.scale": "attention_multiplier",
        "embedding_scale": "embedding_multiplier",
        "residual_scale": "residual_multiplier",
        "logit_scale": "logits_scaling",
    }
    _refuse({f"{field} 0": not config[field] for field in fields.values()})
    return {key: float(config[field]) for key, field in fields.items()}


def _gemma_fields(sizes: Sizes, *, layers_of_27b: int) -> dict[str, Any]:
    """What a Gemma must have; llama.cpp tells the 27B, whose queries are scaled otherwise, by its layers."""
    scalar = sizes.width // sizes.heads if sizes.layers == layers_of_27b else sizes.head_width
    return {
        "hidden_activation": GELU,
        "attention_bias": False,
        "use_bidirectional_attention": False,
        "query_pre_attn_scalar": scalar,
    }


def _windows(config: Config) -> dict[str, Any]:
    """Which layers see a sliding window only, and its length in tokens."""
    sliding = [kind == "sliding_attention" for kind in config["layer_types"]]
    return {
        "attention.sliding_window": int(config["sliding_window"]),
        "attention.sliding_window_pattern": sliding,
    }


def _window(config: Config) -> int | None:
    window: int | None = config["sliding_window"]
    return window if "sliding_attention" in config["layer_types"] else None


def _within(window: int | None, model: Architecture) -> Architecture:
    """The model for texts that fit into its sliding window, where llama.cpp has none: up to there they are the same."""
    key = f"{model.name}.context_length"
    return replace(model, pairs={**model.pairs, key: min(model.pairs[key], window or math.inf)})


def _require(config: Config, **fields: Any) -> None:
    """Refuses fields with other values than these; what is not set, None, False and 0 are the same."""
    _refuse(
        {
            f"{field} {config.get(field)!r}": field in config and (config[field] or None) != (value or None)
            for field, value in fields.items()
        }
    )


def _refuse(unsupported: Mapping[str, object]) -> None:
    if found := [what for what, present in unsupported.items() if present]:
        raise ModelError(f"config.json: not supported: {', '.join(found)}; {REMEDY}")
