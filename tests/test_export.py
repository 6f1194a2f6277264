"""`genner export`: from what training leaves to a GGUF that `genner extract` runs, or to no GGUF at all."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from adapters import INSTRUCTIONS, adapted, save_adapter, write_gold
from changed_gguf import finish
from conftest import Run
from gguf import GGUFWriter
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers_models import new_model, new_tokenizer, save

from convert.architectures import architecture
from convert.gguf_numbers import numbers_of
from convert.gguf_to_hf import gguf_to_hf
from convert.merge_lora import merge_lora
from convert.quantize import quantize
from genner_cli import hub
from genner_cli.engine.gguf_header import read_header

Genner = Callable[..., Run]
Export = Callable[..., Run]


@pytest.fixture(scope="module")
def on_bundled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an adapter on the bundled model that changes it a little."""
    here = tmp_path_factory.mktemp("bundled")
    base = gguf_to_hf(hub.BUNDLED, here / "base")
    said = json.loads((base / "genner.json").read_text(encoding="utf-8"))
    changed = adapted(AutoModelForCausalLM.from_pretrained(base), size=0.1)
    folder = save_adapter(changed, AutoTokenizer.from_pretrained(base), base, here / "adapter", said, "bundled")
    write_gold(folder)
    return folder


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an adapter on a tiny model of random weights."""
    here = tmp_path_factory.mktemp("small")
    model = new_model("llama", max_position_embeddings=1024, hidden_size=256, num_hidden_layers=2)
    base = save(model, new_tokenizer(), here / "base")
    folder = save_adapter(
        adapted(model), new_tokenizer(), base, here / "adapter", INSTRUCTIONS.to_metadata(), str(base)
    )
    write_gold(folder)
    return folder


@pytest.fixture
def copy(small: Path, tmp_path: Path) -> Path:
    """One to be damaged."""
    return Path(shutil.copytree(small, tmp_path / "copy"))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out" / "model.gguf"


@pytest.fixture
def export(genner: Genner, out: Path) -> Export:
    """Runs the command on one thread."""
    return lambda folder, *options: genner("export", folder, "--gguf", "-o", out, "--threads", "1", *options)


def names(out: Path) -> list[str]:
    """What stands where the file was to be."""
    return sorted(path.name for path in out.parent.glob("*"))


def found_by(genner: Genner, text: str, *options: object) -> set[tuple[str, str]]:
    [record] = genner("extract", "-", *options, stdin=json.dumps({"text": text}).encode()).records
    assert "error" not in record
    return {(entity["text"], entity["label"]) for entity in record["entities"]}


def test_a_trained_folder_becomes_files_that_extract_runs_with_no_further_flag(
    on_bundled: Path, export: Export, genner: Genner, out: Path
) -> None:
    run = export(on_bundled, "--quantize", "q4_k_m", "--quantize", "F16")
    assert run.status == 0, run.stderr
    made = {type: out.with_name(f"model.{type}.gguf") for type in ("Q4_K_M", "F16")}
    assert names(out) == sorted([*(path.name for path in made.values()), "model.gguf.report.json"])
    for type, path in made.items():
        assert read_header(path).quantization == type
        assert f"{type:<8} entities       ok" in run.stdout.decode()
        assert found_by(genner, "Angela Merkel flew to Paris.", "--model", path) == {
            ("Angela Merkel", "PER"), ("Paris", "LOC"),
        }  # fmt: skip
    report = json.loads(out.with_name("model.gguf.report.json").read_text())
    assert (report["passed"], report["checked"], report["base"]) == (True, True, "bundled")
    assert report["files"] == {type: str(path) for type, path in made.items()}
    [logits] = [found for found in report["findings"] if (found["check"], found["subject"]) == ("logits", "model")]
    assert logits["measured"]["largest_difference"] < 1e-3 == logits["measured"]["limit"]
    assert logits["measured"]["top_1_agreement"] == 1.0


def test_what_the_model_says_of_itself_and_where_it_comes_from_is_shown(
    small: Path, export: Export, genner: Genner, out: Path
) -> None:
    assert export(small, "--quantize", "Q8_0").status == 0
    told = json.loads(genner("info", out, "--json").stdout)
    assert told["instructions"]["labels"] == {"PER": "a person", "ORG": "", "LOC": ""}
    assert told["instructions"]["format"] == "xml"
    assert told["provenance"]["base"] == str(small.parent / "base")
    assert told["provenance"]["options"] == {"rank": 4}
    assert re.fullmatch("[0-9a-f]{64}", told["weights_hash"])
    assert f"weights with SHA-256 {told['weights_hash']}" in genner("info", out).stdout.decode()


def test_an_adapter_by_itself_works_on_the_gguf_of_its_base(
    on_bundled: Path, export: Export, genner: Genner, out: Path
) -> None:
    run = export(on_bundled, "--adapter-only")
    assert run.status == 0, run.stderr
    assert names(out) == ["model.gguf", "model.gguf.report.json"]
    assert out.stat().st_size < hub.BUNDLED.stat().st_size / 8
    assert json.loads(genner("info", out, "--json").stdout)["provenance"]["base"] == "bundled"
    text = "Angela Merkel flew to Paris."
    assert found_by(genner, text, "--adapter", out) == {("Angela Merkel", "PER"), ("Paris", "LOC")}
    refused = genner("extract", "-", "--model", out, stdin=b'{"text": "x"}')
    assert refused.status == 1
    assert "--adapter" in refused.stderr


def test_a_model_that_was_trained_as_a_whole_is_exported_too(small: Path, export: Export, tmp_path: Path) -> None:
    folder = merge_lora(small.parent / "base", small, tmp_path / "whole")
    assert export(folder, "--quantize", "Q8_0", "--verify", small / "verify.jsonl").status == 0
    run = export(folder, "--base", "bundled", "--verify", small / "verify.jsonl")
    assert (run.status, "--adapter-only and --base" in run.stderr) == (2, True)


def test_a_base_model_becomes_the_gguf_on_which_its_adapters_work(
    small: Path, export: Export, genner: Genner, out: Path, tmp_path: Path
) -> None:
    base = small.parent / "base"
    assert export(base, "--quantize", "F16").status == 0
    told = json.loads(genner("info", out, "--json").stdout)
    assert (told["instructions"], told["provenance"]) == (None, None)
    report = json.loads(out.with_name("model.gguf.report.json").read_text())
    assert [(found["check"], found["subject"]) for found in report["findings"]] == [
        ("prompt tokens", "model"), ("logits", "model"), ("tensors", "F16"), ("logits", "F16"),
    ]  # fmt: skip
    of_base = out.rename(tmp_path / "base.gguf")
    assert export(small, "--adapter-only").status == 0
    run = genner("extract", "-", "--model", of_base, "--adapter", out, stdin=b'{"text": "It rained."}')
    assert run.status == 0, run.stderr
    assert export(base, "--quantize", "F16", "--verify", small / "verify.jsonl").status == 0


def test_an_importance_matrix_is_used(small: Path, export: Export, out: Path, tmp_path: Path) -> None:
    run = export(small, "--quantize", "Q2_K_S", "--no-verify")
    assert (run.status, "--imatrix" in run.stderr, names(out)) == (1, True, [])
    tensors = read_header(quantize(whole_gguf(small, tmp_path), tmp_path / "x.gguf", "F16")).tensors
    writer = GGUFWriter(tmp_path / "imatrix.gguf", "imatrix")
    for name, tensor in tensors.items():
        if len(tensor.shape) == 2:
            writer.add_tensor(f"{name}.in_sum2", np.arange(1, tensor.shape[0] + 1, dtype=np.float32)[None])
            writer.add_tensor(f"{name}.counts", np.ones((1, 1), np.float32))
    finish(writer)
    run = export(small, "--quantize", "Q2_K_S", "--no-verify", "--imatrix", tmp_path / "imatrix.gguf")
    assert run.status == 0, run.stderr
    assert "nothing was checked (--no-verify)" in run.stdout.decode()
    assert json.loads(out.with_name("model.gguf.report.json").read_text())["checked"] is False


def whole_gguf(adapter: Path, folder: Path) -> Path:
    from convert.hf_to_gguf import hf_to_gguf

    return hf_to_gguf(merge_lora(adapter.parent / "base", adapter, folder / "merged"), folder / "whole.gguf")


def test_what_a_killed_run_has_left_is_cleared_away(small: Path, export: Export, out: Path) -> None:
    left = out.with_name("model.gguf.partial")
    (left / "merged").mkdir(parents=True)
    (left / "whole.gguf").write_text("half")
    assert export(small, "--quantize", "Q8_0").status == 0
    assert names(out) == ["model.gguf", "model.gguf.report.json"]


def test_a_place_that_cannot_be_written_is_told_in_one_line(
    small: Path, export: Export, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out.parent.write_text("a file")
    run = export(small)
    assert (run.status, f"genner: {out.parent}: " in run.stderr) == (1, True)
    out.parent.unlink()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("convert.export.hf_to_gguf", full)
    run = export(small)
    assert (run.status, names(out)) == (1, [])
    assert re.search(rf"{out.parent}: .*No space left on device\)", run.stderr)


def test_what_is_not_installed_is_named(small: Path, export: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "convert.export", None)
    run = export(small)
    assert (run.status, "pip install 'genner[train]'" in run.stderr) == (2, True)


def wrong_rope(config: Any) -> Any:
    """Queries and keys in transformers' order."""
    right = architecture(config)
    return replace(right, tensors=tuple(replace(tensor, heads=0) for tensor in right.tensors))


