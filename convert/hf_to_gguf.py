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
from gguf import GGMLQuantizationType, GGUFValueType, GGUFWriter, LlamaFileType, TokenType

from convert.architectures import REMEDY, Architecture, architecture
from convert.tensors import Tensor, text_name
from convert.transformers_folder import Weights, read_config, read_model_metadata
from genner_cli.engine.adapter import WEIGHTS_HASH
from genner_cli.errors import ModelError
from genner_cli.files.hashing import hash_files, weight_files
from genner_cli.files.whole import whole
from genner_cli.training.tokens import Kind, Token, Tokens, load_tokenizer

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
    pairs = {**read_model_metadata(model_dir, metadata), WEIGHTS_HASH: hash_files(weight_files(model_dir))}
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
        raise ModelError(f"the tensor {min(left)} is not part of this {model.name} model; {REMEDY}")
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


TYPES: Mapping[Kind, TokenType] = {
    "normal": TokenType.NORMAL,
    "byte": TokenType.BYTE,
    "control": TokenType.CONTROL,
    "user-defined": TokenType.USER_DEFINED,
    "unused": TokenType.UNUSED,
}


def add_tokenizer(writer: GGUFWriter, model_dir: Path, vocabulary: int) -> None:
    """Adds the tokenizer of `model_dir` for a model with `vocabulary` rows of embeddings, its chat template too.

    Every kind becomes llama.cpp's byte-pair encoding ("gpt2") with explicit merges. So do tokenizers like
    SentencePiece's: llama.cpp's own kind for them ("llama") merges by score and would order some merges otherwise.
    Raises ModelError where the folder holds no tokenizer, or one that cannot be carried exactly.
    """
    tokenizer = load_tokenizer(model_dir)
    tokens = Tokens(tokenizer)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(tokens.pre_tokenizer.name)
    rows = _rows(tokens.table, vocabulary)
    writer.add_token_list([row.text for row in rows])
    writer.add_token_types([TYPES[row.kind] for row in rows])
    writer.add_token_merges([" ".join(pair) for pair in tokens.merges])
    bos, eos, pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
    writer.add_add_bos_token(bool(tokens.begins))
    for add, id in ((writer.add_bos_token_id, bos), (writer.add_eos_token_id, eos), (writer.add_pad_token_id, pad)):
        if id is not None:
            add(id)
    template = tokenizer.chat_template
    if template := template.get("default") if isinstance(template, dict) else template:
        writer.add_chat_template(template)


def _rows(table: Mapping[int, Token], vocabulary: int) -> list[Token]:
    """The token of each id below `vocabulary`; ids without one are unused."""
    if max(table) >= vocabulary:
        raise ModelError(f"token id {max(table)} is beyond the model's {vocabulary} rows; resize its embeddings")
    rows = [Token(f"<|unused {id}|>", "unused") for id in range(vocabulary)]
    for id, token in table.items():
        if token.kind != "unused":
            rows[id] = token
    texts = [row.text for row in rows]
    if "" in texts or len(set(texts)) < len(texts):
        twice = next(text for text in texts if not text or texts.count(text) > 1)
        raise ModelError(f"token {twice!r} is empty or there twice; repair the tokenizer's vocabulary")
    return rows
