"""GGUFs that others made, as bases: llama.cpp's numbers, tokens and logits, whatever the quantization."""

from __future__ import annotations

import ctypes
import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from changed_gguf import changed, with_scores
from gguf import TokenType
from hypothesis import given, settings
from hypothesis import strategies as st
from made_tokenizers import HOSTILE, NAMES, export, specification, tokenizer
from numpy.typing import NDArray
from transformers import AutoModelForCausalLM
from transformers_models import new_model, new_tokenizer, save, some_ids, transformers_logits

from convert.gguf_numbers import numbers_of
from convert.gguf_to_hf import gguf_to_hf
from convert.hf_to_gguf import hf_to_gguf
from convert.quantize import quantize
from convert.transformers_folder import Weights
from genner_cli.engine import llama as llama_cpp
from genner_cli.engine.gguf_header import read_header
from genner_cli.engine.model import Model, llama_errors
from genner_cli.errors import DataError, ModelError
from genner_cli.training.tokens import Tokens, load_tokenizer

WIDE = {"hidden_size": 256, "intermediate_size": 256, "head_dim": 64}
"""Rows of whole blocks of every quantization type."""
CASES = (
    "llama", "llama, linear", "llama, yarn", "llama, biases", "qwen2", "qwen2, yarn", "qwen3", "gemma3", "gemma3, cap",
)  # fmt: skip
TYPES = ("Q2_K", "Q3_K_M", "Q4_0", "Q4_1", "Q4_K_M", "Q5_0", "Q5_1", "Q5_K_M", "Q6_K", "Q8_0", "IQ4_NL", "IQ4_XS",
         "F16", "BF16")  # fmt: skip


def logits(folder: Path) -> NDArray[np.float32]:
    return transformers_logits(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval(), some_ids())


def in_f32_by_llama(path: Path, out: Path) -> Path:
    """llama.cpp's own way from any type to F32 (llama_model_quantize)."""
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype, params.allow_requantize, params.nthread = 0, True, 1
    with llama_errors() as errors:
        failed = llama_cpp.llama_model_quantize(os.fsencode(path), os.fsencode(out), ctypes.byref(params))
    assert not failed, errors
    return out


@pytest.mark.parametrize("case", CASES)
def test_config_and_weights_come_back_for_every_architecture(case: str, tmp_path: Path) -> None:
    model = new_model(case)
    folder = save(model, new_tokenizer(), tmp_path / "model")
    back = gguf_to_hf(hf_to_gguf(folder, tmp_path / "model.gguf"), tmp_path / "back")
    before, after = Weights(folder), Weights(back)
    assert after.names == before.names
    offset = 1e-6 if "gemma" in case else 0.0  # 1 is added to a norm's weight and taken away again
    assert all(torch.allclose(before.read(name), after.read(name), 0, offset) for name in before.names)
    assert np.abs(logits(back) - transformers_logits(model, some_ids())).max() < 1e-4


def test_the_factors_of_llama_3_come_back_and_others_are_refused(tmp_path: Path) -> None:
    rope = {
        "rope_type": "llama3", "rope_theta": 500_000.0, "factor": 32.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
    }  # fmt: skip
    folder = save(new_model("llama", rope_parameters=rope), new_tokenizer(), tmp_path / "model")
    back = gguf_to_hf(hf_to_gguf(folder, tmp_path / "model.gguf"), tmp_path / "back")
    assert json.loads((back / "config.json").read_text())["rope_parameters"] == rope
    other = save(new_model("llama, llama3"), new_tokenizer(), tmp_path / "other")
    with pytest.raises(ModelError, match="rope_freqs"):
        gguf_to_hf(hf_to_gguf(other, tmp_path / "other.gguf"), tmp_path / "refused")


LEFT_OUT: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "llama": ("llama", {"num_key_value_heads": 4, "head_dim": 16}, {
        "vocab_size": None, "attention.head_count_kv": None, "attention.key_length": None,
        "attention.value_length": None, "rope.dimension_count": None, "expert_count": 0, "tensor_data_layout": "x"}),
    "qwen2": ("qwen2", {"rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0}}, {
        "rope.freq_base": None, "vocab_size": None, "rope.dimension_count": None}),
    "gemma3": ("gemma3", {
        "num_hidden_layers": 6, "layer_types": [*["sliding_attention"] * 5, "full_attention"],
        "rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1e6},
                            "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0}}}, {
        "attention.sliding_window_pattern": None, "rope.freq_base_swa": None, "vocab_size": None}),
}  # fmt: skip


@pytest.mark.parametrize("name", LEFT_OUT)
def test_keys_that_others_leave_out_have_llamas_defaults(name: str, tmp_path: Path) -> None:
    case, changes, keys = LEFT_OUT[name]
    model = new_model(case, **changes)
    path = hf_to_gguf(save(model, new_tokenizer(), tmp_path / "model"), tmp_path / "model.gguf")
    bare = changed(path, tmp_path / "bare.gguf", {f"{case}.{key}": value for key, value in keys.items()})
    back = gguf_to_hf(bare, tmp_path / "back")
    assert np.abs(logits(back) - transformers_logits(model, some_ids())).max() < 1e-4


