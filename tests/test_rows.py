"""Parquet as an output of extraction: lines come back byte for byte, and everything that reads predictions reads it."""

from __future__ import annotations

import re
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
from asking import news
from conftest import Run
from hypothesis import given
from hypothesis import strategies as st
from resuming import manifest, write_documents
from strategies import examples, hostile_text

from genner_cli.files.annotations import parquet
from genner_cli.files.predictions import read_predictions
from genner_cli.files.writing import encode
from genner_cli.types import Document, Entity, Extraction, FailedDocument

Genner = Callable[..., Run]
NAMES = {"text_field": "text", "id_field": "id"}
COLUMNS = ["id", "text", "fields", "entities", "error", "completion"]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | hostile_text(most=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(hostile_text(most=3), inner, max_size=3),
    max_leaves=6,
)
ids = st.none() | st.integers() | st.booleans() | hostile_text(most=4)
other_fields = st.dictionaries(hostile_text(most=3), json_values, max_size=4).map(
    lambda fields: {name: value for name, value in fields.items() if name not in ("id", "text")}
)


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    """An output record of any document, done or failed, as it is written."""
    fields = draw(other_fields)
    if draw(st.booleans()):
        fields = {"id": draw(ids.filter(lambda id: not isinstance(id, int) or -(2**63) <= id < 2**64)), **fields}
    id = None if fields.get("id") is None else str(fields["id"])
    text = draw(hostile_text(most=8).filter(len))
    error = draw(st.none() | hostile_text(most=4))
    scores = draw(st.lists(st.none() | st.floats(0, 1), max_size=4))
    entities = tuple(Entity(0, 1, f"L{number}", text[:1], score) for number, score in enumerate(scores))
    document: Document | FailedDocument = Document(text, id, fields=fields)
    if draw(st.booleans()):
        document = FailedDocument("in:1: torn", "in:1", id, fields)
    completions = tuple(draw(st.lists(hostile_text(most=4), max_size=2)))
    return encode(Extraction(document, entities, error, completions), keep_completion=draw(st.booleans()))


def unpacked(path: Path) -> list[bytes]:
    with path.open("rb") as file:
        return list(parquet.unpack(file, **NAMES))


def packed(path: Path, written: list[bytes], names: dict[str, str] = NAMES) -> Path:
    with path.open("wb") as file:
        parquet.pack(iter(written), file, **names)
    return path


@examples(60)
@given(written=st.lists(lines(), max_size=5))
def test_lines_come_back_byte_for_byte(written: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = packed(tmp_path_factory.mktemp("rows") / "out.parquet", written)
    assert unpacked(path) == written
    assert pq.read_schema(path).names == COLUMNS, "whatever the documents bring along"


def test_columns_have_the_names_of_the_fields_and_plain_values(tmp_path: Path) -> None:
    document = Document("Ann ran", "7", fields={"nr": 7, "year": 2024, "tags": ["a"]})
    done = Extraction(document, (Entity(0, 3, "PER", "Ann", 0.5),))
    failed = Extraction(FailedDocument("in:2: not JSON", "in:2"))
    names = {"text_field": "body", "id_field": "nr"}
    path = packed(tmp_path / "out.parquet", [encode(each, **names) for each in (done, failed)], names)
    entity = {"start": 0, "end": 3, "label": "PER", "text": "Ann", "score": 0.5, "source": None}
    fields = '{"nr":7,"year":2024,"tags":["a"]}'
    nothing = dict.fromkeys(["nr", "body", "fields", "error", "completion"])
    assert pq.read_table(path).to_pylist() == [
        {**nothing, "nr": "7", "body": "Ann ran", "fields": fields, "entities": [entity]},
        {**nothing, "entities": [], "error": "in:2: not JSON"},
    ]


def test_predictions_are_read_from_it_as_from_lines(tmp_path: Path) -> None:
    values = [
        Extraction(Document("Ann ran", "7", fields={"id": 7, "year": 2024}), (Entity(0, 3, "PER", "Ann", 0.5),)),
        Extraction(FailedDocument("in:2: not JSON", "in:2", "b", {"id": "b", "x": [1]}), error="in:2: not JSON"),
        Extraction(Document("Bob", "c", fields={"id": "c"}), completions=("Bob",)),
    ]
    written = [encode(each, keep_completion=True) for each in values]
    (tmp_path / "out.jsonl").write_bytes(b"".join(written))
    path = packed(tmp_path / "out.parquet", written)

    def told(name: Path) -> list[Any]:
        found = read_predictions([str(name)])
        return [
            (getattr(each.document, "text", None), each.document.id, each.document.fields, each.entities,
             [entity.score for entity in each.entities], each.error, each.completions)
            for each in found
        ]  # fmt: skip

    assert told(path) == told(tmp_path / "out.jsonl")


def counted(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in parquet.unpack(file, **NAMES))


def test_memory_does_not_grow_with_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "GROUP_ROWS", 100)
    line = encode(Extraction(Document("Ann ran to Rome. " * 20, fields={"year": 2024}), (Entity(0, 3, "PER", "Ann"),)))

    def many(count: int) -> Iterator[bytes]:
        return (line for _ in range(count))

    peaks = []
    for count in (500, 5000):
        tracemalloc.start()
        with (tmp_path / f"{count}.parquet").open("wb") as file:
            parquet.pack(many(count), file, **NAMES)
        assert counted(tmp_path / f"{count}.parquet") == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 200_000
    assert pq.ParquetFile(tmp_path / "5000.parquet").num_row_groups == 50


