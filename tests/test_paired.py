"""genner_cli.files.paired: predictions that belong to gold documents, line by line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from genner_cli.errors import DataError
from genner_cli.files.paired import read_predictions
from genner_cli.types import Document, Entity, Extraction

GOLD = (
    Document("Ann met Bob.", "1", (Entity(0, 3, "PER", "Ann"),), source="gold.jsonl:1"),
    Document("Rome.", "2", (), source="gold.jsonl:3"),
)
RECORDS: tuple[dict[str, Any], ...] = (
    {
        "id": "1",
        "text": "Ann met Bob.",
        "entities": [{"start": 8, "end": 11, "label": "PER", "text": "Bob", "score": 0.5}],
    },
    {"id": "2", "text": "Rome.", "entities": []},
)


def read(folder: Path, *records: dict[str, Any]) -> list[Extraction]:
    path = folder / "pred.jsonl"
    path.write_text("\n".join(map(json.dumps, records)))
    return list(read_predictions([str(path)], GOLD))


def refusal(folder: Path, *records: dict[str, Any]) -> str:
    with pytest.raises(DataError) as found:
        read(folder, *records)
    return str(found.value).replace(f"{folder}/", "")


def test_each_line_belongs_to_the_gold_document_in_its_place(tmp_path: Path) -> None:
    first, second = read(tmp_path, *RECORDS)
    assert first == Extraction(GOLD[0], (Entity(8, 11, "PER", "Bob"),))
    assert first.entities[0].score == 0.5
    assert second == Extraction(GOLD[1])


def test_completions_are_read(tmp_path: Path) -> None:
    first, _ = read(tmp_path, {**RECORDS[0], "completion": ["a", "b"]}, RECORDS[1])
    assert first.completions == ("a", "b")


def test_a_failed_document_stays_one_even_without_its_text(tmp_path: Path) -> None:
    failed = {"id": "1", "entities": [], "error": {"message": "it broke"}}
    first, _ = read(tmp_path, failed, RECORDS[1])
    assert first == Extraction(GOLD[0], error="it broke")


@pytest.mark.parametrize(
    "entity",
    [
        {"start": 3, "end": 7, "label": "PER", "text": " met"},
        {"start": 0, "end": 3, "label": "PER", "score": 1},
    ],
)
def test_what_is_merely_wrong_is_for_scoring_to_judge(tmp_path: Path, entity: dict[str, Any]) -> None:
    first, _ = read(tmp_path, {**RECORDS[0], "entities": [entity, entity]}, RECORDS[1])
    assert len(first.entities) == 2


def test_no_id_on_either_side_is_fine(tmp_path: Path) -> None:
    read(tmp_path, {key: value for key, value in RECORDS[0].items() if key != "id"}, RECORDS[1])


def test_too_few_too_many_and_shifted_lines_name_both_files(tmp_path: Path) -> None:
    remedy = "a line for each document, in its order"
    message = refusal(tmp_path, RECORDS[0])
    assert message.startswith("pred.jsonl: the predictions end after pred.jsonl:1, but gold.jsonl:3 is to come; ")
    assert message.endswith(remedy)
    message = refusal(tmp_path, *RECORDS, RECORDS[1])
    assert message.startswith("pred.jsonl:3 has no gold document, gold.jsonl:3 was the last; ")
    message = refusal(tmp_path, RECORDS[1], RECORDS[0])
    assert message.startswith("gold.jsonl:1 and pred.jsonl:1 are not the same document: their ids are '1' and '2'; ")
    message = refusal(tmp_path, RECORDS[0], {**RECORDS[1], "text": "Rome!"})
    assert (
        "gold.jsonl:3 and pred.jsonl:2 are not the same document: from character 4 on, their texts are '.' and '!'"
        in message
    )
    message = refusal(tmp_path, RECORDS[0], {**RECORDS[1], "text": "Rome. Oslo"})
    assert "from character 5 on" in message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"entities": None}, "pred.jsonl:1: field 'entities' is None, not a list"),
        (
            {"entities": [{"start": 0, "end": 99, "label": "PER"}]},
            "pred.jsonl:1: entities[0]: 0:99 is no range of the text",
        ),
        (
            {"entities": [{"start": 0, "end": 3, "label": "PER", "text": "Bob"}]},
            "entities[0]: the text has 'Ann' at 0:3",
        ),
        (
            {"entities": [{"start": 0, "end": 3, "label": "PER", "score": 2}]},
            "pred.jsonl:1: entities[0]: its score is 2",
        ),
        ({"entities": [{"start": 0, "end": 3, "label": "PER", "score": True}]}, "its score is True"),
        ({"completion": 7}, "field 'completion' is 7"),
        ({"text": 7}, "field 'text' is 7, not a string"),
    ],
)
def test_a_broken_record_is_refused_with_its_line(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    assert message in refusal(tmp_path, {**RECORDS[0], **change}, RECORDS[1])
