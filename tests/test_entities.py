"""`genner entities`: counts of distinct mentions, held against a plain count, in memory and spilled."""

from __future__ import annotations

import csv
import io
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from resuming import write_documents
from strategies import examples

from genner_cli.data.contexts import squeezed
from genner_cli.files.mention_store import MentionStore
from genner_cli.files.tables import write_entities
from genner_cli.types import Document, Entity, Extraction, FailedDocument

WORDS = ["Ann", "ANN", "ann", "Straße", "STRASSE", "New\nYork", "New York", "北京", "e\u0301", "👩‍🚀"]


def extraction(number: int, words: list[str], labels: list[str]) -> Extraction:
    """A text of these words, all of them entities; the score of each says its place."""
    text, entities = "", []
    for word, label in zip(words, labels, strict=False):
        entities.append(Entity(len(text), len(text) + len(word), label, word, len(entities) / 10))
        text += f"{word} "
    return Extraction(Document(text or "-", str(number)), tuple(entities))


def plainly_counted(extractions: list[Extraction], fold_case: bool) -> dict[tuple[str, str], Any]:
    found: dict[tuple[str, str], Any] = {}
    for each in extractions:
        for entity in each.entities:
            spelling = squeezed(entity.text)
            key = (entity.label, spelling.casefold() if fold_case else spelling)
            values = found.setdefault(key, {"scores": [], "ids": set(), "spellings": Counter()})
            values["scores"].append(entity.score)
            values["ids"].add(each.document.id)
            values["spellings"][spelling] += 1
    return found


documents = st.lists(
    st.tuples(
        st.lists(st.sampled_from(WORDS), max_size=6), st.lists(st.sampled_from(["PER", "A & B", ""]), max_size=6)
    ),
    max_size=8,
)


@examples(60)
@given(documents, st.booleans(), st.sampled_from([1, 900, 10**9]))
def test_counts_are_those_of_a_plain_count_whether_they_fit_or_not(
    values: list[tuple[list[str], list[str]]], fold_case: bool, held: int
) -> None:
    extractions = [extraction(number, *each) for number, each in enumerate(values)]
    with MentionStore(fold_case=fold_case, contexts=2, held=held) as store, MentionStore(fold_case=fold_case) as whole:
        for each in extractions:
            store.note(each)
            whole.note(each)
        found = list(store.values())
        assert [{**value, "contexts": None} for value in whole.values()] == [{**v, "contexts": None} for v in found]
    expected = plainly_counted(extractions, fold_case)
    assert len(found) == len(expected)
    for value in found:
        text = value["text"].casefold() if fold_case else value["text"]
        plain = expected[value["label"], text]
        assert value["count"] == len(plain["scores"])
        assert value["documents"] == len(plain["ids"])
        assert value["score"] == pytest.approx(sum(plain["scores"]) / len(plain["scores"]), abs=6e-5)
        assert value.get("spellings", {value["text"]: value["count"]}) == plain["spellings"]
        assert plain["spellings"][value["text"]] == max(plain["spellings"].values())
        assert 1 <= len(value["contexts"]) <= 2
        assert all(context["id"] in plain["ids"] for context in value["contexts"])
    totals = [store.entities[value["label"]] for value in found]
    assert totals == sorted(totals, reverse=True), "labels with most entities come first"
    for one, other in pairwise(found):
        assert one["label"] != other["label"] or one["count"] >= other["count"]


def test_the_first_contexts_are_kept_when_tallies_are_spilled() -> None:
    with MentionStore(contexts=3, held=1) as store:
        for number in range(20):
            store.note(extraction(number, ["Ann"], ["PER"]))
            other = Document(f"Ann has {number}", f"other {number}")
            store.note(Extraction(other, (Entity(0, 3, "PER", "Ann"),)))
        (value,) = store.values()
    assert [each["id"] for each in value["contexts"]] == ["0", "other 0", "other 1"]
    assert (value["count"], value["documents"], value["score"]) == (40, 40, 0.0)