@pytest.mark.parametrize("type", TYPES)
def test_numbers_are_those_that_llama_reads_to_the_bit(type: str, wide: Path, tmp_path: Path) -> None:
    small = quantize(wide, tmp_path / "small.gguf", type, threads=1)
    there = in_f32_by_llama(small, tmp_path / "f32.gguf")
    ours, theirs = read_header(small).tensors, read_header(there).tensors
    for name, tensor in ours.items():
        found, expected = numbers_of(small, tensor), numbers_of(there, theirs[name])
        assert np.array_equal(found, expected), (name, tensor.kind_name)
    back = gguf_to_hf(small, tmp_path / "back")
    again = hf_to_gguf(back, tmp_path / "again.gguf")
    for name, tensor in read_header(again).tensors.items():
        assert np.array_equal(numbers_of(again, tensor), numbers_of(there, theirs[name])), name


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wide")
    return hf_to_gguf(save(new_model("llama", **WIDE), new_tokenizer(), folder / "model"), folder / "model.gguf")


SAID_BY = {"gpt-2": "gpt-2", "smollm, granite 3": "smollm", "llama 3, smollm3": "llama-v3", "granite 4": "dbrx",
           "qwen": "deepseek-r1-qwen", "mistral-nemo": "tekken", "gemma": "scores"}  # fmt: skip


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A GGUF with a tokenizer of each kind, and that of the folder made of it."""

    @cache
    def make(kind: str) -> tuple[Model, Tokens]:
        folder = tmp_path_factory.mktemp("tokenizer")
        path = export(tokenizer(specification(kind)), folder)
        if SAID_BY[kind] == "scores":
            path = with_scores(path, folder / "scores.gguf")
        elif SAID_BY[kind] != NAMES[kind]:
            path = changed(path, folder / "named.gguf", {"tokenizer.ggml.pre": SAID_BY[kind]})
        return Model(path, gpu_layers=0), Tokens(load_tokenizer(gguf_to_hf(path, folder / "back")))

    return make


def ids(of: Model | Tokens, text: str) -> list[int] | str:
    try:
        return of.plain(text)
    except DataError as error:
        return str(error)


@pytest.mark.parametrize("kind", SAID_BY)
def test_tokens_are_those_of_llama_on_the_hostile_page(kind: str, pair: Any) -> None:
    model, tokens = pair(kind)
    for text in [*HOSTILE, "".join(HOSTILE)[:6000], *(" " * n + "x" + "\n" * n for n in range(12))]:
        assert ids(tokens, text) == ids(model, text)
    assert tokens.vocabulary.pieces == model.vocabulary.pieces[: len(tokens.vocabulary.pieces)]
    assert tokens.vocabulary.added == model.vocabulary.added
    assert tokens.begins == model.begin_ids
    assert tokens.tokenizer.eos_token_id in model.end_ids


CHARACTERS = st.sampled_from(
    [*"ab0-=. ' \n\t▁é北", "\u0301", "\u200d", "😀", "\x00", "<s>", "⟦", "<|end|>", "'s", "  "]
)


@pytest.mark.parametrize("kind", SAID_BY)
@settings(max_examples=150)
@given(text=st.one_of(st.lists(CHARACTERS, max_size=40).map("".join), st.text(max_size=30)))
def test_tokens_are_those_of_llama_on_any_text(kind: str, text: str, pair: Any) -> None:
    model, tokens = pair(kind)
    assert ids(tokens, text) == ids(model, text)


def test_a_template_and_the_hash_of_the_file_are_kept_and_no_words_are_invented(tmp_path: Path) -> None:
    path = hf_to_gguf(save(new_model("qwen3"), new_tokenizer(), tmp_path / "model"), tmp_path / "model.gguf")
    bare = changed(path, tmp_path / "bare.gguf", {"genner.weights.hash": None, "tokenizer.chat_template": "{{ x }}"})
    back = gguf_to_hf(bare, tmp_path / "back")
    assert load_tokenizer(back).chat_template == "{{ x }}"
    source = json.loads((back / "gguf_source.json").read_text())
    assert (source["file"], source["type"]) == ("bare.gguf", "F32")
    assert not (back / "genner.json").exists()


def test_a_user_defined_token_of_one_character_beside_scores_is_refused(tmp_path: Path) -> None:
    path = with_scores(export(tokenizer(specification("gemma")), tmp_path), tmp_path / "scores.gguf")
    metadata = read_header(path, arrays=True).metadata
    tokens, types = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
    at = next(
        id for id, text in enumerate(tokens) if len(text) == 1 and text.isalpha() and types[id] == TokenType.NORMAL
    )
    types[at] = int(TokenType.USER_DEFINED)
    odd = changed(path, tmp_path / "odd.gguf", {"tokenizer.ggml.token_type": types})
    with pytest.raises(ModelError, match=f"user-defined token {tokens[at]!r}"):
        gguf_to_hf(odd, tmp_path / "back")
