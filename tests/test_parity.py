"""convert.parity: what the checks find, where, and what they take it for; convert.probe: what they are tried on."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from adapters import adapted, save_adapter
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM
from transformers_models import VOCABULARY, new_model, new_tokenizer, save

from convert import probe as probe_module
from convert.hf_to_gguf import hf_to_gguf
from convert.lora_to_gguf import lora_to_gguf
from convert.merge_lora import merge_lora
from convert.parity import LOGIT_LIMITS, MOST, check_logits, check_tokens
from convert.probe import Probe, make_probe
from convert.reference import reference_logits
from genner_cli.errors import ModelError, UsageError
from genner_cli.prompting import Instructions, Prompt
from genner_cli.training.tokens import Tokens, load_tokenizer
from genner_cli.types import Document, Entity, Label

PROMPT = Prompt("<|labels|>", "<|text|>", "<|entities|>")
LABELS = (Label("PER", "a person"), Label("ORG"), Label("LOC"))
INSTRUCTIONS = Instructions(PROMPT, "xml", 1, LABELS, ("PER",), 64)
DOCUMENTS = (
    Document("Ann met Bob in Łódź. " * 5, source="a.jsonl:1"),
    Document("Acme hired Ann.", source="a.jsonl:2", entities=(Entity(0, 4, "ORG", "Acme"),)),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(new_model("llama"), new_tokenizer(), tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def gguf(folder: Path) -> Path:
    return hf_to_gguf(folder, folder / "model.gguf")


@pytest.fixture(scope="module")
def probe(folder: Path) -> Probe:
    return make_probe(folder, DOCUMENTS, INSTRUCTIONS)


def test_it_is_tried_on_prompts_and_gold_completions_as_in_training(probe: Probe) -> None:
    assert [label.name for label in probe.task.labels] == ["PER", "ORG"]
    assert probe.documents == DOCUMENTS
    assert {example.source for example in probe.examples} == {"a.jsonl:1", "a.jsonl:2"}
    assert len(probe.examples) == 4, "three chunks and one"
    written = probe.tokens.tokenizer.decode(probe.examples[-1].ids)
    assert written.startswith("<|labels|>PER: a person\nORG\n<|text|>Acme hired Ann.<|entities|><ORG>Acme</ORG> hired")


def test_documents_without_an_example_are_a_usage_error(folder: Path) -> None:
    cut = Document("Ann " * 40, source="a.jsonl:1", entities=(Entity(0, 159, "PER", "Ann " * 39 + "Ann"),))
    with pytest.raises(UsageError, match=r"no document .*verify"):
        make_probe(folder, [cut], INSTRUCTIONS)


def test_no_more_logits_are_computed_than_fit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_module, "MOST_LOGITS", 120 * VOCABULARY)
    few = make_probe(folder, DOCUMENTS, INSTRUCTIONS)
    assert 100 < sum(len(example.ids) for example in few.examples) <= 130


def test_a_right_model_passes(probe: Probe, folder: Path, gguf: Path) -> None:
    tokens = check_tokens(probe, gguf)
    assert (tokens.passed, tokens.measured["texts"], tokens.message) == (True, 7, "")
    logits = check_logits(probe, folder, gguf, dtype="f32", threads=1)
    assert (logits.passed, logits.message) == (True, "")
    assert logits.measured["largest_difference"] < 1e-4
    assert logits.measured["tokens"] == sum(len(example.ids) for example in probe.examples)


def changed(folder: Path, to: Path, name: str, change: Any) -> Path:
    """A copy in which one weight is another."""
    copy = Path(shutil.copytree(folder, to / "copy"))
    tensors = load_file(copy / "model.safetensors")
    save_file({**tensors, name: change(tensors[name]).contiguous()}, copy / "model.safetensors")
    return copy


HINTS = {
    "model.layers.1.self_attn.q_proj.weight": "queries and keys",
    "model.layers.1.mlp.up_proj.weight": "embeddings, norms",
}


@pytest.mark.parametrize("name", HINTS)
def test_where_logits_part_is_named_by_document_and_token(
    name: str, probe: Probe, folder: Path, gguf: Path, tmp_path: Path
) -> None:
    other = changed(folder, tmp_path, name, lambda weight: weight.flip(0))
    finding = check_logits(probe, other, gguf, dtype="f32", threads=1)
    assert not finding.passed
    assert re.match(r"a\.jsonl:[12]: .*token \d+ ", finding.message)
    assert re.search(r"standard deviations, 0\.001 ", finding.message)
    assert HINTS[name] in finding.message


def test_logits_that_are_not_finite_or_of_another_vocabulary_fail(
    probe: Probe, folder: Path, gguf: Path, tmp_path: Path
) -> None:
    broken = changed(folder, tmp_path, "model.norm.weight", lambda weight: weight * float("nan"))
    larger = save(new_model("llama", vocab_size=VOCABULARY + 1), new_tokenizer(), tmp_path / "larger")
    for other in (broken, larger):
        finding = check_logits(probe, other, gguf, dtype="bf16", threads=1)
        assert not finding.passed
        assert re.search("finite.*vocabulary", finding.message)


@pytest.mark.parametrize(("dtype", "limit"), LOGIT_LIMITS.items())
def test_an_error_just_above_the_limit_fails_and_one_below_passes(
    dtype: str, limit: float, probe: Probe, folder: Path, gguf: Path, tmp_path: Path
) -> None:
    def passes(factor: float) -> bool:
        nonlocal number
        number += 1
        other = changed(folder, tmp_path / str(number), "lm_head.weight", lambda weight: shifted(weight, factor))
        return check_logits(probe, other, gguf, dtype=dtype, threads=1).passed

    def shifted(weight: torch.Tensor, factor: float) -> torch.Tensor:
        """One token's logits are larger by so much."""
        weight = weight.clone()
        weight[7] *= 1 + factor
        return weight

    number = 0
    reference, _ = reference_logits(folder, [example.ids for example in probe.examples])
    largest = max(float(abs(rows[:, 7]).max() / rows.std(axis=1).mean()) for rows in reference)
    assert passes(0.5 * limit / largest)
    assert not passes(1.5 * limit / largest)


