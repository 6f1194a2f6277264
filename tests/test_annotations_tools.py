"""Predictions of GLiNER, langextract and Presidio, written by these packages where they are installed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Run
from labelled import read

from genner_cli.files.annotations import AnnotationOptions
from genner_cli.files.converting import Conversion, convert

PLAIN = AnnotationOptions()
TEXT = "Zoë 👩🏽 Smith flew from Rome to New York."


def converted(values: list[Any], format: str, folder: Path) -> tuple[list[dict[str, Any]], Conversion]:
    path, out = folder / "in.jsonl", folder / "out.jsonl"
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    done = convert((str(path), format), (str(out), "jsonl"), AnnotationOptions())
    return read(out), done


def mentions(record: dict[str, Any]) -> list[tuple[str, str]]:
    return [(entity["text"], entity["label"]) for entity in record["entities"]]


def test_predictions_of_gliner_are_read_with_their_scores(tmp_path: Path) -> None:
    found = {"start": 28, "end": 36, "text": "New York", "label": "city", "score": 0.9, "class_probs": {"city": 0.9}}
    (record,), done = converted([{"id": 3, "text": TEXT[:4] + TEXT[7:], "entities": [found]}], "gliner", tmp_path)
    assert mentions(record) == [("New York", "city")]
    assert (record["id"], record["entities"][0]["score"]) == (3, 0.9)
    assert done.dropped.counts == {"fields 'class_probs' of entities": 1}


def test_training_data_of_gliner_is_read_with_the_last_token_included(tmp_path: Path) -> None:
    value = {"tokenized_text": ["Ann", "left", "New", "York", "."], "ner": [[0, 0, "person"], [2, 3, "city"]]}
    spaced = {**value, "text": "Ann  left\nNew York."}
    records, done = converted([value, spaced], "gliner", tmp_path)
    assert [record["text"] for record in records] == ["Ann left New York.", "Ann  left\nNew York."]
    assert [mentions(record) for record in records] == [[("Ann", "person"), ("New York", "city")]] * 2
    assert records[0]["tokens"][3] == [13, 17]
    assert not done.dropped.counts


@pytest.mark.parametrize(
    "change",
    [
        {"ner": [[0, 5, "x"]]},
        {"ner": [[1, 0, "x"]]},
        {"ner": [[-1, 0, "x"]]},
        {"ner": ["x"]},
        {"ner": {}},
        {"tokenized_text": "Ann"},
        {"tokenized_text": ["Ann", " "]},
        {"text": "Ann"},
    ],
)
def test_what_gliner_never_wrote_is_a_problem_with_its_line(change: dict[str, Any], tmp_path: Path) -> None:
    value = {"tokenized_text": ["Ann", "left", "."], "ner": [[0, 0, "person"]]}
    records, done = converted([value, {**value, **change}], "gliner", tmp_path)
    assert len(records) == 1
    assert [problem.source for problem in done.problems] == [f"{tmp_path / 'in.jsonl'}:2"]


@pytest.mark.parametrize(
    ("format", "field"), [("gliner", "ner"), ("langextract", "extractions"), ("presidio", "analyzer_results")]
)
def test_a_record_without_the_formats_own_field_is_a_problem_that_names_it(
    format: str, field: str, tmp_path: Path
) -> None:
    records, done = converted([{"text": TEXT, "tokenized_text": ["Zoë"]}], format, tmp_path)
    assert not records
    assert f'"{field}"' in done.problems[0].message


def test_what_is_written_for_gliner_divides_tokens_at_entities(tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    entities = [{"start": 0, "end": 4, "label": "ORG"}, {"start": 9, "end": 17, "label": "LOC"}]
    source.write_text(json.dumps({"text": "Acme-led  New York.", "entities": [entities[0]]}) + "\n")
    convert((str(source), "jsonl"), (str(out), "gliner"), AnnotationOptions())
    (value,) = read(out)
    assert value["tokenized_text"] == ["Acme", "-", "led", "New", "York", "."]
    assert value["ner"] == [[0, 0, "ORG"]]


def test_documents_that_langextract_saved_are_read(tmp_path: Path) -> None:
    pytest.importorskip("langextract")
    from langextract import io
    from langextract.core.data import AlignmentStatus, AnnotatedDocument, CharInterval, Extraction

    start = TEXT.index("New York")
    found = [
        Extraction("person", "Zoë", char_interval=CharInterval(0, 3), alignment_status=AlignmentStatus.MATCH_EXACT),
        Extraction("city", "NYC", char_interval=CharInterval(start, start + 8), attributes={"state": "NY"}),
        Extraction("city", "Paris"),
    ]
    io.save_annotated_documents(
        iter([AnnotatedDocument(document_id="d7", text=TEXT, extractions=found)]), tmp_path, "in.jsonl", False
    )
    done = convert((str(tmp_path / "in.jsonl"), "langextract"), (str(tmp_path / "out.jsonl"), "jsonl"), PLAIN)
    (record,) = read(tmp_path / "out.jsonl")
    assert (record["id"], mentions(record)) == ("d7", [("Zoë", "person"), ("New York", "city")])
    assert done.dropped.counts == {
        "extractions without a place in the text": 1,
        "fields 'attributes' of extractions": 1,
    }


def test_langextract_reads_what_is_written_for_it(tmp_path: Path) -> None:
    pytest.importorskip("langextract")
    from langextract import io

    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text(json.dumps({"id": "7", "text": TEXT, "entities": [{"start": 0, "end": 3, "label": "PER"}]}))
    convert((str(source), "jsonl"), (str(out), "langextract"), PLAIN)
    (document,) = io.load_annotated_documents_jsonl(out, show_progress=False)
    (extraction,) = document.extractions
    assert (document.document_id, document.text) == ("7", TEXT)
    assert (extraction.extraction_class, extraction.extraction_text) == ("PER", "Zoë")
    assert (extraction.char_interval.start_pos, extraction.char_interval.end_pos) == (0, 3)


def test_results_of_presidio_are_read_with_their_scores(tmp_path: Path) -> None:
    pytest.importorskip("presidio_analyzer")
    from presidio_analyzer.predefined_recognizers import EmailRecognizer

    text = f"{TEXT} Write to zoe@example.com."
    results = [result.to_dict() for result in EmailRecognizer().analyze(text, ["EMAIL_ADDRESS"])]
    plain = json.loads(json.dumps(results, default=lambda value: value.to_dict()))
    (record,), done = converted([{"id": 1, "text": text, "analyzer_results": plain}], "presidio", tmp_path)
    assert mentions(record) == [("zoe@example.com", "EMAIL_ADDRESS")]
    assert record["entities"][0]["score"] == results[0]["score"]
    assert set(done.dropped.counts) <= {
        "fields 'analysis_explanation' of results",
        "fields 'recognition_metadata' of results",
    }


def test_samples_of_presidios_evaluator_are_read(tmp_path: Path) -> None:
    span = {"entity_type": "CITY", "entity_value": "Rome", "start_position": 21, "end_position": 25}
    sample = {"full_text": TEXT, "masked": None, "spans": [span], "template_id": 4, "metadata": {"a": 1}}
    assert TEXT[21:25] != "Rome"
    moved = {**span, "start_position": TEXT.index("Rome"), "end_position": TEXT.index("Rome") + 4}
    records, done = converted([{**sample, "spans": [moved]}, sample], "presidio", tmp_path)
    assert mentions(records[0]) == [("Rome", "CITY")]
    assert records[0]["metadata"] == {"a": 1}
    assert [problem.source for problem in done.problems] == [f"{tmp_path / 'in.jsonl'}:2"]


def test_predictions_of_another_tool_are_compared_with_those_of_genner(
    genner: Callable[..., Run], tmp_path: Path
) -> None:
    gold = tmp_path / "gold.jsonl"
    start = TEXT.index("Rome")
    entity = {"start": start, "end": start + 4, "label": "LOC"}
    gold.write_text(json.dumps({"id": 1, "text": TEXT, "entities": [entity]}) + "\n")
    theirs = tmp_path / "theirs.jsonl"
    result = {"entity_type": "LOC", "start": start, "end": start + 4, "score": 0.8}
    theirs.write_text(json.dumps({"id": 1, "text": TEXT, "analyzer_results": [result]}) + "\n")
    mine, other = tmp_path / "mine.jsonl", tmp_path / "other.jsonl"
    mine.write_text(json.dumps({"id": 1, "text": TEXT, "entities": []}) + "\n")
    assert genner("data", "convert", theirs, other, "--from", "presidio").status == 0
    figures = json.loads(genner("evaluate", gold, "--predictions", other, "--compare", mine, "--json").stdout)
    assert figures["micro"]["f1"]["value"] == 1
    assert figures["comparison"]["micro"]["second"] == 0
    assert "Rome" in genner("view", other, "--gold", gold, "--terminal").stdout.decode()
