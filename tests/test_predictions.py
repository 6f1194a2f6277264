"""genner_cli.files.predictions: what extract writes comes back, what is wrong is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from strategies import Case, cases, examples

from genner_cli.errors import UsageError
from genner_cli.files.predictions import read_predictions
from genner_cli.files.writing import encode
from genner_cli.types import Document, Entity, Extraction, FailedDocument, canonical_order

TEXT = "Ann met Bob."
ANN = {"start": 0, "end": 3, "label": "PER", "text": "Ann", "score": 0.5}


def read(folder: Path, *records: Any) -> list[Extraction]:
    path = folder / "pred.jsonl"
    path.write_text("\n".join(record if isinstance(record, str) else json.dumps(record) for record in records))
    return list(read_predictions([str(path)]))


@examples(100)
@given(case=cases())
def test_what_extract_writes_comes_back(tmp_path_factory: pytest.TempPathFactory, case: Case) -> None:
    """Crossing entities too; entities with outer blanks are never written."""
    there = (
        e for e in case.entities if 0 <= e.start < e.end <= len(case.text) and e.text == case.text[e.start : e.end]
    )
    entities = tuple(sorted({e for e in there if e.text == e.text.strip()}, key=canonical_order))
    document = Document(case.text or "x", "7", fields={"id": "7", "title": "T"})
    path = tmp_path_factory.mktemp("read") / "pred.jsonl"
    path.write_bytes(encode(Extraction(document, entities, completions=("c",)), keep_completion=True))
    (found,) = read_predictions([str(path)])
    assert found.entities == entities
    assert (found.document.id, found.document.fields, found.error) == ("7", document.fields, None)


def test_scores_come_back_and_may_be_missing(tmp_path: Path) -> None:
    (found,) = read(
        tmp_path, {"text": TEXT, "entities": [{**ANN, "start": 8, "end": 11, "text": "Bob", "score": None}, ANN, ANN]}
    )
    assert [(entity.text, entity.score) for entity in found.entities] == [("Ann", 0.5), ("Ann", 0.5), ("Bob", None)]


def test_a_failed_extraction_keeps_its_own_message(tmp_path: Path) -> None:
    failed = {"id": 1, "text": TEXT, "entities": [], "error": {"message": "too long"}}
    without_text = {"id": 2, "entities": [], "error": {"message": "docs.jsonl:2: not JSON"}}
    elsewhere = [{"text": TEXT, "error": "oops"}, {"text": TEXT, "error": {"code": 5}}]
    found = read(tmp_path, failed, without_text, *elsewhere)
    assert [one.error for one in found] == ["too long", "docs.jsonl:2: not JSON", "oops", '{"code": 5}']
    assert isinstance(found[0].document, Document)
    assert isinstance(found[1].document, FailedDocument)
    assert found[1].document.id == "2"
    assert all(one.entities == () for one in found)
    assert "error" not in found[0].document.fields


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ("{oops", ["not JSON"]),
        ({"entities": []}, ["no field 'text'"]),
        ({"text": TEXT}, ["field 'entities' is missing", "genner extract"]),
        ({"text": TEXT, "entities": {}}, ["field 'entities' is {}"]),
        ({"text": TEXT, "entities": [ANN, "Bob"]}, ["entities[1]: 'Bob' "]),
        ({"text": TEXT, "entities": [{**ANN, "end": 99}]}, ["entities[0]: 0:99 "]),
        ({"text": TEXT, "entities": [{**ANN, "text": "Bob"}]}, ["8:11"]),
        ({"text": TEXT, "entities": [{**ANN, "label": ""}]}, ["label is ''"]),
        ({"text": TEXT, "entities": [{**ANN, "label": None}]}, ["label is None"]),
        ({"text": TEXT, "entities": [{**ANN, "score": 7}]}, ["score is 7"]),
        ({"text": TEXT, "entities": [{**ANN, "score": True}]}, ["score is True"]),
        (
            {"text": TEXT, "entities": [{**ANN, "end": 0}, {"start": 0}]},
            ["entities[0]: 0:0", "entities[1]: ", "no end"],
        ),
    ],
)
def test_what_cannot_be_read_says_where_and_why(tmp_path: Path, record: Any, words: list[str]) -> None:
    first, found, last = read(tmp_path, {"text": TEXT, "entities": [ANN]}, record, {"text": TEXT, "entities": []})
    assert first.entities
    assert isinstance(found.document, FailedDocument)
    assert found.error is None
    assert found.document.message.startswith(f"{tmp_path / 'pred.jsonl'}:2: ")
    assert all(word in found.document.message for word in words)
    assert isinstance(last.document, Document)


def test_labels_may_have_any_name_and_entities_may_cross(tmp_path: Path) -> None:
    crossing = {"start": 0, "end": 7, "label": "<b>&", "text": "Ann met"}
    (found,) = read(tmp_path, {"text": TEXT, "entities": [{**ANN, "start": 4, "end": 11, "text": "met Bob"}, crossing]})
    assert found.entities == (Entity(0, 7, "<b>&", "Ann met"), Entity(4, 11, "PER", "met Bob"))


@pytest.mark.parametrize(("given", "read_as"), [(["a", "b"], ("a", "b")), ("a", ("a",)), ([], ())])
def test_completions_are_read(tmp_path: Path, given: Any, read_as: tuple[str, ...]) -> None:
    (found,) = read(tmp_path, {"text": TEXT, "entities": [], "completion": given})
    assert found.completions == read_as
    assert found.document.fields == {}


def test_a_completion_that_is_no_text_is_told(tmp_path: Path) -> None:
    (found,) = read(tmp_path, {"text": TEXT, "entities": [], "completion": [7]})
    assert isinstance(found.document, FailedDocument)
    assert "field 'completion' is [7]; " in found.document.message


def test_what_is_merely_wrong_is_for_scoring_to_judge(tmp_path: Path) -> None:
    blank = {"start": 3, "end": 7, "label": "PER", "text": " met"}
    (found,) = read(tmp_path, {"text": TEXT, "entities": [blank, blank, ANN]})
    assert [entity.text for entity in found.entities] == ["Ann", " met", " met"]


def test_a_text_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"a\.txt: .*no entities"):
        read_predictions([str(tmp_path / "a.txt")])
