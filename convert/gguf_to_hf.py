"""A GGUF that genner made from a plain Llama -> the folder that transformers reads: weights in F32, tokenizer, words.

So a model can be trained on that is at hand as a GGUF only, such as the one that comes with genner. What was lost
in quantization stays lost. Knows nothing of what the `genner.*` pairs mean; what it cannot carry exactly is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import TokenType
from tokenizers import Tokenizer

from convert.architectures import Architecture, architecture
from convert.gguf_numbers import numbers_of
from convert.safetensors_writer import Entry, write_safetensors
from convert.tensors import Tensor
from genner_cli import hub
from genner_cli.engine.adapter import WEIGHTS_HASH
from genner_cli.engine.gguf_header import TensorInfo, read_header
from genner_cli.errors import ModelError
from genner_cli.files.whole import whole_folder
from genner_cli.provenance import MODEL_METADATA_FILE

REMEDY = "give the transformers folder that the GGUF was made from"
PRE_TOKENIZER = "gpt-2"
_SPECIAL = {"bos": "bos", "eos": "eos", "pad": "padding"}
_TOKENIZER = frozenset(
    {f"tokenizer.ggml.{key}" for key in ("model", "pre", "tokens", "token_type", "merges", "add_bos_token")}
    | {f"tokenizer.ggml.{key}_token_id" for key in _SPECIAL.values()}
    | {"tokenizer.chat_template"}
)


def gguf_to_hf(path: Path, folder: Path) -> Path:
    """Writes config.json, model.safetensors (F32), tokenizer.json, tokenizer_config.json and genner.json.

    The same GGUF gives the same bytes. Raises ModelError for a GGUF that is broken or no plain Llama with GPT-2's
    byte-level BPE as `hf_to_gguf` writes it, and UsageError where `folder` is not empty.
    """
    header = read_header(path, arrays=True)
    stored, pairs = header.tensors, header.metadata
    try:
        _refuse_unknown(path, pairs)
        config = _config(pairs, tied="output.weight" not in stored)
        model = architecture(config)
        _refuse_others(path, model, pairs, stored)
        tokenizer, tokenizer_config = _tokenizer(pairs), _tokenizer_config(pairs)
    except (KeyError, IndexError) as error:
        raise ModelError(f"{path} lacks {error}; {REMEDY}") from error
    tensors = {tensor.source: tensor for tensor in model.tensors}
    entries = [Entry(tensor.source, "F32", tensor.shape) for tensor in model.tensors]
    words = {key: pairs[key] for key in pairs if key.startswith("genner.") and key != WEIGHTS_HASH}  # others' weights
    with whole_folder(folder) as partial:
        write_safetensors(partial / hub.WEIGHTS, entries, lambda entry: _numbers(path, stored, tensors[entry.name]))
        _write(partial / "config.json", config)
        _write(partial / "tokenizer.json", tokenizer)
        _write(partial / "tokenizer_config.json", tokenizer_config)
        _write(partial / MODEL_METADATA_FILE, words)
    return folder


def _write(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def _refuse_unknown(path: Path, pairs: Mapping[str, Any]) -> None:
    """Raises ModelError unless this is a GGUF as genner writes it for a plain Llama."""
    architecture, kind, pre = (
        pairs.get(key) for key in ("general.architecture", "tokenizer.ggml.model", "tokenizer.ggml.pre")
    )
    if (architecture, kind, pre) != ("llama", "gpt2", PRE_TOKENIZER):
        raise ModelError(
            f"{path}: a model of the architecture {architecture!r} with the tokenizer {kind!r}, {pre!r} cannot be"
            f" turned back into a transformers folder, only 'llama' with 'gpt2', {PRE_TOKENIZER!r}; {REMEDY}"
        )
    if unknown := sorted(key for key in pairs if key.startswith("tokenizer.") and key not in _TOKENIZER):
        raise ModelError(f"{path}: {unknown[0]} has no place in tokenizer.json; {REMEDY}")


def _config(pairs: Mapping[str, Any], *, tied: bool) -> dict[str, Any]:
    """config.json of transformers' Llama."""
    special = {name: pairs.get(f"tokenizer.ggml.{key}_token_id") for name, key in _SPECIAL.items()}
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": pairs["llama.vocab_size"],
        "max_position_embeddings": pairs["llama.context_length"],
        "num_hidden_layers": pairs["llama.block_count"],
        "hidden_size": pairs["llama.embedding_length"],
        "intermediate_size": pairs["llama.feed_forward_length"],
        "num_attention_heads": pairs["llama.attention.head_count"],
        "num_key_value_heads": pairs["llama.attention.head_count_kv"],
        "head_dim": pairs["llama.attention.key_length"],
        "rms_norm_eps": _shortest(pairs["llama.attention.layer_norm_rms_epsilon"]),
        "rope_parameters": {"rope_type": "default", "rope_theta": _shortest(pairs["llama.rope.freq_base"])},
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": tied,
        "dtype": "float32",
        **{f"{name}_token_id": id for name, id in special.items()},
    }


