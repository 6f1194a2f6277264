"""`genner train`: data errors before anything, a whole folder behind it, and processes that are killed."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import forked
import orjson
import pytest
import torch
from conftest import Run
from resuming import PATIENCE
from safetensors.torch import load_file
from small_bases import RECORDS, write_jsonl, write_small_adapter, write_small_base

from convert.gguf_to_hf import gguf_to_hf
from convert.hf_to_gguf import hf_to_gguf
from genner_cli.files.gold import read_gold
from genner_cli.files.hashing import hash_files, weight_files
from genner_cli.prompting import GENERAL_PROMPT, Instructions
from genner_cli.provenance import Provenance
from genner_cli.training.base import find_base
from genner_cli.training.loop import Loop, read_log
from genner_cli.training.options import TrainOptions, changed
from genner_cli.training.packing import Pack
from genner_cli.types import Label

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]
FAST = ("--preset", "tiny", "--epochs", "3", "--batch-size", "8", "--rank", "4")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_jsonl(tmp_path_factory.mktemp("data") / "train.jsonl")


@pytest.fixture
def train(genner: Callable[..., Run], base: Path, data: Path, tmp_path: Path) -> Callable[..., Run]:
    """Trains on `data` into tmp_path/adapter."""

    def run(*options: object, paths: tuple[Path, ...] = (data,)) -> Run:
        return genner("train", *paths, "--base", base, "-o", tmp_path / "adapter", *FAST, *options)

    return run


def test_a_training_leaves_everything_that_export_needs(
    train: Callable[..., Run], base: Path, data: Path, tmp_path: Path
) -> None:
    run = train("--valid", data, "--labels", labels_file(tmp_path))
    assert (run.status, run.stdout) == (0, b"")
    folder = tmp_path / "adapter"
    assert {path.name for path in folder.iterdir()} >= {
        "adapter_model.safetensors", "adapter_config.json", "tokenizer.json", "genner.json", "verify.jsonl",
        "README.md", "training_log.jsonl", "loss.svg",
    }  # fmt: skip
    assert not (folder / "checkpoint").exists()
    said = json.loads((folder / "genner.json").read_text())
    told, made = Instructions.from_metadata(said), Provenance.from_metadata(said)
    assert told
    assert made
    assert told.labels == (Label("PER", "named people"), Label("LOC"))
    assert (told.format, told.depth, told.default_labels) == ("inserted", 1, ("PER", "LOC"))
    assert told.together == (("PER", "LOC"),)
    assert (made.base, made.base_hash) == (str(base), hash_files(weight_files(base)))
    assert made.data_hash == hash_files([data])
    assert (made.options["rank"], made.options["loss"], made.options["epochs"]) == (4, "locked", 3)
    assert made.versions.keys() == {"genner", "torch", "transformers", "peft"}
    kept = read_gold([str(folder / "verify.jsonl")], labels=["PER", "LOC"])
    assert not kept.problems
    assert kept.documents[0].text == RECORDS[0]["text"]
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == str(base)


def test_what_was_trained_exports_through_its_checks_and_extracts_without_a_flag(
    train: Callable[..., Run], genner: Callable[..., Run], data: Path, tmp_path: Path
) -> None:
    assert train("--epochs", "20").status == 0
    exported = genner("export", tmp_path / "adapter", "-o", tmp_path / "model.gguf", "--quantize", "F16")
    assert exported.status == 0, exported.stderr
    assert b"logits" in exported.stdout
    extracted = genner("extract", data, "--model", tmp_path / "model.gguf")
    assert extracted.status == 0
    assert [record["text"] for record in extracted.records] == [record["text"] for record in RECORDS]
    found = {(e["text"], e["label"]) for record in extracted.records for e in record["entities"]}
    assert {label for _, label in found} == {"PER", "LOC"}
    gold = {(r["text"][e["start"] : e["end"]], e["label"]) for r in RECORDS for e in r["entities"]}
    assert len(found & gold) >= len(gold) // 2


def templated_base(folder: Path, template: str) -> Path:
    """A GGUF that genner did not train, with this chat template."""
    base = write_small_base(folder / "templated", words=False)
    (base / "chat_template.jinja").write_text(template)
    return hf_to_gguf(base, folder / "templated.gguf")


def test_a_base_whose_chat_template_cannot_be_used_is_trained_without_it(
    train: Callable[..., Run], base: Path, tmp_path: Path
) -> None:
    gguf = templated_base(tmp_path, "{{ raise_exception('a system message first') }}")
    refused = train("--base", gguf, "--format", "xml")
    assert refused.status == 1
    assert f"genner: {gguf}: its chat template" in refused.stderr
    assert "--no-chat-template" in refused.stderr
    assert not list(tmp_path.glob("adapter*"))
    run = train("--base", gguf, "--format", "xml", "--epochs", 1, "--no-chat-template")
    assert run.status == 0, run.stderr
    said = json.loads((tmp_path / "adapter" / "genner.json").read_text())
    told, made = Instructions.from_metadata(said), Provenance.from_metadata(said)
    assert told
    assert made
    assert told.prompt == GENERAL_PROMPT
    assert made.options["chat_template"] is False
    assert [path.name for path in tmp_path.glob("adapter*")] == ["adapter"]
    needless = train("--base", base, "-o", tmp_path / "other", "--no-chat-template")
    assert (needless.status, "prompt of its own" in needless.stderr) == (2, True), needless.stderr


def test_a_chat_template_writes_the_same_date_on_every_day(tmp_path: Path) -> None:
    """Else a training could not be resumed on another one."""
    template = "{{ strftime_now('%d %b %Y') }} {{ messages[0]['content'] }}"
    folder = gguf_to_hf(templated_base(tmp_path, template), tmp_path / "base")
    assert find_base(folder, "base").prompt.before_labels == f"01 Jan 2026 {GENERAL_PROMPT.before_labels}"


def test_options_that_a_run_did_not_know_had_their_defaults() -> None:
    options = asdict(TrainOptions())
    older = {name: value for name, value in options.items() if name != "chat_template"}
    assert not changed(older, options)
    assert changed(older, {**options, "chat_template": False}) == ["--chat-template was True and is False"]


def labels_file(folder: Path) -> Path:
    path = folder / "labels.yaml"
    path.write_text("PER: named people\nLOC:\n")
    return path


def test_log_curve_and_card_tell_of_the_training(train: Callable[..., Run], data: Path, tmp_path: Path) -> None:
    run = train("--valid", data)
    folder = tmp_path / "adapter"
    lines = read_log(folder / "training_log.jsonl")
    losses = [line["loss"] for line in lines if "loss" in line]
    assert len(losses) == 9
    assert losses[-1] < losses[0]
    validations = [line for line in lines if "valid_f1" in line]
    assert [line["step"] for line in validations] == [3, 6, 9]
    assert validations[-1]["valid_loss"] < validations[0]["valid_loss"]
    root = ElementTree.parse(folder / "loss.svg").getroot()
    assert root.tag.endswith("svg")
    assert "valid" in (folder / "loss.svg").read_text()
    card = (folder / "README.md").read_text()
    best = max(validations, key=lambda line: (line["valid_f1"], -line["valid_loss"]))
    assert f"F1 {best['valid_f1']:.3f} at step {best['step']}" in card
    assert f"Also in the training data: {len(RECORDS)} validation documents." in card
    assert "`PER`" in card
    assert "- learning_rate: 0.002" in card
    assert "None" not in card
    assert "step 9: valid loss" in run.stderr
    assert f"next: genner export {folder} -o model.gguf" in run.stderr
    assert "genner export {this folder} -o model.gguf" in card


@pytest.mark.parametrize("format", ["bracketed", "xml", "category", "occurrence", "offset"])
def test_every_format_of_the_paper_can_be_taught(format: str, train: Callable[..., Run], tmp_path: Path) -> None:
    run = train("--format", format, "--loss", "completion", "--text-weight", 0, "--epochs", 1)
    assert run.status == 0, run.stderr
    assert json.loads((tmp_path / "adapter" / "genner.json").read_text())["genner.format"] == format


def test_nested_entities_need_nested(train: Callable[..., Run], tmp_path: Path) -> None:
    nested = [
        {
            "text": "Bank of Rome",
            "entities": [{"start": 0, "end": 12, "label": "ORG"}, {"start": 8, "end": 12, "label": "LOC"}],
        }
    ]
    path = write_jsonl(tmp_path / "nested.jsonl", nested * 8)
    flat = train(paths=(path,))
    assert flat.status == 1
    assert "--nested" in flat.stderr
    assert train("--nested", paths=(path,)).status == 0
    assert json.loads((tmp_path / "adapter" / "genner.json").read_text())["genner.depth"] == "4"


BAD_DATA = [
    ({"text": "Ann met Bob.", "entities": [{"start": 0, "end": 3, "label": "PER", "text": "Bob"}]}, "not 'Bob'"),
    ({"text": "Ann met Bob.", "entities": [{"start": 0, "end": 3, "label": "DOG"}]}, "'DOG' (1)"),
    (
        {
            "text": "Ann met Bob.",
            "entities": [{"start": 0, "end": 7, "label": "PER"}, {"start": 4, "end": 9, "label": "LOC"}],
        },
        "crosses",
    ),
]  # fmt: skip
BAD_FOR_THE_MODEL = [
    ({"text": "So " * 250, "entities": []}, "tokens"),
    ({"text": "Ann met Bobby.", "entities": [{"start": 8, "end": 10, "label": "PER"}]}, "--format"),
]  # fmt: skip


@pytest.mark.parametrize("bad", [BAD_DATA, BAD_FOR_THE_MODEL])
def test_all_that_is_wrong_with_the_data_is_said_at_once_with_file_and_line(
    bad: list[tuple[dict[str, Any], str]], train: Callable[..., Run], tmp_path: Path
) -> None:
    path = write_jsonl(tmp_path / "bad.jsonl", [*RECORDS, *(record for record, _ in bad)])
    run = train("--types", "PER,LOC", "--cutoff", 300, paths=(path,))
    assert run.status == 1
    assert f"{len(bad)} problems" in run.stderr
    for number, (_, expected) in enumerate(bad, len(RECORDS) + 1):
        said = next(line for line in run.stderr.splitlines() if f"{path}:{number}:" in line)
        assert expected in said
    assert not (tmp_path / "adapter").exists()


def test_bad_documents_can_be_left_out(train: Callable[..., Run], tmp_path: Path) -> None:
    bad = [*BAD_DATA, *BAD_FOR_THE_MODEL]
    path = write_jsonl(tmp_path / "bad.jsonl", [*(record for record, _ in bad), *RECORDS])
    run = train("--types", "PER,LOC", "--cutoff", 300, "--on-bad-data", "skip", paths=(path,))
    assert run.status == 0
    assert [f"{path}:{number}: " in run.stderr for number in range(1, len(bad) + 2)] == [True] * len(bad) + [False]
    assert f"| data | {len(RECORDS)} documents" in (tmp_path / "adapter" / "README.md").read_text()


def test_what_needs_no_model_is_checked_without_torch_and_one_fault_is_one_line(tmp_path: Path) -> None:
    """A valid file with ten labels that the train file lacks, 400 entities in all; torch cannot be imported."""
    train_file = write_jsonl(tmp_path / "train.jsonl", RECORDS)
    other = [{"text": "Ann", "entities": [{"start": 0, "end": 3, "label": f"L{n % 10}"}]} for n in range(400)]
    valid = write_jsonl(tmp_path / "valid.jsonl", other)
    code = (
        "import sys; sys.modules |= dict.fromkeys(('torch', 'transformers', 'peft', 'tokenizers'))\n"
        "from genner_cli.commands import main; main()"
    )
    command = [sys.executable, "-c", code, "train", str(train_file), "--base", "bundled", "-o", str(tmp_path / "out")]
    run = subprocess.run([*command, "--valid", str(valid)], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert len(run.stderr.splitlines()) <= 3
    for expected in ("400 entities", "10 labels", "'L9' (40)", f"{valid}:1, {valid}:2, {valid}:3, ..."):
        assert expected in run.stderr
    run = subprocess.run([*command, "--patience", "3"], capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "--patience" in run.stderr
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x").touch()
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "not empty" in run.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--rank", "0"], "--rank is 0"),
        (["--format", "bracketed", "--loss", "nothing"], "nothing"),
        (["--types", "PER", "--labels", "x.yaml"], "--types cannot be combined with --labels"),
        (["--options", "none.yaml"], "none.yaml: "),
        (["--device", "quantum"], "--device quantum: "),
        (["--device", "cuda:99"], "--device cuda:99: "),
    ],
)
def test_a_wrong_call_says_what_is_wrong(options: list[str], said: str, train: Callable[..., Run]) -> None:
    run = train(*options)
    assert run.status == 2
    assert said in run.stderr
    assert "Traceback" not in run.stderr


def test_qlora_trains_on_a_base_of_four_bits_and_names_the_whole_one(
    train: Callable[..., Run], base: Path, tmp_path: Path
) -> None:
    run = train("--qlora")
    assert run.status == 0, run.stderr
    lines = read_log(tmp_path / "adapter" / "training_log.jsonl")
    assert lines[-1]["loss"] < lines[0]["loss"]
    said = json.loads((tmp_path / "adapter" / "genner.json").read_text())
    assert said["genner.base.hash"] == hash_files(weight_files(base))


def test_qlora_without_bitsandbytes_says_what_to_install(
    train: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    run = train("--qlora")
    assert run.status == 2
    assert "pip install 'genner[qlora]'" in run.stderr


def test_a_base_that_is_not_there_says_how_to_get_it_before_torch_is_loaded(
    genner: Callable[..., Run], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genner_cli.commands.train.needs_training", lambda: pytest.fail("torch is loaded"))
    run = genner("train", data, "--base", "some/model", "-o", tmp_path / "adapter")
    assert run.status == 2
    assert "genner pull some/model" in run.stderr
    run = genner("train", data, "--base", tmp_path, "-o", tmp_path / "adapter")
    assert run.status == 2
    assert "config.json" in run.stderr


def test_options_come_from_preset_file_and_command_line_in_this_order(
    train: Callable[..., Run], tmp_path: Path
) -> None:
    (tmp_path / "options.yaml").write_text("learning-rate: 3e-4\nrank: 2\nepochs: 2\n")
    assert train("--options", tmp_path / "options.yaml").status == 0
    options = json.loads(json.loads((tmp_path / "adapter" / "genner.json").read_text())["genner.training.options"])
    assert (options["learning_rate"], options["rank"], options["epochs"], options["alpha"]) == (3e-4, 4, 3, 128)


def test_augmentation_teaches_other_label_lists(train: Callable[..., Run], tmp_path: Path) -> None:
    assert train("--augment").status == 0
    said = json.loads((tmp_path / "adapter" / "genner.json").read_text())
    assert json.loads(said["genner.together"]) == []
    options = json.loads(said["genner.training.options"])
    assert (options["subset"], options["shuffle"], options["negatives"]) == (0.5, True, 3)
    assert (options["ancestor"], options["alias"]) == (0.4, 0.4)


def test_labels_above_others_and_aliases_are_learnt_and_only_asked_for_by_name(
    train: Callable[..., Run], data: Path, tmp_path: Path
) -> None:
    tree = tmp_path / "tree.yaml"
    tree.write_text("place: {definition: somewhere, aliases: [spot], LOC: a town}\nPER: {aliases: [human]}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loop, "run", stopped)
        assert train("--augment", "--labels", tree, "--valid", data).status == 130
    other = tmp_path / "other.yaml"
    other.write_text("place: {definition: somewhere, LOC: a town}\nPER: {aliases: [human, spot]}\n")
    refused = train("--augment", "--labels", other, "--valid", data, "--resume")
    assert (refused.status, "label tree was another" in refused.stderr) == (2, True)
    assert train("--augment", "--labels", tree, "--valid", data, "--resume").status == 0
    said = json.loads((tmp_path / "adapter" / "genner.json").read_text())
    labels = {"LOC": "a town", "PER": "", "place": "somewhere", "human": "", "spot": "somewhere"}
    assert json.loads(said["genner.labels"]) == labels
    assert json.loads(said["genner.default_labels"]) == ["LOC", "PER"]


def test_a_folder_that_is_taken_is_not_written_to(train: Callable[..., Run], tmp_path: Path) -> None:
    assert train().status == 0
    before = sorted((path, path.stat().st_mtime_ns) for path in (tmp_path / "adapter").iterdir())
    run = train()
    assert run.status == 2
    assert "trained model" in run.stderr
    assert sorted((path, path.stat().st_mtime_ns) for path in (tmp_path / "adapter").iterdir()) == before


def test_a_label_that_only_validation_has_is_named(train: Callable[..., Run], tmp_path: Path) -> None:
    valid = write_jsonl(
        tmp_path / "valid.jsonl", [{"text": "Ann.", "entities": [{"start": 0, "end": 3, "label": "DOG"}]}]
    )
    run = train("--valid", valid)
    assert run.status == 1
    assert f"{valid}:1: 1 entity in 1 document with 1 label that the label set " in run.stderr
    assert "'DOG' (1)" in run.stderr


@pytest.mark.parametrize("content", ['{"opt', "[]", "{}"])
def test_a_broken_run_file_is_told(content: str, train: Callable[..., Run], tmp_path: Path) -> None:
    (tmp_path / "adapter" / "checkpoint").mkdir(parents=True)
    (tmp_path / "adapter" / "checkpoint" / "run.json").write_text(content)
    run = train("--resume")
    assert run.status == 1
    assert "run.json is broken" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_training_killed_before_its_first_checkpoint_begins_anew(train: Callable[..., Run], tmp_path: Path) -> None:
    (tmp_path / "adapter" / "checkpoint").mkdir(parents=True)
    assert train("--resume").status == 0


def test_an_interrupted_training_says_how_to_resume_and_from_which_step(
    train: Callable[..., Run], tmp_path: Path
) -> None:
    one_step, steps = Loop._one, iter(range(5))

    def interrupted(self: Loop, packs: Sequence[Pack]) -> None:
        if next(steps) == 4:
            raise KeyboardInterrupt
        one_step(self, packs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loop, "_one", interrupted)
        run = train("--checkpoint-every", 3)
    assert run.status == 130
    assert f"interrupted\ngenner: the checkpoint in {tmp_path / 'adapter'} is of step 3; resume with" in run.stderr
    resumed = train("--checkpoint-every", 3, "--resume")
    assert (resumed.status, "\nresuming from step 3\n" in resumed.stderr) == (0, True), resumed.stderr


@pytest.mark.parametrize("record", [None, {"text": "  ", "entities": []}, {"text": "No one.", "entities": []}])
def test_data_without_anything_to_learn_are_a_usage_error(
    record: dict[str, object] | None, train: Callable[..., Run], tmp_path: Path
) -> None:
    run = train(paths=(write_jsonl(tmp_path / "data.jsonl", [record] if record else []),))
    assert run.status == 2
    assert re.search(r"data\.jsonl: .*train on", run.stderr)


def test_validation_without_documents_is_refused_before_anything_is_trained(
    train: Callable[..., Run], tmp_path: Path
) -> None:
    blank = write_jsonl(tmp_path / "blank.jsonl", [{"text": "  \n ", "entities": []}])
    run = train("--valid", blank)
    assert (run.status, "step 1" in run.stderr) == (2, False)
    assert f"{blank}: no documents" in run.stderr
    assert "--patience needs --valid" in train("--patience", 2).stderr


def test_a_training_that_diverges_is_an_error_and_leaves_no_adapter(train: Callable[..., Run], tmp_path: Path) -> None:
    assert "--learning-rate is inf" in train("--learning-rate", "inf").stderr
    run = train("--learning-rate", "1e30")
    assert run.status == 1
    assert "--learning-rate" in run.stderr
    assert not (tmp_path / "adapter" / "genner.json").exists()


def test_any_seed_of_63_bits_will_do(train: Callable[..., Run]) -> None:
    assert train("--seed", 2**63 - 1, "--epochs", 1).status == 0
    assert "--seed is -1" in train("--seed", -1).stderr


def test_a_training_is_gone_on_with_only_with_its_own_validation_data(
    train: Callable[..., Run], data: Path, tmp_path: Path
) -> None:
    interrupted = tmp_path / "adapter"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("genner_cli.training.run.write_adapter", stopped)
        assert train("--valid", data).status == 130
    assert "validation data" in train("--resume").stderr
    (interrupted / "checkpoint" / "best.safetensors").write_bytes(b"broken")
    assert "best.safetensors is broken" in train("--resume", "--valid", data).stderr
    (interrupted / "checkpoint" / "run.json").unlink()
    run = train("--resume", "--valid", data, "--learning-rate", "0.5")
    assert (run.status, "run.json is missing" in run.stderr) == (1, True)


def stopped(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_document_with_one_bad_chunk_is_left_out_whole(train: Callable[..., Run], tmp_path: Path) -> None:
    text = "Ann met Bob. " * 100 + "x" * 300 + " went."
    long = {"text": text, "entities": [{"start": 1300, "end": 1600, "label": "PER"}]}
    path = write_jsonl(tmp_path / "long.jsonl", [long, *RECORDS])
    run = train("--chunk-bytes", 200, "--on-bad-data", "skip", "--batch-size", 1, "--epochs", 1, paths=(path,))
    assert run.status == 0
    assert len(read_log(tmp_path / "adapter" / "training_log.jsonl")) == len(RECORDS)


def test_processes_without_a_rank_are_told_how_to_start(
    train: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    run = train()
    assert (run.status, "torchrun" in run.stderr) == (2, True)


def test_the_same_call_gives_the_same_adapter(train: Callable[..., Run], tmp_path: Path) -> None:
    assert train("--augment", "--dropout", "0.1").status == 0
    (tmp_path / "adapter").rename(tmp_path / "first")
    assert train("--augment", "--dropout", "0.1").status == 0
    assert same_weights(tmp_path / "first", tmp_path / "adapter")


def same_weights(one: Path, other: Path, *, tolerance: float = 0.0) -> bool:
    a, b = (load_file(folder / "adapter_model.safetensors") for folder in (one, other))
    return a.keys() == b.keys() and all(torch.allclose(a[name], b[name], rtol=0, atol=tolerance) for name in a)


def arguments(base: Path, data: Path, out: Path, *options: str) -> list[str]:
    fixed = ["train", str(data), "--valid", str(data), "--base", str(base), "-o", str(out), "--device", "cpu"]
    return [*fixed, *FAST, "--batch-size", "4", "--checkpoint-every", "2", *options]


def test_a_killed_training_goes_on_to_the_same_result(
    genner: Callable[..., Run], base: Path, data: Path, tmp_path: Path
) -> None:
    options = ["--dropout", "0.1", "--augment"]
    whole = genner(*arguments(base, data, tmp_path / "whole", *options))
    assert whole.status == 0, whole.stderr
    killed = tmp_path / "killed"
    again = arguments(base, data, killed, *options)
    process = forked.start(again, tmp_path / "said")
    wait_for(lambda: len(read_log(killed / "training_log.jsonl")) > 6, process)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    begun = genner(*again)
    assert (begun.status, "--resume" in begun.stderr) == (2, True), begun.stderr
    other = genner(*again, "--resume", "--learning-rate", "0.5")
    assert other.status == 2
    assert re.search(r"--learning-rate .*0\.002 .*0\.5", other.stderr)
    resumed = genner(*again, "--resume")
    assert resumed.status == 0, resumed.stderr
    assert same_weights(tmp_path / "whole", killed)
    logs = [
        [{key: value for key, value in line.items() if key != "tokens_per_second"} for line in read_log(path)]
        for path in (tmp_path / "whole" / "training_log.jsonl", killed / "training_log.jsonl")
    ]
    assert logs[0] == logs[1]


def wait_for(ready: Callable[[], bool], process: ForkServerProcess) -> None:
    """Until something is there, while the process lives."""
    while not ready():
        assert process.is_alive(), "it ended before it could be killed"
        time.sleep(0.005)


def test_two_processes_train_what_one_trains(
    genner: Callable[..., Run], base: Path, data: Path, tmp_path: Path
) -> None:
    one = genner(*arguments(base, data, tmp_path / "one"))
    assert one.status == 0, one.stderr
    said = [tmp_path / "0", tmp_path / "1"]
    two = [
        forked.start(arguments(base, data, tmp_path / "two"), errors, **variables)
        for errors, variables in zip(said, forked.ranks(2), strict=True)
    ]
    for process in two:
        process.join(PATIENCE)
        process.kill()  # where the other one has failed
    texts = [path.read_text() for path in said]
    assert [process.exitcode for process in two] == [0, 0], texts
    assert ["genner export" in text for text in texts] == [True, False]
    losses = [
        [line["loss"] for line in read_log(tmp_path / run / "training_log.jsonl") if "loss" in line]
        for run in ("one", "two")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert same_weights(tmp_path / "one", tmp_path / "two", tolerance=1e-3)


def test_trained_on_its_own_output_shape(train: Callable[..., Run], tmp_path: Path) -> None:
    """What extract writes can be trained on: scores and all."""
    scored = [{**record, "entities": [{**entity, "score": 0.5} for entity in record["entities"]]} for record in RECORDS]
    path = tmp_path / "scored.jsonl"
    path.write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in scored))
    assert train(paths=(path,)).status == 0


def test_mistakes_are_reported_before_torch_is_loaded(tmp_path: Path) -> None:
    """By every command that loads it, in one process in which it cannot be imported."""
    data = str(write_jsonl(tmp_path / "data.jsonl", RECORDS))
    out, none = str(tmp_path / "out"), str(tmp_path / "none.gguf")
    adapter = str(write_small_adapter(tmp_path / "adapter"))
    retention = ("probe", "retention", "-o", out)
    calls = [
        ("train", data, "--base", none, "-o", out),
        ("train", data, "--base", "small", "--loss", "locked", "--teacher", none, "-o", out),
        ("export", none, "-o", "m.gguf"),
        ("export", adapter, "--base", "small", "-o", "m.gguf", "--no-verify", "--imatrix", none),
        ("export", adapter, "--base", none, "-o", "m.gguf", "--no-verify"),
        ("export", adapter, "--base", "small", "-o", "m.gguf", "--verify", none),
        (*retention, "--before", "small", "--after", none),
        (*retention, "--before", none, "--after", adapter),
        (*retention, "--before", "small", "--after", adapter, "--suite", none),
        *(("probe", name, data, data, "--base", none, "-o", out) for name in ("formats", "memorization")),
        ("data", "folds", data, "--base", none, "-o", out),
    ]
    code = """
import contextlib, io, json, sys
sys.modules |= dict.fromkeys(("torch", "transformers", "peft", "tokenizers"))
from genner_cli.commands import main
found = []
for call in json.loads(sys.argv[1]):
    sys.argv[1:] = call
    with contextlib.redirect_stderr(io.StringIO()) as said:
        try:
            main()
        except SystemExit as end:
            found.append((end.code, said.getvalue()))
print(json.dumps(found))
"""
    run = subprocess.run([sys.executable, "-c", code, json.dumps(calls)], capture_output=True, text=True, check=True)
    for call, (status, said) in zip(calls, json.loads(run.stdout), strict=True):
        assert (status, "none.gguf" in said) == (2, True), (call, said)
    assert not Path(out).exists()
