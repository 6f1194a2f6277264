"""A folder with a transformers model and its tokenizer -> one GGUF file that llama.cpp loads.

Writes what the model says of itself (`genner.json`: pairs of strings) as metadata. Knows nothing of what
they mean and of quantization: what cannot be carried exactly is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFValueType, GGUFWriter, LlamaFileType

from convert.architectures import REMEDY, Architecture, architecture
from convert.tensors import Tensor, text_name
from convert.tokenizers import add_tokenizer
from convert.transformers_folder import Weights, read_config
from convert.words import read_words
from genner_cli.engine.adapter import WEIGHTS_HASH
from genner_cli.errors import ModelError
from genner_cli.files.hashing import hash_files, weight_files
from genner_cli.files.whole import whole

NUMBERS = {
    "f32": (GGMLQuantizationType.F32, LlamaFileType.ALL_F32, torch.float32),
    "f16": (GGMLQuantizationType.F16, LlamaFileType.MOSTLY_F16, torch.float16),
    "bf16": (GGMLQuantizationType.BF16, LlamaFileType.MOSTLY_BF16, torch.bfloat16),
}
KINDS = {bool: GGUFValueType.BOOL, int: GGUFValueType.UINT32, float: GGUFValueType.FLOAT32, str: GGUFValueType.STRING}
HEAD, EMBEDDINGS = "lm_head.weight", "model.embed_tokens.weight"


def hf_to_gguf(
    model_dir: Path, out: Path, *, dtype: Literal["f32", "f16", "bf16"] = "f32", metadata: Mapping[str, str] = {}
) -> Path:
    """Writes `out` from config.json, *.safetensors, tokenizer.json and genner.json of `model_dir`.

    Matrices are written in `dtype`, norms and biases in F32; one tensor at a time is in memory. `metadata` adds to
    genner.json and goes before it (`words.py`); the weights' hash is added, by which adapters know their base. Raises
    ModelError where the model is broken, or llama.cpp would not compute it alike. Source: the GGUF specification.
    """
    model, weights = architecture(read_config(model_dir)), Weights(model_dir)
    sources = _checked(model, weights)
    pairs = {**read_words(model_dir, metadata), WEIGHTS_HASH: hash_files(weight_files(model_dir))}
    with whole(out) as partial, closing(GGUFWriter(partial, model.name)) as writer:
        writer.add_file_type(NUMBERS[dtype][1])
        for key, value in model.pairs.items():
            listed = isinstance(value, list)
            writer.add_key_value(key, value, GGUFValueType.ARRAY if listed else KINDS[type(value)])
        add_tokenizer(writer, model_dir, model.vocabulary)
        for key, value in pairs.items():
            writer.add_key_value(key, value, GGUFValueType.STRING)  # add_string would drop empty ones
        _write_tensors(writer, model, weights, sources, dtype)
    return out


def _checked(model: Architecture, weights: Weights) -> dict[str, str]:
    """The name in the files of each source; raises ModelError where one is missing, left over or not as it must be."""
    sources = {text: name for name in weights.names if (text := text_name(name))}
    for tensor in model.tensors:
        if tensor.source not in sources:
            raise ModelError(f"the model lacks the tensor {tensor.source}; save the whole model again")
        dtype, shape = weights.described(sources[tensor.source])
        if shape != tensor.shape or dtype not in ("F32", "F16", "BF16"):
            raise ModelError(f"{tensor.source} is {dtype} {shape}, not F32, F16 or BF16 {tensor.shape}; save it again")
    if model.tied and HEAD in sources:
        if not torch.equal(weights.read(sources[HEAD]), weights.read(sources[EMBEDDINGS])):
            raise ModelError(f"{HEAD} is not the embeddings: set tie_word_embeddings to false in config.json")
        del sources[HEAD]
    if left := sources.keys() - {tensor.source for tensor in model.tensors}:
        raise ModelError(f"the tensor {min(left)} is no part of this {model.name} model; {REMEDY}")
    return sources


def _write_tensors(
    writer: GGUFWriter, model: Architecture, weights: Weights, sources: Mapping[str, str], dtype: str
) -> None:
    for name, factors in model.factors.items():
        _announce(writer, name, factors.shape, "f32")
    for tensor in model.tensors:
        _announce(writer, tensor.name, tensor.stored_shape, _number(tensor, dtype))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for factors in model.factors.values():
        writer.write_tensor_data(factors)
    for tensor in model.tensors:
        value = tensor.arranged(weights.read(sources[tensor.source]))
        writer.write_tensor_data(_bytes(value, tensor, NUMBERS[_number(tensor, dtype)][2]))


def _number(tensor: Tensor, dtype: str) -> str:
    return "f32" if len(tensor.shape) == 1 else dtype


def _announce(writer: GGUFWriter, name: str, shape: tuple[int, ...], dtype: str) -> None:
    kind, _, number = NUMBERS[dtype]
    writer.add_tensor_info(name, shape, np.dtype(np.float32), math.prod(shape) * number.itemsize, raw_dtype=kind)


def _bytes(value: torch.Tensor, tensor: Tensor, number: torch.dtype) -> np.ndarray[Any, Any]:
    value = value.to(number)
    if tensor.offset:
        value = value + tensor.offset
    if not torch.stack(torch.aminmax(value)).isfinite().all():
        raise ModelError(f"{tensor.source} is not finite everywhere in {number}; try f32, or train again")
    return value.contiguous().view(torch.uint8).numpy()