def _shortest(number: float) -> float:
    """The decimal that a 32-bit number was written from: 1e-06, not 9.999999974752427e-07."""
    return float(str(np.float32(number)))


def _refuse_others(path: Path, model: Architecture, pairs: Mapping[str, Any], stored: Mapping[str, TensorInfo]) -> None:
    """Raises ModelError where `hf_to_gguf` would not write these pairs and tensors for this model."""
    written = {key: value for key, value in pairs.items() if key.startswith(f"{model.name}.")}
    for key in sorted(written.keys() | model.pairs.keys()):
        here, there = written.get(key), model.pairs.get(key)
        same = np.float32(here) == np.float32(there) if isinstance(there, float) else here == there
        if not same:
            raise ModelError(f"{path}: {key} is {here}, which is no plain Llama's ({there}); {REMEDY}")
    for tensor in model.tensors:
        shape = tuple(reversed(stored[tensor.name].shape))
        if shape != tensor.shape:
            raise ModelError(f"{path}: {tensor.name} has the shape {shape}, not {tensor.shape}; {REMEDY}")
    if others := sorted(stored.keys() - {tensor.name for tensor in model.tensors}):
        raise ModelError(f"{path}: {others[0]} is no part of a plain Llama; {REMEDY}")


def _numbers(path: Path, stored: Mapping[str, TensorInfo], tensor: Tensor) -> torch.Tensor:
    found = stored[tensor.name]
    values = numbers_of(path, found)
    if values is None:
        raise ModelError(f"{path}: {tensor.name}: {found.kind_name} cannot be read back; {REMEDY}")
    numbers = torch.tensor(values.reshape(tensor.shape))  # a copy: what is mapped from the file may not be written to
    return separate(numbers, tensor.heads) if tensor.heads else numbers


def separate(rows: torch.Tensor, heads: int) -> torch.Tensor:
    """The reverse of `tensors.interleave`: the rows of a query or key matrix as transformers keeps them."""
    return rows.reshape(heads, -1, 2, rows.shape[1]).transpose(1, 2).reshape(rows.shape)


def _tokenizer(pairs: Mapping[str, Any]) -> dict[str, Any]:
    """tokenizer.json."""
    types = [TokenType(kind) for kind in pairs["tokenizer.ggml.token_type"]]
    table = list(zip(pairs["tokenizer.ggml.tokens"], types, strict=True))
    if strangers := {kind.name for _, kind in table} - {"NORMAL", "CONTROL", "USER_DEFINED", "UNUSED"}:
        raise ModelError(f"tokens of the type {', '.join(sorted(strangers))} have no place in tokenizer.json; {REMEDY}")
    spec = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            _added(id, text, special=kind is TokenType.CONTROL)
            for id, (text, kind) in enumerate(table)
            if kind in (TokenType.CONTROL, TokenType.USER_DEFINED)
        ],
        "normalizer": None,
        "pre_tokenizer": _byte_level(),
        "post_processor": _post_processor(pairs),
        "decoder": _byte_level(),
        "model": {
            "type": "BPE",
            "vocab": {text: id for id, (text, kind) in enumerate(table) if kind is not TokenType.UNUSED},
            "merges": [merge.split(" ") for merge in pairs["tokenizer.ggml.merges"]],
        },
    }
    try:
        Tokenizer.from_str(json.dumps(spec))
    except Exception as error:  # the tokenizers package raises nothing narrower
        raise ModelError(f"the GGUF's tokenizer is broken ({error}); {REMEDY}") from error
    return spec


def _byte_level() -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


def _added(id: int, text: str, *, special: bool) -> dict[str, Any]:
    options = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"id": id, "content": text, **options, "special": special}


def _post_processor(pairs: Mapping[str, Any]) -> dict[str, Any] | None:
    """Puts BOS before every text, if the model wants it."""
    if not pairs["tokenizer.ggml.add_bos_token"]:
        return None
    id = pairs["tokenizer.ggml.bos_token_id"]
    text = pairs["tokenizer.ggml.tokens"][id]
    begin = {"SpecialToken": {"id": text, "type_id": 0}}
    first, second = ({"Sequence": {"id": name, "type_id": number}} for number, name in enumerate("AB"))
    return {
        "type": "TemplateProcessing",
        "single": [begin, first],
        "pair": [begin, first, second],
        "special_tokens": {text: {"id": text, "ids": [id], "tokens": [text]}},
    }


def _tokenizer_config(pairs: Mapping[str, Any]) -> dict[str, Any]:
    """tokenizer_config.json: the class, the special tokens' texts and the chat template."""
    special = {
        f"{name}_token": pairs["tokenizer.ggml.tokens"][pairs[f"tokenizer.ggml.{key}_token_id"]]
        for name, key in _SPECIAL.items()
        if f"tokenizer.ggml.{key}_token_id" in pairs
    }
    template = {"chat_template": pairs["tokenizer.chat_template"]} if "tokenizer.chat_template" in pairs else {}
    return {"tokenizer_class": "PreTrainedTokenizerFast", **special, **template}
