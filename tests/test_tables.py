"""genner_cli.files.tables: entities as rows, of hostile texts, and through the command."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from resuming import write_documents
from strategies import examples, hostile_text

from genner_cli.data.contexts import context
from genner_cli.files.tables import COLUMNS, write_entities

TEXTS = [
    {"id": 7, "text": "John Smith flew from London\nto New York.", "page": 1},
    {"text": 'Mary "Mae" Jones, of Paris'},
    {"id": "a,b", "text": None},
]


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))


@examples(200)
@given(hostile_text(most=60), st.integers(0, 50), st.integers(1, 50), st.integers(0, 60))
def test_a_context_is_one_line_around_its_mention(text: str, start: int, length: int, width: int) -> None:
    end = min(len(text), start + length)
    start = min(start, end)
    around = context(text, start, end, width)
    assert " ".join(text[start:end].split()) in around
    assert around == " ".join(around.split())
    assert around.startswith("…") >= (start > width)
    assert around.endswith("…") >= (end + width < len(text))
    assert set(around) <= set(text) | {"…", " "}


def test_a_context_is_cut_between_words() -> None:
    text = "In the year 1912 the old painter Emil Nolde moved from Alsen to Berlin with his wife Ada."
    at = text.index("Emil Nolde")
    assert context(text, at, at + 10, 13) == "…old painter Emil Nolde moved from…"
    assert context(text, 0, 2, 200) == text


ids = st.one_of(st.none(), st.integers(-9, 9), hostile_text(most=60))


@examples(30)
@given(st.lists(st.tuples(ids, hostile_text(most=60), st.booleans()), max_size=5))
@pytest.mark.parametrize("path", ["a.csv", "a.tsv"])
def test_cells_are_read_back_as_they_were(path: str, values: list[tuple[Any, str, bool]]) -> None:
    records = []
    for id, text, scored in values:
        entity = {"start": 0, "end": len(text), "label": "A B", "text": text} | ({"score": 0.25} if scored else {})
        records.append({"id": id, "text": text, "entities": [entity] if text else []})
    target = io.BytesIO()
    write_entities((orjson.dumps(each) + b"\n" for each in records), target, path)
    delimiter = "\t" if path.endswith(".tsv") else ","
    header, *rows = csv.reader(io.StringIO(target.getvalue().decode(), newline=""), delimiter=delimiter, strict=True)
    assert tuple(header) == COLUMNS
    expected = [
        (f"#{n}" if r["id"] is None else str(r["id"]), "0", str(len(r["text"])), "A B", r["text"], r["entities"][0])
        for n, r in enumerate(records, 1)
        if r["entities"]
    ]
    assert [tuple(row[:5]) for row in rows] == [each[:5] for each in expected]
    assert [row[5] for row in rows] == ["0.25" if "score" in each[5] else "" for each in expected]


@pytest.mark.parametrize("name", ["out.csv", "out.tsv"])
def test_extract_writes_a_table_keeps_its_records_and_resumes(genner: Any, tmp_path: Path, name: str) -> None:
    docs = write_documents(tmp_path / "docs.jsonl", TEXTS)
    out = tmp_path / name
    call = ("extract", str(docs), "--types", "PER,ORG,LOC", "-o", str(out))
    run = genner(*call)
    assert run.status == 1
    assert f"{out}.records.jsonl" in run.stderr
    kept = [orjson.loads(line) for line in Path(f"{out}.records.jsonl").read_bytes().splitlines()]
    assert [record.get("page") for record in kept] == [1, None, None]
    assert "error" in kept[2]
    rows = table(out)
    expected = [
        (str(record.get("id", "#2")), str(e["start"]), str(e["end"]), e["label"], e["text"], str(e["score"]))
        for record in kept
        for e in record["entities"]
    ]
    assert [tuple(row.values())[:6] for row in rows] == expected != []
    assert "London to New York" in rows[-1]["context"] or rows[-1]["id"] == "#2"
    before = out.read_bytes()
    write_documents(docs, [*TEXTS[:2], {"id": "a,b", "text": "Ann met Bob in Rome."}, {"text": "Emil left."}])
    assert genner(*call, "--retry-errors").status == 0
    assert out.read_bytes().startswith(before)
    assert {row["id"] for row in table(out)} >= {"7", "#2", "a,b"}


def test_shards_of_a_folder_are_joined_to_the_table_of_all(genner: Any, tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    (folder / "more").mkdir(parents=True)
    for number, text in enumerate(["Ann Lee met Bob Ray.", "They flew to Rome.", "Eve Fox stayed in Paris."]):
        (folder / f"{number}.txt").write_text(text)
        (folder / "more" / f"{number}.html").write_text(f"<p>{text}<p>Ann Lee left.")
    call = ("extract", folder, "--types", "PER,ORG,LOC")
    assert genner(*call, "-o", tmp_path / "whole.csv").status == 0
    for number in (1, 2):
        assert genner(*call, "--shard", f"{number}/2", "-o", tmp_path / f"part-{number}.csv").status == 0
    parts = [tmp_path / f"part-{number}.csv" for number in (2, 1)]
    assert genner("data", "merge", *parts, "-o", tmp_path / "joined.csv").status == 0
    for suffix in (".csv", ".csv.records.jsonl"):
        assert (tmp_path / f"joined{suffix}").read_bytes() == (tmp_path / f"whole{suffix}").read_bytes()
    assert {row["id"] for row in table(tmp_path / "whole.csv")} >= {"0.txt", "more/0.html"}
