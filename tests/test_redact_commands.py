"""`genner redact` and `genner restore`: from an extraction to a redacted text and back, interrupted and resumed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from conftest import Run
from resuming import manifest, records, wait_for_lines, write_documents

Genner = Callable[..., Run]
TEXT = "Ada Lovelace met Bob in Oslo. ADA LOVELACE wrote to bob."
ENTITIES = [
    {"start": 0, "end": 12, "label": "PER", "text": "Ada Lovelace", "score": 0.9},
    {"start": 17, "end": 20, "label": "PER"},
    {"start": 24, "end": 28, "label": "LOC"},
]
RECORD = {"id": 7, "text": TEXT, "author": "Ada", "entities": ENTITIES, "completion": ["[Ada | PER]"]}


def write(folder: Path, *values: Any) -> Path:
    return write_documents(folder / "in.jsonl", values)


def test_by_default_labels_stand_for_names_and_other_fields_are_left_out(genner: Genner, tmp_path: Path) -> None:
    run = genner("redact", write(tmp_path, RECORD))
    assert (run.status, "author (1)" in run.stderr) == (0, True)
    text = "[PER] met [PER] in [LOC]. ADA LOVELACE wrote to bob."
    places = [(0, 5, "PER"), (10, 15, "PER"), (19, 24, "LOC")]
    entities = [
        {"start": start, "end": end, "label": label, "text": f"[{label}]", "operator": "label"}
        for start, end, label in places
    ]
    assert run.records == [{"id": 7, "text": text, "entities": entities}]


def test_operators_by_label_repeats_and_fields_to_keep(genner: Genner, tmp_path: Path) -> None:
    options = ("--operator", "mask", "--operator", "LOC=keep", "--repeat", "--keep-field", "author")
    (record,) = genner("redact", write(tmp_path, RECORD), *options).records
    assert record["text"] == "*** ******** met *** in Oslo. *** ******** wrote to bob."
    assert record["author"] == "Ada"
    assert record["entities"][2] == {"start": 24, "end": 28, "label": "LOC", "text": "Oslo"}


def test_what_is_dropped_is_gone(genner: Genner, tmp_path: Path) -> None:
    (record,) = genner("redact", write(tmp_path, RECORD), "--operator", "drop").records
    assert record == {"id": 7, "text": " met  in . ADA LOVELACE wrote to bob.", "entities": []}


@pytest.mark.parametrize(
    "bad",
    [
        {"id": 1, "text": "Ada was here.", "entities": [], "error": {"message": "Ada: failed"}},
        {"id": 1, "text": "Ada was here.", "entities": [{"start": 0, "end": 99, "label": "PER"}]},
        {"id": 1, "text": "Ada was here."},
        {"id": 1, "text": ["Ada was here."], "entities": []},
    ],
)
def test_a_record_that_cannot_be_redacted_has_nothing_of_its_text(
    genner: Genner, tmp_path: Path, bad: dict[str, Any]
) -> None:
    run = genner("redact", write(tmp_path, bad, RECORD), "--keep-field", "*")
    assert run.status == 1
    failed, good = run.records
    assert good["text"].startswith("[PER] met")
    assert failed.keys() == {"id", "entities", "error"}
    assert b"Ada" not in run.stdout.splitlines()[0]
    assert f"{tmp_path}/in.jsonl:1" in failed["error"]["message"]


def test_the_reason_of_a_record_that_failed_before_is_that_of_its_extraction(genner: Genner, tmp_path: Path) -> None:
    failed = {"id": 1, "entities": [], "error": {"message": "scan.jsonl:4: not JSON"}}
    run = genner("redact", write(tmp_path, failed, RECORD))
    assert (run.status, "scan.jsonl:4: not JSON" in run.stderr, "--text-field" in run.stderr) == (1, True, False)


@pytest.mark.parametrize(
    ("options", "value"),
    [
        (["--operator", "PER=hide"], "'hide'"),
        (["--operator", "PER=mask", "--operator", "PER=drop"], "PER"),
        (["--operator", "mask", "--operator", "drop"], "drop"),
        (["--operator", "pseudonym"], "--key-file"),
        (["--key-file", "x.key"], "--operator pseudonym"),
        (["--operator", "pseudonym", "--key-file", "in.jsonl"], "in.jsonl"),
        (["-o", "out.parquet"], "out.parquet"),
        (["-o", "in.jsonl"], "in.jsonl"),
    ],
)
def test_a_wrong_command_line_is_refused(
    genner: Genner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], value: str
) -> None:
    before = write(tmp_path, RECORD).read_bytes()
    monkeypatch.chdir(tmp_path)
    run = genner("redact", "in.jsonl", *options)
    assert (run.status, run.stdout) == (2, b"")
    assert value in run.stderr
    assert (tmp_path / "in.jsonl").read_bytes() == before


def test_a_table_of_entities_is_refused_as_a_whole(genner: Genner, tmp_path: Path) -> None:
    """It holds no texts; the records that do are beside it."""
    table = tmp_path / "t.csv"
    table.write_text("id,start,end,label,text\n7,0,12,PER,Ada Lovelace\n")
    write(tmp_path, RECORD).rename(tmp_path / "t.csv.records.jsonl")
    for command in ("redact", "judge"):
        run = genner(command, table, "-o", tmp_path / "out.jsonl")
        assert (run.status, "t.csv.records.jsonl" in run.stderr) == (2, True)
    assert not list(tmp_path.glob("out.jsonl*"))


def test_a_label_that_no_entity_has_is_reported(genner: Genner, tmp_path: Path) -> None:
    run = genner("redact", write(tmp_path, RECORD), "--operator", "PERSON=mask")
    assert (run.status, "PERSON" in run.stderr) == (0, True)


def pseudonymized(genner: Genner, folder: Path, *options: object) -> Path:
    out = folder / "out.jsonl"
    more = ("--operator", "pseudonym", "--key-file", folder / "names.key", "-o", out)
    assert genner("redact", write(folder, RECORD, RECORD), *more, *options).status == 0
    return out


def test_pseudonyms_are_put_back_as_each_was_spelled(genner: Genner, tmp_path: Path) -> None:
    out = pseudonymized(genner, tmp_path, "--repeat", "--keep-field", "author")
    first, second = records(out)
    assert first == second
    ada, _, _, again = first["entities"]
    assert ada["text"] == again["text"]
    assert "Ada" not in first["text"]
    assert (tmp_path / "names.key").stat().st_mode & 0o077 == 0
    run = genner("restore", out, "--key-file", tmp_path / "names.key")
    assert run.records[0]["text"] == TEXT
    assert run.records[0]["entities"][0] == {"start": 0, "end": 12, "label": "PER", "text": "Ada Lovelace"}
    assert run.records[0]["author"] == "Ada"


def test_what_is_no_pseudonym_stays_where_it_stands(genner: Genner, tmp_path: Path) -> None:
    out = pseudonymized(genner, tmp_path, "--operator", "LOC=label")
    record, _ = genner("restore", out, "--key-file", tmp_path / "names.key").records
    assert record["text"] == TEXT.replace("Oslo", "[LOC]")
    assert record["entities"][2] == {"start": 24, "end": 29, "label": "LOC", "text": "[LOC]", "operator": "label"}


def test_another_key_puts_nothing_back(genner: Genner, tmp_path: Path) -> None:
    out = pseudonymized(genner, tmp_path)
    (tmp_path / "other").mkdir()
    pseudonymized(genner, tmp_path / "other", "--operator", "PER=mask")
    run = genner("restore", out, "--key-file", tmp_path / "other" / "names.key")
    assert run.status == 1
    assert all(record["error"] for record in run.records)
    assert genner("restore", out, "--key-file", tmp_path / "none.key").status == 2
    assert not (tmp_path / "none.key").exists()


def test_a_text_that_was_changed_since_is_not_restored(genner: Genner, tmp_path: Path) -> None:
    out = pseudonymized(genner, tmp_path)
    changed = [{**record, "text": "So " + record["text"]} for record in records(out)]
    run = genner("restore", write_documents(tmp_path / "changed.jsonl", changed), "--key-file", tmp_path / "names.key")
    assert run.status == 1
    assert "changed.jsonl:1" in run.stderr


def test_other_options_or_another_key_are_refused_for_an_output_that_is_there(genner: Genner, tmp_path: Path) -> None:
    out = pseudonymized(genner, tmp_path)
    before = out.read_bytes()
    source, key = tmp_path / "in.jsonl", ("--key-file", tmp_path / "names.key")
    for options in (
        ("--operator", "pseudonym", "--key-file", tmp_path / "new.key"),
        ("--operator", "pseudonym", *key, "--repeat"),
        ("--operator", "mask"),
    ):
        assert genner("redact", source, *options, "-o", out).status == 2
    again = genner("redact", source, "--operator", "pseudonym", *key, "-o", out)
    assert (again.status, "nothing to do" in again.stderr) == (0, True)
    assert out.read_bytes() == before


def many(folder: Path, count: int) -> Path:
    """Records with names of their own and names that they share."""
    values = []
    for number in range(count):
        name = f"Ada N{number % 97}x{number}"
        text = f"{name} met Bob; {name.upper()} left."
        names = [{"start": 0, "end": len(name), "label": "PER"}, {"start": len(name) + 5, "end": len(name) + 8}]
        values.append({"id": number, "text": text, "entities": [names[0], {**names[1], "label": "PER"}]})
    return write_documents(folder / "many.jsonl", values)


def test_a_run_that_was_killed_resumes_to_the_same_bytes_and_can_be_restored(genner: Genner, tmp_path: Path) -> None:
    source = many(tmp_path, 6000)
    options = ("--operator", "pseudonym", "--key-file", str(tmp_path / "names.key"), "--repeat")
    out, whole = tmp_path / "out.jsonl", tmp_path / "whole.jsonl"
    command = [sys.executable, "-m", "genner_cli", "redact", str(source), *options, "-o", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        wait_for_lines(Path(f"{out}.partial"), 500, process)
    finally:
        process.kill()
        process.wait()
    assert not out.exists()
    resumed = genner("redact", source, *options, "-o", out)
    assert (resumed.status, "already done in an earlier run" in resumed.stderr) == (0, True)
    assert genner("redact", source, *options, "-o", whole).status == 0
    assert out.read_bytes() == whole.read_bytes()
    assert manifest(out)["ledger"] == manifest(whole)["ledger"]
    restored = genner("restore", out, "--key-file", tmp_path / "names.key").records
    assert [record["text"] for record in restored] == [record["text"] for record in records(source)]


def test_a_changed_input_is_not_resumed(genner: Genner, tmp_path: Path) -> None:
    out = pseudonymized(genner, tmp_path)
    write(tmp_path, RECORD, {**RECORD, "entities": ENTITIES[:1]})
    options = ("--operator", "pseudonym", "--key-file", tmp_path / "names.key")
    run = genner("redact", tmp_path / "in.jsonl", *options, "-o", out)
    assert (run.status, "in.jsonl:2" in run.stderr) == (2, True)


def test_what_the_model_finds_is_gone_from_the_text(genner: Genner, tmp_path: Path) -> None:
    texts = ["John Smith flew from London to New York.", "Angela Merkel, ANGELA MERKEL and Merkel met in Berlin."]
    documents = write(tmp_path, *({"id": number, "text": text} for number, text in enumerate(texts)))
    assert genner("extract", documents, "--types", "PER,ORG,LOC", "-o", tmp_path / "out.jsonl").status == 0
    extracted = records(tmp_path / "out.jsonl")
    redacted = genner("redact", tmp_path / "out.jsonl", "--repeat").records
    names = [(entity["text"], record["text"]) for before, record in zip(extracted, redacted, strict=True)
             for entity in before["entities"]]  # fmt: skip
    assert len(names) >= 4
    assert not any(name in text for name, text in names)
    assert orjson.dumps(redacted).count(b"[LOC]") >= 2
