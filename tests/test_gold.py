"""genner_cli.files.gold: labelled JSON Lines -> documents and problems."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
import zstandard

from genner_cli.errors import UsageError
from genner_cli.files.gold import GoldData, read_gold
from genner_cli.files.reading import expand
from genner_cli.types import Document, Entity

TEXT = "Ann met Zoë 👩 in New York."
ANN = {"start": 0, "end": 3, "label": "PER"}
NEW_YORK = {"start": 17, "end": 25, "label": "LOC", "text": "New York"}


def line(*entities: Any, text: str = TEXT, **fields: Any) -> str:
    return json.dumps({"text": text, "entities": list(entities), **fields})


def read(folder: Path, *lines: str, **options: Any) -> GoldData:
    path = folder / "train.jsonl"
    path.write_text("\n".join(lines))
    return read_gold([str(path)], **options)


def problem(folder: Path, *entities: Any, **options: Any) -> str:
    """The only problem of a document with these entities, without the name of its line."""
    data = read(folder, line(*entities), **options)
    assert not data.documents
    (found,) = data.problems
    assert found.source == f"{folder / 'train.jsonl'}:1"
    assert found.message.startswith(f"{found.source}: ")
    return found.message.removeprefix(f"{found.source}: ")


def test_documents_have_their_entities_in_order_and_their_other_fields(tmp_path: Path) -> None:
    data = read(tmp_path, line(NEW_YORK, {**ANN, "score": 0.9}, id=7, split="a"), "", line(text="None."))
    assert data.problems == ()
    entities = (Entity(0, 3, "PER", "Ann"), Entity(17, 25, "LOC", "New York"))
    source = f"{tmp_path / 'train.jsonl'}"
    assert data.documents == (
        Document(TEXT, "7", entities, {"id": 7, "split": "a"}, f"{source}:1"),
        Document("None.", None, (), {}, f"{source}:3"),
    )


def test_files_may_be_named_by_globs_and_be_compressed(tmp_path: Path) -> None:
    content = line(ANN).encode()
    (tmp_path / "a.jsonl").write_bytes(content)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(content))
    (tmp_path / "c.jsonl.zst").write_bytes(zstandard.compress(content + b"\n{}"))
    data = read_gold(expand([str(tmp_path / "*.jsonl*")]))
    assert [document.source for document in data.documents] == [
        f"{tmp_path / name}:1" for name in ("a.jsonl", "b.jsonl.gz", "c.jsonl.zst")
    ]
    assert [found.source for found in data.problems] == [f"{tmp_path / 'c.jsonl.zst'}:2"]


def test_every_problem_of_every_document_is_given_and_the_good_ones_are_kept(tmp_path: Path) -> None:
    bad = line({**ANN, "start": -1}, {**ANN, "label": "a|b"}, {**NEW_YORK, "text": "York"}, NEW_YORK, NEW_YORK)
    data = read(tmp_path, line(ANN), bad, "{oops", '{"entities": []}', line(NEW_YORK))
    assert [document.source.rpartition(":")[2] for document in data.documents] == ["1", "5"]
    lines = [found.source.rpartition(":")[2] for found in data.problems]
    assert lines == ["2", "2", "2", "2", "3", "4"]
    for found, what in zip(
        data.problems,
        [
            "entities[0]: -1:3",
            "entities[1]: label",
            "entities[2]: the text has",
            "[4]: ",
            "not JSON",
            "no field 'text'",
        ],
        strict=True,
    ):
        assert what in found.message


@pytest.mark.parametrize(
    ("entity", "what"),
    [
        ("Ann", "object"),
        ({"label": "PER"}, "no start .*no end"),
        ({"start": 0, "end": 3}, "no label"),
        ({**ANN, "start": "0"}, "start is '0', .*integer"),
        ({**ANN, "end": 3.0}, r"end is 3\.0, .*integer"),
        ({**ANN, "start": False}, "start is False, .*integer"),
        ({**ANN, "end": None}, "end is None, .*integer"),
        ({**ANN, "end": 2**70}, "end .*integer"),
        ({**ANN, "end": 0}, "0:0 .*range.* 26 characters"),
        ({**ANN, "start": 3, "end": 0}, "3:0 .*range"),
        ({**ANN, "end": 27}, "0:27 .*range"),
        ({**ANN, "label": 3}, "label is 3, .*string"),
        ({**ANN, "label": ""}, "label '' .*empty"),
        ({**ANN, "label": "a|b"}, r"label 'a\|b' .*markup"),
        ({**ANN, "end": 4}, "'Ann ' at 0:4 .*white space"),
        ({**ANN, "text": "Bob"}, "'Ann' at 0:3, not 'Bob'; "),
        ({**ANN, "text": 3}, "not 3; "),
        ({**ANN, "text": "New York"}, "not 'New York'; .*17:25"),
        ({**ANN, "end": 2, "text": "Ann"}, "end .*inclusive"),
        ({**NEW_YORK, "start": 21, "end": 29}, "21:29 .*range"),
        ({**NEW_YORK, "start": 18, "end": 26}, "UTF-16"),
        ({"start": 9, "end": 12, "label": "PER", "text": "oë"}, "UTF-8"),
    ],
)
def test_a_bad_entity_is_named_with_what_to_do(tmp_path: Path, entity: Any, what: str) -> None:
    message = problem(tmp_path, entity)
    assert message.startswith("entities[0]: ")
    assert re.search(what, message)


def test_scores_are_kept_and_must_be_probabilities(tmp_path: Path) -> None:
    scored = line({**ANN, "score": 0.25}, NEW_YORK)
    assert [entity.score for entity in read(tmp_path, scored).documents[0].entities] == [0.25, None]
    for score in (1.5, -1, "high", True):
        assert "not a number from 0 to 1" in problem(tmp_path, {**ANN, "score": score})


def test_labels_are_unknown_only_where_a_label_set_is_given(tmp_path: Path) -> None:
    assert not read(tmp_path, line(ANN)).problems
    assert not read(tmp_path, line(ANN), labels=["LOC", "PER"]).problems
    message = problem(tmp_path, ANN, labels=["LOC", "ORG"])
    assert re.match(r"1 entity in 1 document .*\['LOC', 'ORG'\].*: 'PER' \(1\); .*--types or --labels", message)
    two = read(tmp_path, line(ANN, NEW_YORK), line({**ANN, "label": "X"}), labels=["LOC"])
    (problem_of_both,) = two.problems
    assert "2 entities in 2 documents with 2 labels" in problem_of_both.message


def test_nested_entities_are_problems_only_where_flat_is_asked_for(tmp_path: Path) -> None:
    york = {"start": 21, "end": 25, "label": "LOC"}
    same = {**NEW_YORK, "label": "ORG"}
    assert not read(tmp_path, line(york, NEW_YORK, same)).problems
    message = problem(tmp_path, york, NEW_YORK, nested=False)
    assert re.search(r"\[0\]: 'York' at 21:25 .*within 'New York' at 17:25; .*--nested", message)
    assert re.search(r"\[1\]: 'New York' at 17:25 .*within", problem(tmp_path, NEW_YORK, same, nested=False))
    side_by_side = line({**ANN, "end": 1}, {**ANN, "start": 1})
    assert not read(tmp_path, side_by_side, nested=False).problems


@pytest.mark.parametrize("nested", [True, False])
def test_crossing_and_repeated_entities_are_problems(tmp_path: Path, nested: bool) -> None:
    crossing = {"start": 14, "end": 20, "label": "LOC"}
    assert "[1]: 'New York' at 17:25 crosses 'in New' at 14:20" in problem(tmp_path, crossing, NEW_YORK, nested=nested)
    assert "'Ann' at 0:3 is listed twice as PER" in problem(tmp_path, ANN, NEW_YORK, ANN, nested=nested)


@pytest.mark.parametrize(
    ("record", "what"),
    [
        ({"text": "x"}, "field 'entities' is missing"),
        ({"text": "x", "label": [[0, 1, "A"]]}, "is 'label' of another tool? `genner data convert --from`"),
        ({"text": "x", "entities": None}, "field 'entities' is None"),
        ({"text": "x", "entities": {}}, "field 'entities' is {}"),
        ({"text": "x", "entities": [], "error": {"message": "m"}}, "a failed extraction"),
        ([], "object"),
    ],
)
def test_a_record_without_a_text_or_labels_is_a_problem(tmp_path: Path, record: Any, what: str) -> None:
    data = read(tmp_path, json.dumps(record), line(ANN))
    assert len(data.documents) == 1
    (found,) = data.problems
    assert what in found.message
    assert found.message.startswith(f"{tmp_path / 'train.jsonl'}:1: ")


def test_a_text_file_and_a_broken_file_are_problems(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(TEXT)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(line(ANN).encode())[:-9])
    data = read_gold([str(tmp_path / name) for name in ("a.txt", "b.jsonl.gz", "c.jsonl")])
    assert not data.documents
    for found, what in zip(data.problems, ["has no entities", "broken", "cannot be read"], strict=True):
        assert what in found.message


def test_the_text_field_can_have_another_name(tmp_path: Path) -> None:
    record = {"tokens": TEXT, "entities": [ANN]}
    assert read(tmp_path, json.dumps(record), text_field="tokens").documents[0].entities[0].text == "Ann"
    with pytest.raises(UsageError, match="--text-field"):
        read(tmp_path, json.dumps(record), text_field="entities")
