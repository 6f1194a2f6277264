"""`from genner_cli import extract`: the same records as the command's."""

from __future__ import annotations

import logging
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from asking import instructions_of
from conftest import Run
from random_model import write_random_model

import genner_cli
from genner_cli import extract
from genner_cli.engine.model import Model
from genner_cli.errors import ModelNotFound, UsageError
from genner_cli.generation import Constraint, EngineOptions
from genner_cli.running.llama import LlamaBackend
from genner_cli.running.spec import RunSpec
from genner_cli.types import Label

DOCUMENTS: list[Any] = [
    "Ann of Acme met Bob.",
    {"id": 7, "text": "Eve flew to Rome.", "year": 2024},
    {"id": "bad", "text": None},
    {"other": "field"},
    "",
    " ",
    "⟦<|end|>⟧",
]


@pytest.fixture
def records(random_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """Runs `extract` on the model of random weights, one document after the other."""
    fixed = {"model": str(random_path), "slots": 1, "threads": 1, "gpu_layers": 0}
    return lambda documents, **options: list(extract(documents, **{**fixed, **options}))


def test_records_are_those_of_the_command(
    records: Callable[..., list[dict[str, Any]]], genner: Callable[..., Run], random_path: Path, tmp_path: Path
) -> None:
    lines = [orjson.dumps(document if isinstance(document, dict) else {"text": document}) for document in DOCUMENTS]
    (tmp_path / "in.jsonl").write_bytes(b"\n".join(lines))
    told = genner("extract", tmp_path / "in.jsonl", "--model", random_path, "--slots", 1, "--types", "PER,ORG").records
    given = records(DOCUMENTS, types="PER,ORG")
    assert len(told) == len(given) == len(DOCUMENTS)
    for one, other, document in zip(given, told, DOCUMENTS, strict=True):
        assert ("error" in one) == ("error" in other)
        if "error" not in one:
            assert list(one) == list(other)
            assert one == other
            assert one["text"] == (document if isinstance(document, str) else document["text"])
            assert all(one["text"][e["start"] : e["end"]] == e["text"] for e in one["entities"])
    assert [number for number, record in enumerate(given) if "error" in record] == [2, 3]
    assert given[1]["year"] == 2024
    assert any(record["entities"] for record in given)


def test_an_error_names_the_document_by_its_number(records: Callable[..., list[dict[str, Any]]]) -> None:
    _, record = records(["x", {"id": 1, "txt": "y"}])
    assert record["id"] == 1
    assert record["entities"] == []
    assert record["error"]["message"].startswith("document 2: no field 'text'; ")
    assert "'id', 'txt'" in record["error"]["message"]


def test_a_missing_text_is_one_failed_document(records: Callable[..., list[dict[str, Any]]]) -> None:
    """As empty cells of a table come out of pandas."""
    none, number, binary, text = records([None, math.nan, b"x", "Ann"], types="PER")
    for record, shown in ((none, "None"), (number, "nan"), (binary, "b'x'")):
        assert f"{shown} is neither a text nor a record" in record["error"]["message"]
        assert record["entities"] == []
    assert "error" not in text


@pytest.mark.parametrize(
    "types", ["PER,ORG", ["PER", "ORG"], [Label("PER"), Label("ORG")], ("PER", Label("ORG", "a company"))]
)
def test_types_may_be_names_or_labels(records: Callable[..., list[dict[str, Any]]], types: Any) -> None:
    (record,) = records(["Ann of Acme met Bob in Rome, and Eve of Emca met Otto in Oslo."], types=types)
    assert {entity["label"] for entity in record["entities"]} <= {"PER", "ORG"}
    assert record["entities"]


def test_without_types_the_models_own_labels_are_asked_for(random_path: Path, random_model: Model) -> None:
    with LlamaBackend().open(RunSpec(model=str(random_path), engine=EngineOptions(threads=1))) as opened:
        assert opened.facts.task.names == instructions_of(random_model).default_labels
        assert all(label.definition for label in opened.facts.task.labels)


def test_a_known_label_gets_the_definition_it_was_trained_with(random_path: Path, random_model: Model) -> None:
    known = instructions_of(random_model).labels[0]
    asked = (Label(known.name), Label(known.name.lower() + "-x", "mine"), Label("BARE"))
    with LlamaBackend().open(RunSpec(labels=asked, model=str(random_path), engine=EngineOptions(threads=1))) as opened:
        assert opened.facts.task.labels == (known, *asked[1:])


def test_records_come_as_documents_are_read(random_path: Path) -> None:
    drawn = 0

    def documents() -> Iterator[str]:
        nonlocal drawn
        for number in range(50):
            drawn += 1
            yield f"Document {number}."

    results = extract(documents(), model=str(random_path), slots=2, threads=1)
    assert next(results)["text"] == "Document 0."
    assert drawn < 10
    results.close()  # type: ignore[attr-defined]


def test_a_constraint_may_be_given_by_name(records: Callable[..., list[dict[str, Any]]]) -> None:
    assert RunSpec(constraint="off").constraint is Constraint.OFF  # type: ignore[arg-type]
    held = records(["Ann met Bob."], constraint="source")
    assert held == records(["Ann met Bob."], constraint=Constraint.SOURCE) == records(["Ann met Bob."])
    assert "error" in records(["Ann met Bob."], constraint="off")[0]
    with pytest.raises(ValueError, match="no-such"):
        RunSpec(constraint="no-such")  # type: ignore[arg-type]


def test_what_is_wrong_with_the_call_is_raised(records: Callable[..., list[dict[str, Any]]], tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"none\.gguf' does not exist"):
        records(["x"], model=str(tmp_path / "none.gguf"))
    with pytest.raises(UsageError, match=r"label 'A\]'"):
        records(["x"], types=["A]"])
    with pytest.raises(UsageError, match="output format 'yaml'"):
        records(["x"], format="yaml")
    with pytest.raises(UsageError, match="a list of Labels with definitions"):
        records(["x"], types={"PER": "a person"})
    with pytest.raises(TypeError, match="no_such_option"):
        records(["x"], no_such_option=1)


def test_another_format_than_it_was_trained_for_is_logged(
    records: Callable[..., list[dict[str, Any]]], caplog: pytest.LogCaptureFixture
) -> None:
    for format, warned in (("inserted", False), ("xml", True)):
        with caplog.at_level(logging.WARNING, "genner"):
            records(["x"], format=format, types="PER")
        assert ("was trained to write inserted; in xml" in caplog.text) == warned


def test_of_the_format_of_a_model_that_genner_did_not_train_nothing_is_logged(
    records: Callable[..., list[dict[str, Any]]], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    foreign = write_random_model(tmp_path / "foreign.gguf", leave_out=["genner."])
    with caplog.at_level(logging.WARNING, "genner"):
        records(["x"], model=str(foreign), format="xml", types="PER")
    assert "was trained to write" not in caplog.text


def test_an_unknown_label_is_logged_or_refused(
    records: Callable[..., list[dict[str, Any]]], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "genner"):
        records(["x", "y", "z"], types="PERSONN")
    assert len(caplog.records) == 1
    assert "'PERSONN'" in caplog.text
    with pytest.raises(UsageError, match=r"trained .*label 'PERSONN'"):
        records(["x"], types="PERSONN", strict_labels=True)


def test_importing_the_package_loads_no_model_library_and_prints_nothing() -> None:
    heavy = {"genner_cli.engine.llama", "numpy", "torch", "typer"}
    code = f"import sys, genner_cli; print(sorted({heavy!r} & set(sys.modules)))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (told.stdout, told.stderr) == ("[]\n", "")


def test_the_package_has_no_other_names_of_that_kind() -> None:
    assert genner_cli.__all__ == ["Extractor", "Label", "extract", "run"]
    assert genner_cli.Label is Label
    with pytest.raises(AttributeError, match="extrct"):
        genner_cli.extrct  # noqa: B018
