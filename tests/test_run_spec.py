"""A run's spec: each option that shapes a record refuses a resumed run when it changes, and no other does."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import gguf
import numpy as np
import orjson
import pytest
from asking import news
from changed_gguf import finish
from random_model import write_random_model
from resuming import assert_same, documents, manifest, records, write_documents

from genner_cli.engine.chat import CHAT_TEMPLATE
from genner_cli.engine.gguf_header import read_header
from genner_cli.errors import UsageError
from genner_cli.files.calibrations import calibration_path, calibration_value
from genner_cli.files.hashing import fingerprint
from genner_cli.files.writing import encode_value
from genner_cli.generation import Constraint, EngineOptions
from genner_cli.options import Compared, option_of
from genner_cli.running.backend import PROMPT_DATE
from genner_cli.running.llama import LlamaBackend
from genner_cli.running.local import resumable, run
from genner_cli.running.spec import ClusterName, Nearness, RunSpec
from genner_cli.types import Calibration, Document, Entity, Knot, Label, LabelNode, LabelTree, ScoreMap

CHAT = (
    "{{ strftime_now('%d %b %Y') }}\n{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def write_adapter(path: Path, model: Path, seed: int) -> None:
    """An adapter of random numbers on a model, as a GGUF."""
    header, name = read_header(model), "blk.0.attn_q.weight"
    width, height = header.tensors[name].shape
    numbers = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, str(header.metadata["general.architecture"]))
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 4.0)
    for half, shape in (("lora_a", (4, width)), ("lora_b", (height, 4))):
        writer.add_tensor(f"{name}.{half}", numbers.normal(0, 0.01, shape).astype(np.float32))
    finish(writer)


class Files(NamedTuple):
    """What options name, of different content; beside the third model stands a calibration. The models have a short
    vocabulary, since each run opens one. `foreign`: one that genner did not train, whose chat template
    writes the date."""

    inputs: tuple[Path, Path]
    models: tuple[Path, Path, Path]
    foreign: Path
    examples: tuple[Path, Path]
    instructions: tuple[Path, Path]
    adapters: tuple[Path, Path]
    calibrations: tuple[Path, Path]
    patterns: tuple[Path, Path]
    hints: tuple[Path, Path]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("files")
    values = [*documents(2), {"id": 2, "text": " ".join(news()[:5])}]
    inputs = (
        write_documents(folder / "one.jsonl", values),
        write_documents(folder / "two.jsonl", [values[0], {"id": 1, "text": "Eve met Otto."}, values[2]]),
    )
    models = folder / "one.gguf", folder / "two.gguf", folder / "three.gguf"
    content = write_random_model(models[0]).read_bytes()
    models[1].write_bytes(content[:-64] + bytes(64))
    models[2].write_bytes(content)
    adapters = folder / "a.gguf", folder / "b.gguf"
    for seed, path in enumerate(adapters):
        write_adapter(path, models[0], seed=seed)
    foreign = write_random_model(folder / "foreign.gguf", change={CHAT_TEMPLATE: CHAT}, leave_out=["genner."])
    examples = folder / "shown-a.jsonl", folder / "shown-b.jsonl"
    for path, text in zip(examples, ("Ann met Eve.", "Eve met Ann."), strict=True):
        entity = {"start": 0, "end": 3, "label": "PER"}
        write_documents(path, [{"text": text, "entities": [entity]}, {"text": "It rained.", "entities": []}])
    hints = folder / "hints-a.jsonl", folder / "hints-b.jsonl"
    for path, end in zip(hints, (3, 7), strict=True):
        entity = {"start": 0, "end": end, "label": "PER", "score": 0.5}
        write_documents(path, [{"text": "Ann met Eve.", "entities": [entity]}, {**values[0], "entities": [entity]}])
    instructions = folder / "one.txt", folder / "two.txt"
    for path, text in zip(instructions, ("Find people.", "Find men."), strict=True):
        path.write_text(text)
    calibrations = folder / "one.json", folder / "two.json"
    for path, threshold in zip(calibrations, (0.1, 0.6), strict=True):
        calibration = Calibration(ScoreMap((Knot(0.0, 0.0), Knot(1.0, 0.9))), {"LOC": threshold})
        value = calibration_value(
            calibration,
            [models[0]],
            fingerprint([models[0]]),
            asked={"format": "inserted", "constraint": "source"},
            more={},
        )
        path.write_bytes(encode_value(value))
    calibration_path([models[2]]).write_bytes(calibrations[0].read_bytes())
    patterns = folder / "one.yaml", folder / "two.yaml"
    for path, word in zip(patterns, ("the", "of"), strict=True):
        path.write_text(f"patterns:\n  - {{label: WORD, words: [{word}]}}\n")
    return Files(inputs, models, foreign, examples, instructions, adapters, calibrations, patterns, hints)


class Change(NamedTuple):
    """Two values of an option, and other options of both runs that let them make sense."""

    before: Any
    after: Any
    given: Mapping[str, Any] = MappingProxyType({})


def change(name: str, files: Files) -> Change:
    """Real values of each option, before and after."""
    on_cluster = {"cluster": ClusterName.RAY}
    foreign = {"model": str(files.foreign), "labels": (Label("PER"), Label("LOC")), "limit": 1}
    shown = {**foreign, "examples": str(files.examples[0])}
    return {
        "inputs": Change((str(files.inputs[0]),), (str(files.inputs[1]),)),
        "labels": Change((Label("PER"),), (Label("PER", "a person"),)),
        "labels_field": Change(None, "asked"),
        "strict_labels": Change(False, True),
        "open": Change(True, False, {"model": str(files.foreign), "limit": 1}),
        "depth": Change(1, 2, {"format": "xml"}),
        "model": Change(str(files.models[0]), str(files.models[1])),
        "adapter": Change(str(files.adapters[0]), str(files.adapters[1])),
        "download": Change(False, True),
        "format": Change("inserted", "xml"),
        "constraint": Change(Constraint.SOURCE, Constraint.FORMAT, {"format": "xml"}),
        "calibration": Change(*map(str, files.calibrations), {"model": str(files.models[0])}),
        "no_calibration": Change(False, True, {"model": str(files.models[2])}),
        "whole_words": Change(False, True, {"format": "xml"}),
        "patterns": Change(*map(str, files.patterns)),
        "no_model": Change(False, True, {"patterns": str(files.patterns[0])}),
        "examples": Change(*map(str, files.examples), foreign),
        "shots": Change(1, 2, shown),
        "nearest": Change(None, Nearness.WORDS, shown),
        "choose": Change(False, True, {**shown, "format": "xml", "nearest": "words"}),
        "hints": Change(*map(str, files.hints), foreign),
        "example_hints": Change(*map(str, files.hints), {**shown, "hints": str(files.hints[0])}),
        "instruction": Change(*map(str, files.instructions), foreign),
        "no_chat_template": Change(False, True, foreign),
        "prompt_date": Change("2026-02-03", "2026-02-04", foreign),
        "text_field": Change("text", "headline"),
        "id_field": Change("id", "key"),
        "chunk_bytes": Change(1000, 64),
        "overlap_bytes": Change(0, 32, {"chunk_bytes": 64}),
        "max_document_bytes": Change(10_000, 20_000),
        "seconds_per_document": Change(600.0, 6000.0),
        "limit": Change(3, 4),
        "output": Change("out.jsonl", "other.jsonl"),
        "min_score": Change(0.0, 0.5),
        "keep_completion": Change(False, True),
        "restart": Change(False, True),
        "retry_errors": Change(False, True),
        "shard": Change("1/2", "2/2"),
        "cluster": Change(None, ClusterName.RAY),
        "address": Change("head:1", "head:2", on_cluster),
        "actors": Change(1, 2, on_cluster),
        "block_bytes": Change(400, 500, on_cluster),
        "slots": Change(1, 2),
        "context": Change(8192, 4096),
        "batch_tokens": Change(512, 256),
        "threads": Change(1, 2),
        "gpu_layers": Change(0, -1),
    }[name]


OPTIONS = {
    item.name: option for owner in (RunSpec, EngineOptions) for item in fields(owner) if (option := option_of(item))
}
ON_CLUSTER = {"cluster", "address", "actors", "block_bytes"}


def specs(name: str, files: Files) -> tuple[RunSpec, RunSpec]:
    """The runs before and after the change of an option."""
    changed = change(name, files)
    common = {"inputs": (str(files.inputs[0]),), "output": "out.jsonl", "threads": 1, "slots": 1, "gpu_layers": 0}
    common["model"] = None if name == "no_model" else str(files.models[0])
    before, after = (RunSpec.of(**{**common, **changed.given, name: value}) for value in changed[:2])
    assert before != after
    return before, after


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Callable[[RunSpec], None]:
    """Puts the complete output of a run into the current folder; one that several options change is made once."""
    made: dict[RunSpec, Path] = {}

    def put(spec: RunSpec) -> None:
        if spec in made:
            shutil.copytree(made[spec], ".", dirs_exist_ok=True)
        else:
            run(spec, LlamaBackend())
            made[spec] = shutil.copytree(".", tmp_path_factory.mktemp("complete"), dirs_exist_ok=True)

    return put


def test_every_field_of_a_run_has_an_option() -> None:
    assert {item.name for item in fields(RunSpec)} - OPTIONS.keys() == {"engine", "chosen", "tree"}
    assert {item.name for item in fields(EngineOptions)} - OPTIONS.keys() == {"flash_attention"}


@pytest.mark.parametrize("name", sorted(OPTIONS.keys() - ON_CLUSTER))
def test_a_resumed_run_refuses_what_shapes_a_record_and_what_it_does_not_refuse_shapes_none(
    name: str, files: Files, complete: Callable[[RunSpec], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before, after = specs(name, files)
    complete(before)
    content = Path("out.jsonl").read_bytes()
    if OPTIONS[name].compared is Compared.NEVER:
        run(after, LlamaBackend())
        run(replace(after, output="anew.jsonl", retry_errors=False), LlamaBackend())
        assert_same(records(Path("anew.jsonl")), [orjson.loads(line) for line in content.splitlines()])
    else:
        assert run(before, LlamaBackend()).complete, "the same run again has nothing to do"
        with pytest.raises(UsageError):
            run(after, LlamaBackend())
        assert Path("out.jsonl").read_bytes() == content


@pytest.mark.parametrize("name", sorted(ON_CLUSTER))
@pytest.mark.parametrize("complete", [False, True])
def test_the_way_counts_only_until_an_output_is_complete(
    name: str, complete: bool, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before, after = specs(name, files)
    with LlamaBackend().open(before) as opened:
        settings, others = opened.facts.settings(before), opened.facts.settings(after)
    with resumable(before) as output:
        output.begin(settings)
        if complete:
            output.finish()
    with resumable(after) as output:
        if OPTIONS[name].compared is Compared.WAY and not complete:
            with pytest.raises(UsageError):
                output.begin(others)
        else:
            output.begin(others)
            assert output.finished == complete


class Tomorrow(date):
    """A day on which no test runs."""

    @classmethod
    def today(cls) -> Tomorrow:
        return cls(2126, 2, 3)


def test_a_run_resumes_with_the_date_in_its_prompts_on_another_day(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    spec = specs("instruction", files)[0]
    run(spec, LlamaBackend())
    begun = manifest(Path("out.jsonl"))["model"][PROMPT_DATE]
    monkeypatch.setattr("genner_cli.running.llama.date", Tomorrow)
    more = run(replace(spec, limit=2), LlamaBackend())
    assert (more.documents, manifest(Path("out.jsonl"))["model"][PROMPT_DATE]) == (1, begun)
    run(replace(spec, restart=True), LlamaBackend())
    assert manifest(Path("out.jsonl"))["model"][PROMPT_DATE] == "2126-02-03"


def test_a_manifest_names_no_date_where_the_prompt_has_none(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run(replace(specs("instruction", files)[0], no_chat_template=True), LlamaBackend())
    assert PROMPT_DATE not in manifest(Path("out.jsonl"))["model"]


def test_the_manifest_says_what_counts_by_the_names_of_options(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run(specs("limit", files)[0], LlamaBackend())
    said = manifest(tmp_path / "out.jsonl")
    by_value = {name.replace("_", "-") for name, option in OPTIONS.items() if option.compared is Compared.VALUE}
    assert by_value <= said["options"].keys()
    assert said["model"]["file"] == str(files.models[0])
    assert (said["share"], said["way"]) == ({}, {})


@pytest.mark.parametrize(
    "options",
    [
        {"min_score": 1.5},
        {"chunk_bytes": 1},
        {"limit": 0},
        {"depth": 17},
        {"calibration": "x.json", "no_calibration": True},
        {"actors": 2},
        {"shard": "1/2"},
        {"shard": "1/2", "output": "x.jsonl", "limit": 3},
        {"shard": "1/2", "output": "x.jsonl", "cluster": ClusterName.RAY},
        {"cluster": ClusterName.RAY, "output": "x.jsonl", "retry_errors": True},
        {"cluster": ClusterName.RAY, "limit": 3},
        {"no_model": True},
        {"no_model": True, "patterns": "x.yaml", "labels": (Label("PER"),)},
        {"retry_errors": True},
        {"restart": True},
        {"shots": 2},
        {"nearest": "words"},
        {"examples": "x.jsonl", "shots": 0},
        {"prompt_date": "today"},
        {"inputs": ("-",), "output": "x.jsonl", "retry_errors": True},
    ],
)
def test_what_makes_no_run_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        RunSpec(**options)


def test_labels_that_gold_data_lack_are_refused() -> None:
    """Of a tree, entities may have paths, aliases, and labels above those that are asked for."""
    entities = [Entity(0, 3, label, "Ada") for label in ("PER", "town")]
    documents = [Document("Ada", entities=(entity,)) for entity in entities]
    with pytest.raises(UsageError, match="PER, town"):
        RunSpec(labels=(Label("person"),)).for_gold(documents)
    assert RunSpec(labels=(Label("person"),)).for_gold([Document("Ada")]).labels == (Label("person"),)
    assert RunSpec(labels=(Label("PER"), Label("ORG"))).for_gold(documents).labels == (Label("PER"), Label("ORG"))
    city = LabelNode(Label("city"), aliases=("town",))
    for nodes in ((city,), (LabelNode(Label("town"), (LabelNode(Label("city")),)),)):
        assert RunSpec(tree=LabelTree(nodes)).for_gold(documents).labels == (Label("city"),)


def test_labels_that_no_gold_entity_has_are_named_in_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    documents = [Document("Ada", entities=(Entity(0, 3, label, "Ada"),)) for label in ("PER", "town")]
    city = LabelNode(Label("city"), aliases=("town",))
    above = LabelNode(Label("PER"), (LabelNode(Label("poet")),))
    for asked in ({}, {"labels": (Label("PER"),)}, {"tree": LabelTree((city,))}, {"tree": LabelTree((above, city))}):
        RunSpec(**asked).for_gold(documents)
    RunSpec(labels=(Label("PER"),)).for_gold([Document("Ada")])
    assert not caplog.records
    RunSpec(labels=(Label("PER"), Label("PERS"))).for_gold(documents)
    (message,) = caplog.messages
    assert "PERS" in message


def test_more_threads_than_the_engine_takes_are_refused() -> None:
    for threads in (0, 513, 100_000):
        with pytest.raises(UsageError, match="--threads"):
            EngineOptions(threads=threads)
    assert EngineOptions(threads=512).thread_count == 512
    assert 1 <= EngineOptions().thread_count <= 512


def test_an_option_that_there_is_not_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        RunSpec.of(no_such_option=1)