def test_failures_have_no_entities() -> None:
    with MentionStore() as store:
        store.note(Extraction(Document("Ann", "1"), (Entity(0, 3, "PER", "Ann"),), error="slow"))
        store.note(Extraction(FailedDocument("torn", "a:1")))
        assert list(store.values()) == []


RECORDS = [
    {"id": 1, "text": "Ann met ann.", "entities": [
        {"start": 0, "end": 3, "label": "PER", "text": "Ann", "score": 0.5},
        {"start": 8, "end": 11, "label": "PER", "text": "ann", "score": 1.0}]},
    {"id": 2, "text": "Ann is, \"it seems\", in Rome", "entities": [
        {"start": 0, "end": 3, "label": "PER", "text": "Ann"},
        {"start": 23, "end": 27, "label": "LOC", "text": "Rome", "score": 0.25}]},
    {"id": 3, "entities": [], "error": {"message": "x"}},
]  # fmt: skip


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return write_documents(tmp_path / "out.jsonl", RECORDS)


def test_a_table_of_mentions(genner: Any, output: Path, tmp_path: Path) -> None:
    run = genner("entities", output, "-o", tmp_path / "mentions.csv", "--contexts", 2)
    assert run.status == 0
    assert "3 records, 4 entities, 1 of documents that failed" in run.stderr
    with (tmp_path / "mentions.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [
            ["label", "text", "count", "documents", "score", "context_1", "context_2"],
            ["PER", "Ann", "2", "2", "0.5", "Ann met ann.", 'Ann is, "it seems", in Rome'],
            ["PER", "ann", "1", "1", "1.0", "Ann met ann.", ""],
            ["LOC", "Rome", "1", "1", "0.25", 'Ann is, "it seems", in Rome', ""],
        ]


def test_folded_mentions_as_json_lines(genner: Any, output: Path) -> None:
    run = genner("entities", output, "--fold-case", "--top", 1, "--contexts", 0, "-o", "-")
    assert [orjson.loads(line) for line in run.stdout.splitlines()] == [
        {"label": "PER", "text": "Ann", "count": 3, "documents": 2, "score": 0.75,
         "spellings": {"Ann": 2, "ann": 1}, "contexts": []},
        {"label": "LOC", "text": "Rome", "count": 1, "documents": 1, "score": 0.25, "contexts": []},
    ]  # fmt: skip


def test_the_terminal_gets_columns(genner: Any, output: Path) -> None:
    run = genner("entities", output)
    lines = run.stdout.decode().splitlines()
    assert lines[0] == "PER: 3 entities"
    assert lines[1].split() == ["count", "documents", "score", "mention", "context"]
    assert lines[2].split()[:4] == ["2", "2", "0.500", "Ann"]
    assert (run.status, lines[5]) == (0, "LOC: 1 entity")


def test_a_record_that_cannot_be_read_is_named_and_fails(genner: Any, output: Path) -> None:
    output.write_bytes(output.read_bytes() + b"[]\n")
    run = genner("entities", output, "-o", "-")
    assert run.status == 1
    assert f"{output}:4" in run.stderr
    assert len(run.stdout.splitlines()) == 3


def test_what_cannot_be_written_is_refused_first(genner: Any, output: Path) -> None:
    assert genner("entities", output, "-o", output).status == 2
    assert genner("entities", output, "-o", "mentions.txt").status == 2


def test_each_entity_is_a_row_as_extract_writes_it(genner: Any, output: Path, tmp_path: Path) -> None:
    assert genner("entities", output, "--each", "-o", tmp_path / "each.tsv").status == 0
    with (tmp_path / "each.tsv").open("rb") as made:
        written = io.BytesIO()
        write_entities(output.read_bytes().splitlines(), written, "each.tsv")
        assert made.read() == written.getvalue()
    assert len(written.getvalue().splitlines()) == 1 + 4
    assert genner("entities", output, "--each").status == 2