def test_a_model_that_computes_something_else_is_not_written_and_the_earlier_one_stays(
    small: Path, export: Export, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out.parent.mkdir()
    out.write_text("earlier")
    monkeypatch.setattr("convert.hf_to_gguf.architecture", wrong_rope)
    run = export(small)
    assert run.status == 1
    assert re.search(f"{out} .*parity", run.stderr)
    assert re.search(rf"model: logits: {small / 'verify.jsonl'}:\d: .*token 1 \('", run.stderr)
    assert "(attn_q, attn_k), RoPE" in run.stderr
    assert out.read_text() == "earlier"
    assert names(out) == ["model.gguf", "model.gguf.failed.report.json"]
    report = json.loads(out.with_name("model.gguf.failed.report.json").read_text())
    assert (report["passed"], report["files"]) == (False, {})
    monkeypatch.undo()
    assert export(small, "--quantize", "F16").status == 0
    assert names(out) == ["model.gguf", "model.gguf.report.json"]


def test_a_tokenizer_that_merges_something_else_is_not_written(
    small: Path, export: Export, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = GGUFWriter.add_token_merges
    monkeypatch.setattr(GGUFWriter, "add_token_merges", lambda writer, merges: add(writer, merges[1:]))
    run = export(small)
    assert run.status == 1
    assert re.search("model: prompt tokens: .* tokenizer", run.stderr)
    assert names(out) == ["model.gguf.failed.report.json"]


def test_a_type_that_loses_too_much_is_not_written_and_the_others_are(
    small: Path, export: Export, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaging(source: Path, made: Path, type: str, **options: Any) -> Path:
        quantize(source, made, type, **options)
        if type == "Q8_0":
            tensor = read_header(made).tensors["blk.1.ffn_down.weight"]
            data = bytearray(made.read_bytes())
            data[tensor.offset : tensor.offset + tensor.size] = bytes(tensor.size)
            made.write_bytes(data)
            zeros = numbers_of(made, tensor)
            assert zeros is not None
            assert not zeros.any()
        return made

    monkeypatch.setattr("convert.export.quantize", damaging)
    run = export(small, "--quantize", "Q8_0", "--quantize", "F16")
    assert run.status == 1
    assert re.search(r"Q8_0: tensors: blk\.1\.ffn_down\.weight .*\b1\b", run.stderr)
    assert names(out) == ["model.F16.gguf", "model.gguf.report.json"]


def without(folder: Path, name: str) -> None:
    (folder / name).unlink()


def unfinished(folder: Path) -> None:
    without(folder, "genner.json")
    (folder / "checkpoint").mkdir()


def cut(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def crossing(folder: Path) -> None:
    with (folder / "verify.jsonl").open("a") as file:
        file.write('{"text": "x", "entities": [{"start": 0, "end": 9, "label": "PER"}]}\n')


def of_another_prompt(folder: Path) -> None:
    path = folder / "genner.json"
    path.write_text(path.read_text().replace('"genner.prompt.version": "1"', '"genner.prompt.version": "0"'))


def on_another_base(folder: Path) -> None:
    path = folder / "genner.json"
    pairs = json.loads(path.read_text())
    path.write_text(json.dumps({**pairs, "genner.base.hash": "f" * 64}))


DAMAGES: dict[str, tuple[Callable[[Path], None], int]] = {
    r"genner train --resume": (unfinished, 1),
    r"no genner\.json .*config\.json": (lambda folder: without(folder, "genner.json"), 2),
    r"adapter_model\.safetensors cannot be read": (cut, 1),
    r"adapter_model\.safetensors .*No such file": (lambda folder: without(folder, "adapter_model.safetensors"), 1),
    r"no verify\.jsonl; .*--verify": (lambda folder: without(folder, "verify.jsonl"), 2),
    r"verify\.jsonl: 1 problem, and 5 ": (crossing, 2),
    r"prompt version 0": (of_another_prompt, 1),
    rf"\(SHA-256 .*{'f' * 12}": (on_another_base, 1),
    r"no tokenizer\.json": (lambda folder: without(folder, "tokenizer.json"), 1),
}


@pytest.mark.parametrize("said", DAMAGES)
def test_a_damaged_folder_is_refused_and_leaves_nothing(said: str, copy: Path, export: Export, out: Path) -> None:
    damage, status = DAMAGES[said]
    damage(copy)
    run = export(copy)
    assert re.search(said, run.stderr)
    assert (run.status, names(out)) == (status, [])
    assert "Traceback" not in run.stderr


def test_the_coarse_type_of_the_base_is_refused_before_any_work(copy: Path, export: Export, out: Path) -> None:
    path = copy / "genner.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "genner.base.file.type": "Q4_K_S"}))
    run = export(copy)
    assert "Q4_K_M: the weights of the base are Q4_K_S" in run.stderr
    assert "merging" not in run.stderr
    assert (run.status, names(out)) == (2, [])


OPTIONS: dict[str, tuple[str, ...]] = {
    "'Q9'; .* BF16, F16, F32": ("--quantize", "Q9"),
    "--quantize and --imatrix": ("--adapter-only", "--quantize", "Q8_0"),
    r"model\.bin\.gguf": ("-o", "model.bin"),
}


@pytest.mark.parametrize("said", OPTIONS)
def test_options_that_cannot_be_are_told_before_any_work(said: str, small: Path, export: Export, out: Path) -> None:
    run = export(small, *OPTIONS[said])
    assert re.search(said, run.stderr)
    assert (run.status, names(out)) == (2, [])
