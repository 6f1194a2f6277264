"""convert: the GGUF is the model that transformers runs, or there is no GGUF."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGUFReader
from tokenizers import Tokenizer, processors
from transformers import PreTrainedModel, PreTrainedTokenizerFast
from transformers_models import (
    HOSTILE,
    VOCABULARY,
    llama_logits,
    new_model,
    new_tokenizer,
    save,
    some_ids,
    transformers_logits,
)

from convert.hf_to_gguf import hf_to_gguf
from genner_cli.engine import llama as llama_cpp
from genner_cli.errors import ModelError
from genner_cli.formats.inserted import MARKS

MODEL = "llama, linear"  # small, its embeddings tied
METADATA = {"genner.format": "inserted", "genner.prompt.after_text": "", "genner.labels": '{"PER": "Zoë\\n"}'}


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Any:
    @llama_cpp.llama_log_callback
    def drop(*_: object) -> None: ...

    llama_cpp.llama_log_set(drop, None)
    return drop  # which llama.cpp calls as long as the module's tests run


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return new_tokenizer()


@pytest.fixture(scope="module")
def model() -> PreTrainedModel:
    return new_model(MODEL, head_dim=64)  # attn_output has rows of 256, as long as the smallest types need


@pytest.fixture(scope="module")
def folder(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, tmp_path_factory: Any) -> Path:
    folder = save(model, tokenizer, tmp_path_factory.mktemp("model"))
    (folder / "genner.json").write_text(json.dumps(METADATA), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def gguf(folder: Path, tmp_path_factory: Any) -> Path:
    return hf_to_gguf(folder, tmp_path_factory.mktemp("gguf") / "model.gguf")


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


@contextmanager
def loaded(path: Path) -> Iterator[Any]:
    params = llama_cpp.llama_model_default_params()
    params.use_extra_bufts = False  # llama.cpp's AMX products crash on some machines (ggml-org/llama.cpp issue 20824)
    model = llama_cpp.llama_model_load_from_file(os.fsencode(path), params)
    assert model, f"llama.cpp does not load {path}"
    try:
        yield model
    finally:
        llama_cpp.llama_model_free(model)


def difference(path: Path, model: PreTrainedModel) -> tuple[float, float]:
    """The greatest difference of any logit, in standard deviations, and the share of equal top-1."""
    expected, found = transformers_logits(model, some_ids()), llama_logits(path, some_ids())
    greatest = float(np.abs(found - expected).max() / expected.std())
    return greatest, float((found.argmax(1) == expected.argmax(1)).mean())


def assert_same(path: Path, model: PreTrainedModel) -> None:
    greatest, agreement = difference(path, model)
    assert greatest < 1e-3
    assert agreement == 1.0


def metadata(path: Path, key: str) -> str | None:
    buffer = ctypes.create_string_buffer(1000)
    with loaded(path) as model:
        length = llama_cpp.llama_model_meta_val_str(model, key.encode(), buffer, 1000)
    return None if length < 0 else buffer.value.decode()


def edit(path: Path, change: Callable[[Any], object]) -> None:
    value = json.loads(path.read_text(encoding="utf-8"))
    change(value)
    path.write_text(json.dumps(value), encoding="utf-8")


def test_logits_are_those_of_transformers_with_tied_embeddings(gguf: Path, model: PreTrainedModel) -> None:
    assert_same(gguf, model)


def test_logits_are_those_of_transformers_with_untied_embeddings_in_shards(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    untied = new_model("llama")
    folder = save(untied, tokenizer, tmp_path, max_shard_size="200KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    assert_same(hf_to_gguf(folder, tmp_path / "model.gguf"), untied)
    max(folder.glob("*.safetensors")).unlink()
    with pytest.raises(ModelError, match=r"model-\S* cannot be read"):
        hf_to_gguf(folder, tmp_path / "model.gguf")


@pytest.mark.parametrize(("dtype", "number"), [("f16", torch.float16), ("bf16", torch.bfloat16)])
def test_half_precision_rounds_matrices_and_keeps_norms(
    folder: Path, model: PreTrainedModel, tmp_path: Path, dtype: Any, number: torch.dtype
) -> None:
    path = hf_to_gguf(folder, tmp_path / "model.gguf", dtype=dtype)
    stored = {tensor.name: tensor.data.tobytes() for tensor in GGUFReader(path).tensors}
    layer = model.get_decoder().layers[1]
    assert stored["blk.1.ffn_up.weight"] == layer.mlp.up_proj.weight.to(number).view(torch.int16).numpy().tobytes()
    assert stored["blk.1.ffn_norm.weight"] == layer.post_attention_layernorm.weight.detach().numpy().tobytes()
    greatest, agreement = difference(path, model)
    assert greatest < 0.5
    assert agreement > 0.9


def test_a_model_saved_in_bfloat16_is_converted_exactly(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    rounded = new_model(MODEL, dtype=torch.bfloat16)
    folder = save(deepcopy(rounded).bfloat16(), tokenizer, tmp_path)
    assert_same(hf_to_gguf(folder, tmp_path / "model.gguf"), rounded)


def test_rope_is_read_where_older_transformers_wrote_it(copy: Path, model: PreTrainedModel, tmp_path: Path) -> None:
    def older(config: dict[str, Any]) -> None:
        rope = config.pop("rope_parameters")
        config["rope_theta"] = rope["rope_theta"]
        config["rope_scaling"] = {"type": "linear", "factor": rope["factor"]}

    edit(copy / "config.json", older)
    assert_same(hf_to_gguf(copy, tmp_path / "model.gguf"), model)


def test_tokens_have_their_text_and_type(gguf: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    buffer = ctypes.create_string_buffer(64)
    with loaded(gguf) as model:
        vocab = llama_cpp.llama_model_get_vocab(model)
        count = llama_cpp.llama_vocab_n_tokens(vocab)
        types = [llama_cpp.llama_vocab_get_attr(vocab, id) for id in range(count)]
        lengths = [llama_cpp.llama_token_to_piece(vocab, id, buffer, 64, 0, True) for id in range(count)]
        end = len(tokenizer)
        llama_cpp.llama_token_to_piece(vocab, end - 1, buffer, 64, 0, True)
        assert llama_cpp.llama_vocab_eos(vocab) == llama_cpp.llama_vocab_pad(vocab) == tokenizer.eos_token_id
        assert not llama_cpp.llama_vocab_get_add_bos(vocab)
    assert buffer.raw[: lengths[end - 1]].decode() == MARKS[-1]
    normal = [llama_cpp.LLAMA_TOKEN_ATTR_NORMAL] * (end - 7)
    control, user_defined = [llama_cpp.LLAMA_TOKEN_ATTR_CONTROL] * 4, [llama_cpp.LLAMA_TOKEN_ATTR_USER_DEFINED] * 3
    assert types == normal + control + user_defined + [llama_cpp.LLAMA_TOKEN_ATTR_UNUSED] * (VOCABULARY - end)


def test_both_tokenizers_give_the_same_ids(gguf: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    text = HOSTILE + "".join(f"a {mark} b" for mark in MARKS)
    data, ids = text.encode(), (llama_cpp.llama_token * len(text.encode()))()
    with loaded(gguf) as model:
        vocab = llama_cpp.llama_model_get_vocab(model)
        count = llama_cpp.llama_tokenize(vocab, data, len(data), ids, len(ids), False, False)
    assert list(ids[:count]) == tokenizer.encode(text, add_special_tokens=False)


def test_a_beginning_token_is_added_where_transformers_adds_one(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    start = ("<|text|>", backend.token_to_id("<|text|>"))
    backend.post_processor = processors.TemplateProcessing(single="<|text|> $A", special_tokens=[start])
    with_start = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<|text|>", eos_token="<|end|>")
    with_start.chat_template = "{{ messages }}"
    path = hf_to_gguf(save(model, with_start, tmp_path), tmp_path / "model.gguf")
    assert metadata(path, "tokenizer.ggml.add_bos_token") == "true"
    assert metadata(path, "tokenizer.ggml.bos_token_id") == str(start[1])
    assert metadata(path, "tokenizer.chat_template") == "{{ messages }}"


def test_what_the_model_says_of_itself_is_in_the_file(folder: Path, tmp_path: Path) -> None:
    more = {"genner.format": "xml", "general.license": "apache-2.0"}
    path = hf_to_gguf(folder, tmp_path / "model.gguf", metadata=more)
    for key, value in {**METADATA, **more}.items():
        assert metadata(path, key) == value
    assert metadata(path, "genner.unknown") is None


CONFIGS = {
    "model_type 'gpt2' .* llama": {"model_type": "gpt2"},
    "hidden_act 'gelu'": {"hidden_act": "gelu"},
    r"lm_head\.weight; ": {"tie_word_embeddings": False},
    r"F32 \(360, 64\), not .* \(9, 64\)": {"vocab_size": 9},
    r"layers\.1\.\S* is not part": {"num_hidden_layers": 1},
    "config.json is broken": {"num_attention_heads": None, "head_dim": None},
}
GPT2 = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
TOKENIZERS = {
    "pre_tokenizer .*: true, ": {"pre_tokenizer": {**GPT2, "add_prefix_space": True}},
    "pre_tokenizer .*: false}": {"pre_tokenizer": {**GPT2, "use_regex": False}},
    "tokenizer .*cannot be read": {"model": {"type": "BPE"}},
}


@pytest.mark.parametrize(("message", "change"), CONFIGS.items())
def test_a_model_that_cannot_be_carried_is_refused(copy: Path, message: str, change: dict[str, Any]) -> None:
    edit(copy / "config.json", lambda config: config.update(change))
    with pytest.raises(ModelError, match=message):
        hf_to_gguf(copy, copy / "model.gguf")
    assert not list(copy.glob("*.gguf*"))


@pytest.mark.parametrize(("message", "change"), TOKENIZERS.items())
def test_a_tokenizer_that_llama_cpp_has_not_is_refused(copy: Path, message: str, change: dict[str, Any]) -> None:
    edit(copy / "tokenizer.json", lambda spec: spec.update(change))
    with pytest.raises(ModelError, match=message):
        hf_to_gguf(copy, copy / "model.gguf")
    assert not list(copy.glob("*.gguf*"))


@pytest.mark.parametrize("pairs", [{"prompt": "x"}, {"genner.depth": 1}, {"general.architecture": "gpt2"}])
def test_metadata_that_is_not_ours_to_write_is_refused(copy: Path, pairs: dict[str, Any]) -> None:
    (copy / "genner.json").write_text(json.dumps(pairs), encoding="utf-8")
    with pytest.raises(ModelError, match=next(iter(pairs))):
        hf_to_gguf(copy, copy / "model.gguf")


def test_a_tokenizer_larger_than_the_model_is_refused(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    folder = save(new_model(MODEL, vocab_size=len(tokenizer) - 1), tokenizer, tmp_path)
    with pytest.raises(ModelError, match=f"token id {len(tokenizer) - 1} .*{len(tokenizer) - 1} rows"):
        hf_to_gguf(folder, tmp_path / "model.gguf")


def test_a_tokenizer_without_an_end_is_refused(copy: Path) -> None:
    edit(copy / "tokenizer_config.json", lambda config: config.pop("eos_token"))
    with pytest.raises(ModelError, match="no eos_token"):
        hf_to_gguf(copy, copy / "model.gguf")


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
@pytest.mark.parametrize("broken", [None, "[1]", "{"])
def test_a_missing_or_broken_file_is_named(copy: Path, name: str, broken: str | None) -> None:
    (copy / name).unlink() if broken is None else (copy / name).write_text(broken)
    with pytest.raises(ModelError, match=name):
        hf_to_gguf(copy, copy / "model.gguf")


def test_a_failure_half_way_leaves_the_earlier_file(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    overflowing = new_model(MODEL)
    with torch.no_grad():
        overflowing.get_decoder().layers[1].mlp.down_proj.weight[3, 5] = 70_000.0
    out = tmp_path / "model.gguf"
    out.write_text("earlier")
    with pytest.raises(ModelError, match=r"layers\.1\.mlp\.down_proj\.weight .*finite .*torch\.float16"):
        hf_to_gguf(save(overflowing, tokenizer, tmp_path), out, dtype="f16")
    assert out.read_text() == "earlier"
    assert list(tmp_path.glob("*.gguf*")) == [out]
