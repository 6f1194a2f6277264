"""convert.degradation: what a quantization costs is measured, and too much of it is found with the tensor named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from changed_gguf import finish
from conftest import ONE_THREAD
from gguf import GGUFReader, GGUFWriter
from random_model import write_random_model
from transformers_models import new_model, new_tokenizer, save

from convert.degradation import Behaviour, check_quantization, check_tensors, observe
from convert.hf_to_gguf import hf_to_gguf
from convert.probe import Probe, make_probe
from convert.quantize import quantize
from convert.report import Finding
from genner_cli.engine.gguf_header import read_header
from genner_cli.prompting import Instructions, Prompt
from genner_cli.types import Document, Entity, Label

LABELS = (Label("PER"), Label("LOC"))
INSTRUCTIONS = Instructions(Prompt("<|labels|>", "<|text|>", "<|entities|>"), "xml", 1, LABELS, ("PER", "LOC"), 200)
DOCUMENTS = tuple(Document(f"Ann met Bob in town {number}.", source=f"a.jsonl:{number}") for number in range(6))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = new_model("llama", hidden_size=256, num_hidden_layers=2, max_position_embeddings=512)
    return save(model, new_tokenizer(), tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def whole(folder: Path) -> Path:
    return hf_to_gguf(folder, folder / "whole.gguf")


@pytest.fixture(scope="module")
def probe(folder: Path) -> Probe:
    return make_probe(folder, DOCUMENTS, INSTRUCTIONS)


@pytest.fixture(scope="module")
def behaviour(probe: Probe, whole: Path) -> Behaviour:
    return observe(probe, whole, ONE_THREAD)


def damaged(source: Path, out: Path, name: str, change: Callable[[bytes], bytes]) -> Path:
    """A copy in which the bytes of one tensor are others."""
    tensor = read_header(source).tensors[name]
    data = bytearray(source.read_bytes())
    place = slice(tensor.offset, tensor.offset + tensor.size)
    data[place] = change(bytes(data[place]))
    out.write_bytes(data)
    return out


def by_check(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.check: finding for finding in findings}


def test_a_good_quantization_passes_and_is_measured(
    probe: Probe, whole: Path, behaviour: Behaviour, tmp_path: Path
) -> None:
    small = quantize(whole, tmp_path / "small.gguf", "Q8_0")
    found = by_check(check_quantization(probe, "Q8_0", behaviour, small, ONE_THREAD))
    assert list(found) == ["tensors", "logits", "entities"]
    assert all(finding.passed and not finding.message for finding in found.values())
    assert found["tensors"].measured["compared"] == len(read_header(whole).tensors)
    assert 0 < found["tensors"].measured["error"] < found["tensors"].measured["limit"] < 0.02
    assert 0 < found["logits"].measured["noise"] < 0.05


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "zeros": lambda data: bytes(len(data)),
    "rows of blocks in another order": lambda data: data[len(data) // 2 :] + data[: len(data) // 2],
    "not a number": lambda data: b"\xff\x7f" + data[2:],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_tensor_with_other_numbers_is_named(
    damage: str, probe: Probe, whole: Path, behaviour: Behaviour, tmp_path: Path
) -> None:
    small = quantize(whole, tmp_path / "small.gguf", "Q8_0")
    broken = damaged(small, tmp_path / "broken.gguf", "blk.1.attn_v.weight", DAMAGES[damage])
    [finding] = check_quantization(probe, "Q8_0", behaviour, broken, ONE_THREAD)
    assert (finding.passed, finding.measured["tensor"]) == (False, "blk.1.attn_v.weight")
    assert "blk.1.attn_v.weight" in finding.message


def test_a_tensor_that_is_lost_is_named(whole: Path, tmp_path: Path) -> None:
    writer = GGUFWriter(tmp_path / "less.gguf", "llama")
    for tensor in GGUFReader(whole).tensors:
        if tensor.name != "blk.0.ffn_up.weight":
            writer.add_tensor(tensor.name, np.array(tensor.data))
    finish(writer)
    finding = check_tensors("F32", whole, tmp_path / "less.gguf")
    assert not finding.passed
    assert "blk.0.ffn_up.weight " in finding.message


def test_a_type_without_a_reader_is_checked_by_what_it_computes(whole: Path, tmp_path: Path) -> None:
    small = quantize(whole, tmp_path / "small.gguf", "Q2_0")
    finding = check_tensors("Q2_0", whole, small)
    assert finding.passed
    assert 0 < finding.measured["compared"] < len(read_header(small).tensors)


def test_noise_in_the_logits_is_found_and_what_shifts_all_alike_is_none(
    probe: Probe, whole: Path, behaviour: Behaviour
) -> None:
    def of(change: Callable[[np.ndarray], np.ndarray]) -> Finding:
        found = replace(behaviour, logits=tuple(change(rows) for rows in behaviour.logits))
        return by_check(check_quantization(probe, "F32", found, whole, ONE_THREAD))["logits"]

    random = np.random.default_rng(1)
    assert of(lambda rows: rows + 5).passed
    assert of(lambda rows: rows + random.normal(0, 0.3 * rows.std(), rows.shape).astype(np.float32)).passed
    noisy = of(lambda rows: rows + random.normal(0, rows.std(), rows.shape).astype(np.float32))
    assert not noisy.passed
    assert noisy.message.startswith("a.jsonl:")


def entity(document: Document, mention: str, label: str) -> Entity:
    start = document.text.index(mention)
    return Entity(start, start + len(mention), label, mention)


def test_entities_that_are_lost_are_found_and_a_few_may_be(
    probe: Probe, whole: Path, behaviour: Behaviour, monkeypatch: pytest.MonkeyPatch
) -> None:
    gold = tuple(replace(d, entities=(entity(d, "Ann", "PER"), entity(d, "town", "LOC"))) for d in DOCUMENTS)
    asked = replace(probe, documents=gold)
    before = replace(behaviour, entities=tuple(document.entities for document in gold))

    def after(kept: int) -> Finding:
        """All but the entities of the last documents are found again."""
        entities = tuple(d.entities if at < kept else () for at, d in enumerate(gold))
        monkeypatch.setattr("convert.degradation.observe", lambda *_: replace(behaviour, entities=entities))
        return by_check(check_quantization(asked, "F32", before, whole, ONE_THREAD))["entities"]

    assert after(6).measured["agreement"] == 1.0
    assert (after(4).passed, after(4).measured["differing"]) == (True, 4)
    lost = after(2)
    assert (lost.passed, lost.measured["differing"], lost.measured["f1_unquantized"]) == (False, 8, 1.0)
    assert "8 of 12 entities" in lost.message
    assert "(agreement 0.50, F1 1.000 before, 0.500 after)" in lost.message
    assert "'Ann' (PER) at 0 in a.jsonl:2" in lost.message


def test_no_entities_on_either_side_agree(probe: Probe, whole: Path, behaviour: Behaviour) -> None:
    blank = replace(probe, documents=(Document(" ", source="a.jsonl:1"),))
    none = replace(behaviour, entities=((),))
    finding = by_check(check_quantization(blank, "F32", none, whole, ONE_THREAD))["entities"]
    assert (finding.passed, finding.measured["agreement"]) == (True, 1.0)
    without = check_quantization(replace(probe, documents=()), "F32", none, whole, ONE_THREAD)
    assert [found.check for found in without] == ["tensors", "logits"]


def test_numbers_are_compared_in_rows_all_over_a_large_tensor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convert.degradation.SAMPLED", 5000)
    whole = write_random_model(tmp_path / "whole.gguf")
    name = "token_embd.weight"
    half = damaged(whole, tmp_path / "half.gguf", name, lambda data: data[: len(data) // 2] + bytes(len(data) // 2))
    finding = check_tensors("F32", whole, half)
    assert (finding.passed, finding.measured["tensor"]) == (False, name)
    assert finding.measured["error"] == pytest.approx(0.5**0.5, rel=0.1)