def test_roundings_of_many_layers_add_up_and_are_let_pass(probe: Probe, tmp_path: Path) -> None:
    deep = save(new_model("llama", num_hidden_layers=32).bfloat16(), new_tokenizer(), tmp_path / "deep")
    path = hf_to_gguf(deep, tmp_path / "model.gguf", dtype="bf16")
    finding = check_logits(probe, deep, path, dtype="bf16", threads=1)
    assert finding.measured["limit"] == pytest.approx(LOGIT_LIMITS["bf16"] * 8**0.5)
    assert finding.passed, finding.message
    wrong = changed(deep, tmp_path, "model.layers.30.self_attn.k_proj.weight", lambda weight: weight.flip(0))
    finding = check_logits(probe, wrong, path, dtype="bf16", threads=1)
    assert not finding.passed
    assert "--dtype f32" in finding.message


def test_where_transformers_computes_in_16_bits_more_may_differ(
    probe: Probe, folder: Path, gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = save(new_model("llama").bfloat16(), new_tokenizer(), tmp_path)
    monkeypatch.setattr("convert.reference.free_memory", lambda: (half / "model.safetensors").stat().st_size)
    finding = check_logits(probe, half, hf_to_gguf(half, tmp_path / "model.gguf"), dtype="f32", threads=1)
    assert (finding.measured["computed_in"], finding.measured["limit"]) == ("bfloat16", MOST)
    assert finding.passed, finding.message
    wrong = changed(half, tmp_path, "model.layers.1.self_attn.q_proj.weight", lambda weight: weight.flip(0))
    assert not check_logits(probe, wrong, gguf, dtype="f32", threads=1).passed
    monkeypatch.setattr("convert.reference.free_memory", lambda: 1000)
    with pytest.raises(ModelError, match=r"free; .*checks"):
        reference_logits(half, [[1]])


def test_other_tokens_are_named_with_the_text_and_the_place(probe: Probe, gguf: Path) -> None:
    class Beginning(Tokens):
        """One that puts a token before every text, as a tokenizer with another post-processor does."""

        def __init__(self, tokenizer: Any) -> None:
            super().__init__(tokenizer)
            self.begins = [3]

    other = replace(probe, tokens=Beginning(load_tokenizer(gguf.parent)))
    finding = check_tokens(other, gguf)
    assert not finding.passed
    assert re.match(r"a\.jsonl:1: .*token 0 .*\[3, .*tokenizer", finding.message)


def test_an_adapter_in_16_bits_may_round_what_it_adds(probe: Probe, folder: Path, gguf: Path, tmp_path: Path) -> None:
    model = adapted(AutoModelForCausalLM.from_pretrained(folder), size=0.7).half()
    adapter = save_adapter(model, new_tokenizer(), folder, tmp_path / "adapter")
    merged = merge_lora(folder, adapter, tmp_path / "merged")
    applied = lora_to_gguf(adapter, folder, tmp_path / "adapter.gguf")
    finding = check_logits(probe, merged, gguf, dtype="f32", threads=1, adapter=applied)
    assert finding.passed, finding.message
    assert finding.measured["largest_difference"] > LOGIT_LIMITS["f32"], "a limit for F32 would refuse it"
    wrong = changed(merged, tmp_path, "model.layers.1.self_attn.k_proj.weight", lambda weight: weight.flip(0))
    assert not check_logits(probe, wrong, gguf, dtype="f32", threads=1, adapter=applied).passed
