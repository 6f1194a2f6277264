"""A GGUF, of whatever quantization and whoever made it -> the folder that transformers reads: weights in F32,
tokenizer, chat template, what it says of itself.

So a model can be trained on that is at hand as a GGUF only, such as the one that comes with genner. Numbers are those
that llama.cpp reads, to the bit; what was lost in quantization stays lost. What cannot be carried exactly is refused.
Knows nothing of what the `genner.*` pairs mean.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import CONFIG_MAPPING

from convert.architectures import Architecture, architecture
from convert.gguf_config import FAMILIES, Described, config_of
from convert.gguf_numbers import numbers_of
from convert.gguf_tokenizer import KINDS, tokenizer_config, tokenizer_json
from convert.safetensors_writer import Entry, write_safetensors
from convert.tensors import Tensor
from genner_cli.engine.adapter import WEIGHTS_HASH
from genner_cli.engine.gguf_header import Header, TensorInfo, read_header
from genner_cli.errors import ModelError
from genner_cli.files.hashing import hash_file
from genner_cli.files.whole import whole_folder
from genner_cli.hub.references import WEIGHTS
from genner_cli.provenance import GGUF_SOURCE, MODEL_METADATA_FILE

REMEDY = "give the transformers folder that the GGUF was made from"
FACTORS = "rope_freqs.weight"
_HARMLESS = ("vocab_size", "tensor_data_layout", "rope.scaling.finetuned")


def gguf_to_hf(path: Path, folder: Path) -> Path:
    """Writes config.json, model.safetensors (F32), tokenizer.json, tokenizer_config.json, the file's name and hash
    (`GGUF_SOURCE`) and, for a model that genner trained, genner.json.

    The same GGUF gives the same bytes. Raises ModelError for a GGUF that is broken, or of an architecture
    (`gguf_config.FAMILIES`) or a tokenizer that cannot be carried, and UsageError where `folder` is not empty.
    """
    described, config, model = _read(path)
    pairs = described.pairs
    tokenizer, tokenizer_options = _tokenizer(path, pairs)
    tensors = {tensor.source: tensor for tensor in model.tensors}
    entries = [Entry(tensor.source, "F32", tensor.shape) for tensor in model.tensors]
    words = {key: pairs[key] for key in pairs if key.startswith("genner.") and key != WEIGHTS_HASH}  # others' weights
    with whole_folder(folder) as partial:
        write_safetensors(
            partial / WEIGHTS, entries, lambda entry: _numbers(path, described.tensors, tensors[entry.name])
        )
        _write(partial / "config.json", config)
        _write(partial / "tokenizer.json", tokenizer)
        _write(partial / "tokenizer_config.json", tokenizer_options)
        _write(
            partial / GGUF_SOURCE,
            {"file": path.name, "sha256": hash_file(path), "type": read_header(path).quantization},
        )
        if words:
            _write(partial / MODEL_METADATA_FILE, words)
    return folder


def _read(path: Path) -> tuple[Described, dict[str, Any], Architecture]:
    """What the GGUF says of its model, config.json, and the model in llama.cpp's terms. Raises ModelError."""
    try:
        described = _described(path, read_header(path, arrays=True))
        config = config_of(described)
        model = architecture(CONFIG_MAPPING[config["model_type"]](**config).to_dict())
        _refuse_others(path, model, described)
    except (KeyError, IndexError) as error:
        raise ModelError(f"{path} lacks {error}; {REMEDY}") from error
    return described, config, model


def _tokenizer(path: Path, pairs: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """tokenizer.json and tokenizer_config.json. Raises ModelError."""
    try:
        return tokenizer_json(pairs, REMEDY), tokenizer_config(pairs)
    except (KeyError, IndexError) as error:
        raise ModelError(f"{path} lacks {error}; {REMEDY}") from error


def _write(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def _described(path: Path, header: Header) -> Described:
    """Raises ModelError where the architecture or the kind of tokenizer is not one of those that can be read."""
    pairs, stored = header.metadata, header.tensors
    found, kind = (pairs.get(key) for key in ("general.architecture", "tokenizer.ggml.model"))
    if found not in FAMILIES or kind not in KINDS:
        raise ModelError(
            f"{path}: a model of the architecture {found!r} with the tokenizer {kind!r} cannot be turned into a"
            f" transformers folder, only {', '.join(FAMILIES)} with {', '.join(KINDS)}; {REMEDY}"
        )
    factors = numbers_of(path, stored[FACTORS]) if FACTORS in stored else None
    return Described(pairs, stored, None if factors is None else factors.reshape(-1))


def _refuse_others(path: Path, model: Architecture, described: Described) -> None:
    """Raises ModelError where the GGUF has pairs, tensors or factors of RoPE that are not those of this model."""
    stored = described.tensors
    for key, here in described.pairs.items():
        if not key.startswith(f"{model.name}.") or key.removeprefix(f"{model.name}.") in _HARMLESS:
            continue
        there = model.pairs.get(key)
        if (
            here != there
            and (here or there)
            and not (isinstance(there, float) and np.float32(here) == np.float32(there))
        ):
            raise ModelError(
                f"{path}: {key} is {here}, which is not what transformers would compute ({there}); {REMEDY}"
            )
    for tensor in model.tensors:
        shape = tuple(reversed(stored[tensor.name].shape))
        if shape != tensor.shape:
            raise ModelError(f"{path}: {tensor.name} has the shape {shape}, not {tensor.shape}; {REMEDY}")
    if others := sorted(stored.keys() - {tensor.name for tensor in model.tensors} - model.factors.keys()):
        raise ModelError(f"{path}: {others[0]} is not a tensor of this {model.name}; {REMEDY}")
    factors = model.factors.get(FACTORS)
    if factors is not None and not (described.factors is not None and np.allclose(factors, described.factors, 1e-5, 0)):
        raise ModelError(f"{path}: {FACTORS} are not the factors of Llama 3; {REMEDY}")


def _numbers(path: Path, stored: Mapping[str, TensorInfo], tensor: Tensor) -> torch.Tensor:
    found = stored[tensor.name]
    values = numbers_of(path, found)
    if values is None:
        raise ModelError(f"{path}: {tensor.name}: {found.kind_name} cannot be read back; {REMEDY}")
    numbers = torch.tensor(values.reshape(tensor.shape))  # a copy: what is mapped from the file may not be written to
    numbers = numbers - tensor.offset if tensor.offset else numbers
    return separate(numbers, tensor.heads) if tensor.heads else numbers


def separate(rows: torch.Tensor, heads: int) -> torch.Tensor:
    """The reverse of `tensors.interleave`: the rows of a query or key weight as transformers keeps them."""
    return rows.reshape(heads, -1, 2, *rows.shape[1:]).transpose(1, 2).reshape(rows.shape)