def test_long_lines_end_a_row_group_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "GROUP_BYTES", 1000)
    path = packed(tmp_path / "out.parquet", [encode(Extraction(Document("x" * 600)))] * 4)
    assert pq.ParquetFile(path).num_row_groups == 2


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    values: list[object] = [{"id": n, "text": text, "year": 2024} for n, text in enumerate(news()[2:8])]
    return write_documents(tmp_path / "in.jsonl", [*values, {"id": "bad"}])


def test_the_command_writes_it_goes_on_with_it_and_retries_what_failed_in_it(
    genner: Genner, docs: Path, tmp_path: Path
) -> None:
    out, plain = tmp_path / "out.parquet", tmp_path / "out.jsonl"
    command = ("extract", docs, "--types", "PER,ORG,LOC")
    assert genner(*command, "-o", plain).status == 1
    assert genner(*command, "-o", out).status == 1
    assert b"".join(unpacked(out)) == plain.read_bytes()
    assert not Path(f"{out}.partial").exists()
    assert "complete" in genner(*command, "-o", out).stderr
    write_documents(docs, [*map(orjson.loads, docs.read_bytes().splitlines()[:6]), {"id": "bad", "text": "Ann ran."}])
    assert genner(*command, "-o", out, "--retry-errors").status == 0
    assert genner(*command, "-o", plain, "--retry-errors").status == 0
    assert b"".join(unpacked(out)) == plain.read_bytes()
    assert manifest(out)["ledger"] == manifest(plain)["ledger"]
    assert manifest(out)["ledger"]["failed"]["input"] == 0


def test_evaluate_and_view_read_it(genner: Genner, docs: Path, tmp_path: Path) -> None:
    out, plain = tmp_path / "out.parquet", tmp_path / "out.jsonl"
    for path in (out, plain):
        assert genner("extract", docs, "--limit", 6, "-o", path).status == 0
    gold = plain
    scored = genner("evaluate", gold, "--predictions", out)
    assert (scored.status, scored.stdout) == (0, genner("evaluate", gold, "--predictions", plain).stdout)
    assert genner("view", out, "--gold", gold, "-o", tmp_path / "page.html").status == 0


def test_a_missing_extra_and_a_name_that_collides_are_told_before_any_work(
    genner: Genner, docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = genner("extract", docs, "-o", tmp_path / "out.parquet", "--text-field", "fields")
    assert run.status == 2
    assert "column 'fields' " in run.stderr
    assert "--text-field fields" in run.stderr
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    run = genner("extract", docs, "-o", tmp_path / "out.parquet")
    assert run.status == 2
    assert "pip install 'genner[parquet]'" in run.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"in.jsonl"}


def test_a_file_that_is_no_output_is_not_gone_on_with(genner: Genner, docs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    assert genner("extract", docs, "-o", out, "--limit", 2).status == 0
    out.write_bytes(b"PAR1 and no more")
    run = genner("extract", docs, "-o", out)
    assert run.status == 2
    assert re.search(r"cannot be read \(.*Parquet", run.stderr)
    assert "Traceback" not in run.stderr
