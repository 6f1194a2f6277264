"""A folder with a transformers Llama model and its tokenizer -> one GGUF file that llama.cpp loads.

Writes what the model says of itself (`genner.json`: pairs of strings) as metadata. Knows nothing of what
they mean, of quantization and of other architectures: what cannot be carried exactly is refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFValueType, GGUFWriter, LlamaFileType, TokenType
from safetensors import SafetensorError, safe_open
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from convert import whole
from genner_cli.errors import ModelError

OTHER_CONVERTER = "genner converts plain Llama models with GPT-2's byte-level BPE; use llama.cpp's own converter"
NUMBERS = {
    "f32": (GGMLQuantizationType.F32, LlamaFileType.ALL_F32, torch.float32),
    "f16": (GGMLQuantizationType.F16, LlamaFileType.MOSTLY_F16, torch.float16),
    "bf16": (GGMLQuantizationType.BF16, LlamaFileType.MOSTLY_BF16, torch.bfloat16),
}
# llama.cpp's name for each pre-tokenizer of tokenizer.json that it has the same of
PRE_TOKENIZERS = {"gpt-2": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}}
BPE_OPTIONS = ("byte_fallback", "ignore_merges", "dropout", "continuing_subword_prefix", "end_of_word_suffix")
ADDED_OPTIONS = ("lstrip", "rstrip", "single_word")
RESERVED = {"general.architecture", "general.file_type", "general.alignment", "general.quantization_version"}


@dataclass(frozen=True, slots=True)
class Architecture:
    """The sizes of a Llama model; `context` in tokens."""

    vocabulary: int
    context: int
    layers: int
    width: int
    feed_forward: int
    heads: int
    kv_heads: int
    head_width: int
    norm_epsilon: float
    rope_base: float
    tied: bool


@dataclass(frozen=True, slots=True)
class Tensor:
    """Where a tensor comes from and goes to; `rotated_heads` is the number of heads that RoPE turns in it."""

    source: str
    name: str
    shape: tuple[int, ...]
    rotated_heads: int = 0


def hf_to_gguf(
    model_dir: Path, out: Path, *, dtype: Literal["f32", "f16", "bf16"] = "f32", metadata: Mapping[str, str] = {}
) -> Path:
    """Writes `out` from config.json, *.safetensors, tokenizer.json and genner.json of `model_dir`.

    Matrices are written in `dtype`, norms in F32. `metadata` adds to genner.json and goes before it; its keys begin
    with `genner.` or `general.`. Raises ModelError where the model is broken or no plain Llama with byte-level BPE.
    Source: the GGUF specification; names and orders as llama.cpp's LLM_ARCH_LLAMA reads them.
    """
    architecture = _architecture(_read_object(model_dir / "config.json"))
    tensors, files = list(_tensors(architecture)), _files(model_dir)
    _check(tensors, files)
    pairs = _pairs(model_dir / "genner.json", metadata)
    with whole(out) as partial, closing(GGUFWriter(partial, "llama")) as writer:
        writer.add_file_type(NUMBERS[dtype][1])
        _add_architecture(writer, architecture)
        _add_tokenizer(writer, _load_tokenizer(model_dir), architecture.vocabulary)
        for key, value in pairs.items():
            writer.add_key_value(key, value, GGUFValueType.STRING)  # add_string would drop empty ones
        _write_tensors(writer, tensors, files, dtype)
    return out


def _read_object(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f"{path} holds no JSON object ({error}); give a folder written by save_pretrained") from error


def _pairs(path: Path, metadata: Mapping[str, str]) -> dict[str, str]:
    pairs = {**(_read_object(path) if path.exists() else {}), **metadata}
    for key, value in pairs.items():
        if key in RESERVED or not key.startswith(("genner.", "general.")) or not isinstance(value, str):
            raise ModelError(f"metadata {key!r}: {value!r} is refused; give strings under `genner.` or `general.`")
    return pairs


def _refuse(file: str, unsupported: Mapping[str, object]) -> None:
    if found := [what for what, present in unsupported.items() if present]:
        raise ModelError(f"{file}: not supported: {', '.join(found)}; {OTHER_CONVERTER}")


def _architecture(config: Mapping[str, Any]) -> Architecture:
    rope = {**(config.get("rope_scaling") or {}), **(config.get("rope_parameters") or {})}
    _refuse_unsupported(config, rope)
    try:
        return Architecture(
            vocabulary=config["vocab_size"],
            context=config["max_position_embeddings"],
            layers=config["num_hidden_layers"],
            width=config["hidden_size"],
            feed_forward=config["intermediate_size"],
            heads=config["num_attention_heads"],
            kv_heads=config.get("num_key_value_heads") or config["num_attention_heads"],
            head_width=config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"],
            norm_epsilon=config["rms_norm_eps"],
            rope_base=rope.get("rope_theta") or config.get("rope_theta") or 10_000.0,
            tied=config.get("tie_word_embeddings", False),
        )
    except (KeyError, TypeError) as error:
        raise ModelError(f"config.json is broken ({error!r}); give a folder written by save_pretrained") from error


def _refuse_unsupported(config: Mapping[str, Any], rope: Mapping[str, Any]) -> None:
    rope_type = rope.get("rope_type") or rope.get("type") or "default"
    part = rope.get("partial_rotary_factor") or config.get("partial_rotary_factor") or 1.0
    unsupported = {
        f"model_type {config.get('model_type')!r}": config.get("model_type") != "llama",
        f"hidden_act {config.get('hidden_act')!r}": config.get("hidden_act", "silu") != "silu",
        f"rope scaling {rope_type!r}": rope_type != "default",
        f"partial_rotary_factor {part}": part != 1,
        "attention_bias": config.get("attention_bias"),
        "mlp_bias": config.get("mlp_bias"),
        "quantization_config": config.get("quantization_config"),
    }
    _refuse("config.json", unsupported)


def _add_architecture(writer: GGUFWriter, a: Architecture) -> None:
    writer.add_vocab_size(a.vocabulary)
    writer.add_context_length(a.context)
    writer.add_block_count(a.layers)
    writer.add_embedding_length(a.width)
    writer.add_feed_forward_length(a.feed_forward)
    writer.add_head_count(a.heads)
    writer.add_head_count_kv(a.kv_heads)
    writer.add_key_length(a.head_width)
    writer.add_value_length(a.head_width)
    writer.add_rope_dimension_count(a.head_width)
    writer.add_rope_freq_base(a.rope_base)
    writer.add_layer_norm_rms_eps(a.norm_epsilon)


def _tensors(a: Architecture) -> Iterator[Tensor]:
    """All tensors of the file, in order; tied embeddings stand in it once."""
    yield Tensor("model.embed_tokens.weight", "token_embd.weight", (a.vocabulary, a.width))
    yield Tensor("model.norm.weight", "output_norm.weight", (a.width,))
    if not a.tied:
        yield Tensor("lm_head.weight", "output.weight", (a.vocabulary, a.width))
    queries, keys = a.heads * a.head_width, a.kv_heads * a.head_width
    for layer in range(a.layers):
        here, there = f"model.layers.{layer}", f"blk.{layer}"
        yield Tensor(f"{here}.input_layernorm.weight", f"{there}.attn_norm.weight", (a.width,))
        yield Tensor(f"{here}.self_attn.q_proj.weight", f"{there}.attn_q.weight", (queries, a.width), a.heads)
        yield Tensor(f"{here}.self_attn.k_proj.weight", f"{there}.attn_k.weight", (keys, a.width), a.kv_heads)
        yield Tensor(f"{here}.self_attn.v_proj.weight", f"{there}.attn_v.weight", (keys, a.width))
        yield Tensor(f"{here}.self_attn.o_proj.weight", f"{there}.attn_output.weight", (a.width, queries))
        yield Tensor(f"{here}.post_attention_layernorm.weight", f"{there}.ffn_norm.weight", (a.width,))
        yield Tensor(f"{here}.mlp.gate_proj.weight", f"{there}.ffn_gate.weight", (a.feed_forward, a.width))
        yield Tensor(f"{here}.mlp.up_proj.weight", f"{there}.ffn_up.weight", (a.feed_forward, a.width))
        yield Tensor(f"{here}.mlp.down_proj.weight", f"{there}.ffn_down.weight", (a.width, a.feed_forward))


def _open(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} cannot be read ({error}); save the model there with save_pretrained") from error


def _files(model_dir: Path) -> dict[str, Path]:
    """The file that each tensor stands in."""
    single, index = model_dir / "model.safetensors", model_dir / "model.safetensors.index.json"
    shards = {single.name}
    if index.exists() and not single.exists():
        shards = set(_read_object(index).get("weight_map", {}).values())
    files: dict[str, Path] = {}
    for path in (model_dir / shard for shard in shards):
        with _open(path) as file:
            files |= dict.fromkeys(file.keys(), path)
    return files


def _check(tensors: Sequence[Tensor], files: Mapping[str, Path]) -> None:
    """Raises ModelError for a tensor that is missing, left over, or of the wrong shape or type."""
    for tensor in tensors:
        if tensor.source not in files:
            raise ModelError(f"the model lacks the tensor {tensor.source}; save the whole model again")
        with _open(files[tensor.source]) as file:
            stored = file.get_slice(tensor.source)
            dtype, shape = stored.get_dtype(), tuple(stored.get_shape())
        if shape != tensor.shape or dtype not in ("F32", "F16", "BF16"):
            raise ModelError(f"{tensor.source} is {dtype} {shape}, not F32, F16 or BF16 {tensor.shape}; save it again")
    for name in sorted(files.keys() - {tensor.source for tensor in tensors} - {"lm_head.weight"}):
        if not name.endswith("rotary_emb.inv_freq"):  # old files hold what is computed from rope_theta
            raise ModelError(f"the tensor {name} is no part of a plain Llama; {OTHER_CONVERTER}")


def interleave(rows: torch.Tensor, heads: int) -> torch.Tensor:
    """Reorders the rows [heads * head_width, width] of a query or key matrix for llama.cpp's RoPE.

    transformers turns row i of a head together with row i + head_width / 2 (rotate_half in modeling_llama),
    llama.cpp turns neighbours 2i and 2i + 1 (LLAMA_ROPE_TYPE_NORM).
    """
    return rows.reshape(heads, 2, -1, rows.shape[1]).transpose(1, 2).reshape(rows.shape)


def _write_tensors(writer: GGUFWriter, tensors: Sequence[Tensor], files: Mapping[str, Path], dtype: str) -> None:
    numbers = [NUMBERS["f32" if len(tensor.shape) == 1 else dtype] for tensor in tensors]
    for tensor, (kind, _, number) in zip(tensors, numbers, strict=True):
        size = math.prod(tensor.shape) * number.itemsize
        writer.add_tensor_info(tensor.name, tensor.shape, np.dtype(np.float32), size, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor, (_, _, number) in zip(tensors, numbers, strict=True):
        with _open(files[tensor.source]) as file:
            writer.write_tensor_data(_bytes(file.get_tensor(tensor.source).to(number), tensor))


def _bytes(value: torch.Tensor, tensor: Tensor) -> np.ndarray[Any, Any]:
    if not value.isfinite().all():
        raise ModelError(f"{tensor.source} is not finite everywhere in {value.dtype}; try f32, or train again")
    if tensor.rotated_heads:
        value = interleave(value, tensor.rotated_heads)
    return value.contiguous().view(torch.uint8).numpy()


def _load_tokenizer(model_dir: Path) -> PreTrainedTokenizerFast:
    _read_object(model_dir / "tokenizer.json")
    try:
        tokenizer = AutoTokenizer.from_pretrained(model_dir, local_files_only=True)
    except Exception as error:  # the tokenizers package raises nothing narrower
        raise ModelError(f"the tokenizer in {model_dir} cannot be read ({error}); save it there again") from error
    if tokenizer.eos_token_id is None:
        raise ModelError(f"the tokenizer in {model_dir} has no eos_token; set the token that ends a completion")
    return tokenizer


def _add_tokenizer(writer: GGUFWriter, tokenizer: PreTrainedTokenizerFast, vocabulary: int) -> None:
    """The tokenizer as transformers runs it, which is what training saw."""
    spec = json.loads(tokenizer.backend_tokenizer.to_str())
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(_pre_tokenizer(spec))
    texts, types = _token_table(spec, vocabulary)
    writer.add_token_list(texts)
    writer.add_token_types(types)
    writer.add_token_merges([" ".join(pair) for pair in spec["model"]["merges"]])
    bos, eos, pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
    writer.add_add_bos_token(bos is not None and tokenizer.encode("")[:1] == [bos])
    for add, id in ((writer.add_bos_token_id, bos), (writer.add_eos_token_id, eos), (writer.add_pad_token_id, pad)):
        if id is not None:
            add(id)
    template = tokenizer.chat_template
    if template := template.get("default") if isinstance(template, dict) else template:
        writer.add_chat_template(template)


def _pre_tokenizer(spec: Mapping[str, Any]) -> str:
    """llama.cpp's name for it; everything else in which the two would tokenize differently is refused."""
    model, added = spec["model"], spec["added_tokens"]
    found = {key: value for key, value in (spec["pre_tokenizer"] or {}).items() if key != "trim_offsets"}
    names = [name for name, known in PRE_TOKENIZERS.items() if known == found]
    unsupported = {
        f"model type {model['type']}": model["type"] != "BPE",
        f"pre_tokenizer {json.dumps(found)}": not names,
        f"normalizer {json.dumps(spec['normalizer'])}": spec["normalizer"],
        **{f"model option {option}": model.get(option) for option in BPE_OPTIONS},
        **{f"added token option {option}": any(token[option] for token in added) for option in ADDED_OPTIONS},
    }
    _refuse("tokenizer.json", unsupported)
    return names[0]


def _token_table(spec: Mapping[str, Any], vocabulary: int) -> tuple[list[str], list[TokenType]]:
    """Text and type of each id below `vocabulary`; ids without a token are UNUSED."""
    table = {id: (text, TokenType.NORMAL) for text, id in spec["model"]["vocab"].items()}
    for token in spec["added_tokens"]:
        kind = TokenType.CONTROL if token["special"] else TokenType.USER_DEFINED
        table[token["id"]] = (token["content"], kind)
    if max(table) >= vocabulary:
        raise ModelError(f"token id {max(table)} is beyond the model's {vocabulary} rows; resize its embeddings")
    rows = [table.get(id, (f"<|unused {id}|>", TokenType.UNUSED)) for id in range(vocabulary)]
    return [text for text, _ in rows], [kind for _, kind in rows]
