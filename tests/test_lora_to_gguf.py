"""An adapter that llama.cpp applies as it runs is the adapter that transformers applies, and the one that is merged."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from adapters import adapted, save_adapter
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel
from transformers_models import CASES, llama_logits, new_model, new_tokenizer, save, some_ids, transformers_logits

from convert.hf_to_gguf import hf_to_gguf
from convert.lora_to_gguf import lora_to_gguf
from convert.merge_gguf import merge_gguf
from convert.merge_lora import merge_lora
from genner_cli.engine.adapter import changes_output
from genner_cli.engine.gguf_header import read_header
from genner_cli.engine.model import Model
from genner_cli.errors import ModelError

IDS = some_ids()
LIMIT, ROUNDED = 1e-3, 0.03  # of a logit, in standard deviations; for weights in F32 and in F16
KINDS = [case for case in CASES if "," not in case]
SAID = {"genner.format": "xml"}


class Base(NamedTuple):
    """A model, as a folder and as GGUF."""

    model: PreTrainedModel
    folder: Path
    gguf: Path


Bases = Callable[[str], Base]


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Bases:
    @cache
    def make(case: str) -> Base:
        model = new_model(case)
        folder = save(model, new_tokenizer(), tmp_path_factory.mktemp("base"))
        return Base(model, folder, hf_to_gguf(folder, folder / "base.gguf"))

    return make


def adapter_of(base: Base, folder: Path, **options: Any) -> tuple[Any, Path]:
    """The adapted model, and the folder of its adapter."""
    changed = adapted(base.model, **options)
    return changed, save_adapter(changed, new_tokenizer(), base.folder, folder, SAID)


def off(found: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> float:
    """The greatest difference, in standard deviations."""
    return float(np.abs(found - expected).max() / expected.std())


@pytest.mark.parametrize("case", KINDS)
def test_applied_is_what_transformers_applies_and_what_is_merged(case: str, bases: Bases, tmp_path: Path) -> None:
    base = bases(case)
    changed, folder = adapter_of(base, tmp_path / "adapter")
    applied = llama_logits(base.gguf, IDS, adapter=lora_to_gguf(folder, base.folder, tmp_path / "adapter.gguf"))
    merged = hf_to_gguf(merge_lora(base.folder, folder, tmp_path / "merged"), tmp_path / "merged.gguf")
    limit = 2 * LIMIT if "gemma" in case else LIMIT  # GELU is a table in half precision
    assert off(applied, transformers_logits(changed, IDS)) < limit
    assert off(applied, llama_logits(merged, IDS)) < limit
    without_torch = merge_gguf(base.gguf, tmp_path / "adapter.gguf", tmp_path / "f16.gguf")
    assert off(applied, llama_logits(without_torch, IDS)) < ROUNDED
    assert off(applied, llama_logits(base.gguf, IDS)) > 0.5


ADAPTERS: dict[str, dict[str, Any]] = {
    "rank-stabilised": {"use_rslora": True},
    "ranks and alphas by layer": {
        "rank_pattern": {"layers.1.self_attn.q_proj": 2, r".*\.down_proj": 7}, "alpha_pattern": {"q_proj": 11},
    },
    "output matrix": {"target_modules": ["lm_head", "v_proj"]},
    "embeddings": {"target_modules": ["embed_tokens", "v_proj"]},
}  # fmt: skip


@pytest.mark.parametrize("options", ADAPTERS.values(), ids=list(ADAPTERS))
@pytest.mark.filterwarnings("ignore:.*save_embedding_layers")
def test_scales_and_both_ends_of_the_model_are_applied(options: dict[str, Any], bases: Bases, tmp_path: Path) -> None:
    base = bases("llama")
    changed, folder = adapter_of(base, tmp_path / "adapter", **options)
    path = lora_to_gguf(folder, base.folder, tmp_path / "adapter.gguf")
    expected = transformers_logits(changed, IDS)
    assert off(llama_logits(base.gguf, IDS, adapter=path), expected) < LIMIT
    assert off(llama_logits(merge_gguf(base.gguf, path, tmp_path / "merged.gguf"), IDS), expected) < ROUNDED
    assert changes_output(read_header(path)) == ("lm_head" in options.get("target_modules", ()))


@pytest.mark.parametrize("wrong", ["interleave", "scale"])
def test_a_wrong_mapping_would_show(wrong: str, bases: Bases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = bases("llama")
    changed, folder = adapter_of(base, tmp_path / "adapter", use_rslora=wrong == "scale")
    if wrong == "scale":
        monkeypatch.setattr("convert.adapter.Pair.rank", property(lambda pair: 5))
    else:
        monkeypatch.setattr("convert.tensors.interleave", lambda rows, heads: rows)
    path = lora_to_gguf(folder, base.folder, tmp_path / "adapter.gguf")
    assert off(llama_logits(base.gguf, IDS, adapter=path), transformers_logits(changed, IDS)) > 10 * LIMIT


def test_the_words_of_the_adapter_go_before_those_of_the_base(bases: Bases, tmp_path: Path) -> None:
    base = bases("llama")
    _, folder = adapter_of(base, tmp_path / "adapter")
    path = lora_to_gguf(folder, base.folder, tmp_path / "adapter.gguf", metadata={"genner.labels": "{}"})
    with Model(base.gguf, gpu_layers=0, adapter=path) as model:
        assert model.metadata["genner.format"] == "xml"
        assert model.metadata["genner.labels"] == "{}"
        assert model.metadata["genner.base.reference"] == "my/base"


REFUSED: dict[str, dict[str, Any]] = {
    r"model\S+norm\.weight, .*llama\.cpp": {"modules_to_save": ["norm"]},
    r"lm_head\.weight, .*llama\.cpp": {"modules_to_save": ["lm_head"]},
}


@pytest.mark.parametrize(("said", "options"), REFUSED.items())
@pytest.mark.filterwarnings("ignore:.*save_embedding_layers")
def test_what_llama_cpp_cannot_apply_is_refused(
    said: str, options: dict[str, Any], bases: Bases, tmp_path: Path
) -> None:
    _, folder = adapter_of(bases("llama"), tmp_path / "adapter", **options)
    with pytest.raises(ModelError, match=said):
        lora_to_gguf(folder, bases("llama").folder, tmp_path / "adapter.gguf")
    assert not list(tmp_path.glob("*.gguf*"))


@pytest.mark.filterwarnings("ignore:.*tie_word_embeddings", "ignore:.*save_embedding_layers")
def test_embeddings_that_are_the_output_matrix_too_are_refused(bases: Bases, tmp_path: Path) -> None:
    tied = bases("llama, linear")
    _, folder = adapter_of(tied, tmp_path / "adapter", target_modules=["embed_tokens"])
    with pytest.raises(ModelError, match=r"model\.embed_tokens\.weight, .*output matrix"):
        lora_to_gguf(folder, tied.folder, tmp_path / "adapter.gguf")


def test_another_base_is_refused(bases: Bases, tmp_path: Path) -> None:
    _, folder = adapter_of(bases("llama"), tmp_path / "adapter")
    with pytest.raises(ModelError, match=r"layers\.\S+ \(.*\), .* has (none|\()"):
        lora_to_gguf(folder, bases("qwen2").folder, tmp_path / "adapter.gguf")
    other = save(new_model("llama", rms_norm_eps=0.01).double().float(), new_tokenizer(), tmp_path / "other")
    tensors = load_file(other / "model.safetensors")
    save_file({**tensors, "model.norm.weight": tensors["model.norm.weight"] + 1}, other / "model.safetensors")
    with pytest.raises(ModelError, match=r"\(SHA-256 .*/other .*\(SHA-256"):
        lora_to_gguf(folder, other, tmp_path / "adapter.gguf")
    assert not list(tmp_path.glob("*.gguf*"))


def test_numbers_that_are_not_finite_are_refused(bases: Bases, tmp_path: Path) -> None:
    base = bases("llama")
    _, folder = adapter_of(base, tmp_path / "adapter")
    path = folder / "adapter_model.safetensors"
    tensors = load_file(path)
    name = "base_model.model.model.layers.1.mlp.up_proj.lora_A.weight"
    save_file({**tensors, name: tensors[name] * float("inf")}, path)
    with pytest.raises(ModelError, match=r"layers\.1\.mlp\.up_proj\.weight .*finite"):
        lora_to_gguf(folder, base.folder, tmp_path / "adapter.gguf")


def test_an_unfinished_training_is_refused(bases: Bases, tmp_path: Path) -> None:
    _, folder = adapter_of(bases("llama"), tmp_path / "adapter")
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (copy / "genner.json").unlink()
    with pytest.raises(ModelError, match=r"no genner\.json"):
        lora_to_gguf(copy, bases("llama").folder, tmp_path / "adapter.gguf")
