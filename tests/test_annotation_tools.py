"""Exports of annotation tools in the shapes of their versions, and what in them is silently lost if nobody looks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from labelled import read

from genner_cli.data.offsets import Unit
from genner_cli.files.annotations import AnnotationOptions
from genner_cli.files.converting import Conversion, convert
from genner_cli.files.gold import Problem, labelled, summarized
from genner_cli.types import Document


def converted(tmp_path: Path, format: str, *records: Any, **options: Any) -> tuple[list[dict[str, Any]], Conversion]:
    """The records of a JSON Lines file with these values in a format, and what was dropped."""
    path, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    done = convert((str(path), format), (str(out), "jsonl"), AnnotationOptions(**options))
    return read(out), done


def found(record: dict[str, Any]) -> list[tuple[str, int, int]]:
    return [(entity["label"], entity["start"], entity["end"]) for entity in record["entities"]]


# doccano


@pytest.mark.parametrize(
    "labels",
    [
        {"annotations": [{"label": 5, "start_offset": 0, "end_offset": 3, "user": 1}]},
        {"entities": [{"id": 1, "label": 5, "start_offset": 0, "end_offset": 3}], "relations": []},
        {"labels": [[0, 3, 5]]},
    ],
)
def test_labels_of_doccano_that_are_ids_are_a_problem(tmp_path: Path, labels: dict[str, Any]) -> None:
    records, done = converted(tmp_path, "doccano", {"id": 2, "text": "Ada lives.", **labels})
    assert not records
    assert "ids (5)" in done.problems[0].message
    assert "text labels" in done.problems[0].message


@pytest.mark.parametrize("text", ["text", "data"])
@pytest.mark.parametrize(
    "labels",
    [
        {"label": [[0, 3, "PER"]], "Comments": []},
        {"labels": [[0, 3, "PER"]], "meta": {}},
        {"annotations": [{"label": "PER", "start_offset": 0, "end_offset": 3}], "annotation_approver": None},
        {"entities": [{"id": 1, "label": "PER", "start_offset": 0, "end_offset": 3}], "relations": [], "label": []},
        {"entities": [[0, 3, "PER"]], "cats": ["Greet"]},
    ],
)
def test_all_shapes_of_doccano_are_read(tmp_path: Path, text: str, labels: dict[str, Any]) -> None:
    (record,), done = converted(tmp_path, "doccano", {"id": 2, text: "Ada lives.", **labels})
    assert (record["id"], record["text"]) == (2, "Ada lives.")
    assert found(record) == [("PER", 0, 3)]
    assert not done.dropped.counts


def test_a_record_without_any_field_of_labels_is_counted(tmp_path: Path) -> None:
    (record,), done = converted(tmp_path, "doccano", {"text": "Ada", "spans": [[0, 3, "PER"]]})
    assert record["entities"] == []
    assert sum(done.dropped.counts.values()) == 1


# line ends that count as one, byte order marks


def test_offsets_of_doccano_over_line_ends_that_counted_as_one(tmp_path: Path) -> None:
    record = {"text": "Ada\r\nBob\r\nlive in Oslo.", "label": [[16, 20, "LOC"]]}
    records, done = converted(tmp_path, "doccano", record)
    assert not records
    assert "--offsets utf16-crlf" in done.problems[0].message
    (read_back,), _ = converted(tmp_path, "doccano", record, offsets=Unit.UTF16_CRLF)
    assert found(read_back) == [("LOC", 18, 22)]
    (asked,), _ = converted(tmp_path, "doccano", record, offsets=Unit.UTF16)
    assert found(asked) == [("LOC", 16, 20)]
    (whole,), _ = converted(tmp_path, "doccano", record | {"label": [[18, 22, "LOC"], [0, 3, "PER"]]})
    assert found(whole) == [("PER", 0, 3), ("LOC", 18, 22)]


def test_a_mention_shows_the_unit_of_its_offsets(tmp_path: Path) -> None:
    text = "\U0001f600\U0001f600\r\nAda in Oslo."
    for start, unit in ((10, "codepoint-crlf"), (12, "utf16-crlf"), (13, "utf16"), (17, "byte")):
        entity = {"start": start, "end": start + 4, "label": "LOC", "text": "Oslo"}
        _, done = converted(tmp_path, "jsonl", {"text": text, "entities": [entity]})
        assert f"--offsets {unit}" in done.problems[0].message
        (record,), _ = converted(tmp_path, "jsonl", {"text": text, "entities": [entity]}, offsets=Unit(unit))
        assert found(record) == [("LOC", 11, 15)]


@pytest.mark.parametrize(
    ("text", "annotation", "expected"),
    [
        ("Ada\r\nlives in Oslo.\r\n", "T1\tLOC 13 17\tOslo\n", ("LOC", 14, 18)),
        ("Ada\r\nlives in Oslo.\r\n", "T1\tLOC 14 18\tOslo\r\n", ("LOC", 14, 18)),
        ("\ufeffAda lives.", "T1\tPER 0 3\tAda\n", ("PER", 0, 3)),
        ("\ufeffAda lives.", "\ufeffT1\tPER 1 4\tAda\n", ("PER", 0, 3)),
        ("\ufeffAda\r\nBob", "T1\tPER 5 8\tBob\n", ("PER", 5, 8)),
        ("Ada lives.", "T1\tPER 0 3\n", ("PER", 0, 3)),
    ],
)
def test_mentions_of_brat_show_what_its_offsets_count(
    tmp_path: Path, text: str, annotation: str, expected: tuple[str, int, int]
) -> None:
    (tmp_path / "a.txt").write_bytes(text.encode())
    (tmp_path / "a.ann").write_bytes(annotation.encode())
    convert((str(tmp_path / "a.ann"), "brat"), (str(tmp_path / "out.jsonl"), "jsonl"), AnnotationOptions())
    (record,) = read(tmp_path / "out.jsonl")
    assert record["text"] == text.removeprefix("\ufeff")
    assert found(record) == [expected]


def test_a_unit_that_all_mentions_of_brat_fit_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("👩 Ann met Bob.")
    (tmp_path / "a.ann").write_text("T1\tPER 3 6\tAnn\nT2\tPER 11 14\tBob\n")
    done = convert((str(tmp_path / "a.ann"), "brat"), (str(tmp_path / "out.jsonl"), "jsonl"), AnnotationOptions())
    assert "a.ann:1: " in done.problems[0].message
    assert "--offsets utf16" in done.problems[0].message


def test_annotations_of_bionlp_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "a.txt").write_text("IL-2 binds.")
    (folder / "a.a1").write_text("T1\tProtein 0 4\tIL-2\n")
    (folder / "a.a2").write_text("T2\tBinding 5 10\tbinds\nE1\tBinding:T2 Theme:T1\n")
    done = convert((str(folder), "brat"), (str(tmp_path / "out.jsonl"), "jsonl"), AnnotationOptions())
    (record,) = read(tmp_path / "out.jsonl")
    assert found(record) == [("Protein", 0, 4), ("Binding", 5, 10)]
    assert done.dropped.counts == {"events": 1}


# Label Studio


def region(start: Any, end: Any, text: str | None = None, label: str = "PER", **value: Any) -> dict[str, Any]:
    given = {"start": start, "end": end, "labels": [label]} | ({} if text is None else {"text": text}) | value
    return {"type": "labels", "value": given}


def task(text: str, *regions: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": 1, "data": {"text": text}, "annotations": [{"result": list(regions)}], **more}


@pytest.mark.parametrize(
    ("text", "mention"),
    [
        ("Ada  King sang", "Ada King"),
        ("Ada\nKing sang", "Ada\\nKing"),
        ("Ada\r\nKing sang", "Ada King"),
        ("Ada\u00a0King sang", "Ada King"),
        ("Ada King sang", None),
    ],
)
def test_mentions_of_label_studio_that_differ_in_white_space_are_read(
    tmp_path: Path, text: str, mention: str | None
) -> None:
    end = text.index("King") + 4
    (record,), done = converted(tmp_path, "label-studio", task(text, region(0, end, mention)))
    assert found(record) == [("PER", 0, end)]
    assert not done.problems
    _, done = converted(tmp_path, "label-studio", task(text, region(0, end, "Eva King")))
    assert len(done.problems) == 1


def test_regions_without_a_label_comments_and_drafts_are_counted(tmp_path: Path) -> None:
    unlabelled = region(4, 8) | {"value": {"start": 4, "end": 8, "text": "sang", "labels": []}}
    noted = region(0, 3, "Ada") | {"meta": {"text": ["sure?"]}}
    relation = {"type": "relation", "from_id": "a", "to_id": "b"}
    given = task("Ada sang", unlabelled, noted, relation, comment_count=2, drafts=[{"result": []}], meta={"a": 1})
    (record,), done = converted(tmp_path, "label-studio", given)
    assert found(record) == [("PER", 0, 3)]
    assert done.dropped.counts == {
        "regions without a label": 1,
        "meta of regions": 1,
        "regions of the type 'relation'": 1,
        "comments": 1,
        "drafts": 1,
        "meta": 1,
    }
    strict = convert(
        (str(tmp_path / "in.jsonl"), "label-studio"),
        (str(tmp_path / "b.jsonl"), "jsonl"),
        AnnotationOptions(),
        strict=True,
    )
    assert strict.problems


def test_older_and_other_shapes_of_label_studio_are_read(tmp_path: Path) -> None:
    result = [region(0, 3, "Ada")]
    data = {"text": "Ada sang"}
    hyper = {
        "start": "/p[1]/text()[1]",
        "end": "/p[1]/text()[1]",
        "globalOffsets": {"start": 0, "end": 3},
        "text": "Ada",
    }
    for given in (
        {"id": 1, "data": data, "completions": [{"result": [], "skipped": True}, {"result": result}]},
        {"id": 7, "result": result, "task": {"id": 1, "data": data}},
        {"id": 1, "data": data, "annotations": [{"result": [{"value": hyper | {"hypertextlabels": ["PER"]}}]}]},
        {"id": 1, **data, "label": [result[0]["value"]], "annotator": 1},
        {"id": 1, **data, "ner": [result[0]["value"]], "sentiment": "positive"},
    ):
        (record,), done = converted(tmp_path, "label-studio", given)
        assert (record["id"], record["text"], found(record)) == (1, "Ada sang", [("PER", 0, 3)])
        assert not done.problems
    markup = {"id": 1, "data": {"text": "<p>Ada sang</p>"}, "annotations": [{"result": [{"value": hyper}]}]}
    markup["annotations"][0]["result"][0]["value"] = hyper | {"hypertextlabels": ["PER"]}  # type: ignore[index]
    _, done = converted(tmp_path, "label-studio", markup)
    assert "<Text>" in done.problems[0].message


# Prodigy


def test_answers_about_one_span_are_counted(tmp_path: Path) -> None:
    given = {
        "text": "Ada sang",
        "spans": [{"start": 0, "end": 3, "label": "PER"}],
        "_view_id": "ner",
        "answer": "accept",
    }
    (record, _), done = converted(tmp_path, "prodigy", given, given | {"_view_id": "ner_manual"})
    assert found(record) == [("PER", 0, 3)]
    assert sum(done.dropped.counts.values()) == 1


# DocBin


def test_what_a_docbin_holds_besides_entities_is_counted(tmp_path: Path) -> None:
    import spacy
    from spacy.tokens import DocBin, Span

    doc = spacy.blank("en")("Ada sang in Oslo.")
    doc.ents = [Span(doc, 0, 1, label="PER", kb_id="Q7259"), Span(doc, 3, 4, label="LOC", span_id="s1")]
    doc.cats = {"music": 1.0}
    doc[1].lemma_, doc[1].tag_ = "sing", "VBD"
    path = tmp_path / "a.spacy"
    path.write_bytes(
        DocBin(docs=[doc], attrs=["ENT_IOB", "ENT_TYPE", "ENT_KB_ID", "ENT_ID", "LEMMA", "TAG"]).to_bytes()
    )
    done = convert((str(path), "docbin"), (str(tmp_path / "out.jsonl"), "jsonl"), AnnotationOptions())
    assert found(read(tmp_path / "out.jsonl")[0]) == [("PER", 0, 3), ("LOC", 12, 16)]
    assert done.dropped.counts == {
        "knowledge base ids": 1,
        "span ids": 1,
        "category 'music'": 1,
        "tags": 1,
        "lemmas": 1,
    }


# JSON


def test_json_lines_behind_json_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    lines = '{"text": "Ada", "label": [[0, 3, "PER"]]}\n{"text": "Bob", "label": []}\n'
    for content in (
        lines,
        f"\ufeff{lines}",
        f"[{lines.replace(chr(10), ',', 1)}]",
        f"\ufeff[{lines.replace(chr(10), ',', 1)}]",
    ):
        (tmp_path / "a.json").write_text(content, encoding="utf-8")
        convert((str(tmp_path / "a.json"), "doccano"), (str(tmp_path / "out.jsonl"), "jsonl"), AnnotationOptions())
        assert [found(record) for record in read(tmp_path / "out.jsonl")] == [[("PER", 0, 3)], []]


def test_what_json_has_not_becomes_null_in_every_format(tmp_path: Path) -> None:
    for format, labels in {"doccano": "label", "prodigy": "spans", "jsonl": "entities"}.items():
        (record,), done = converted(tmp_path, format, {"text": "Ada", "x": float("nan"), labels: []})
        assert record["x"] is None
        assert list(done.dropped.counts) == ["NaN in field 'x', now null"]


def test_null_texts_of_parquet_and_json_fail_alike(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"text": ["Ada", None], "entities": [[], []]}), tmp_path / "a.parquet")
    done = convert((str(tmp_path / "a.parquet"), "parquet"), (str(tmp_path / "b.jsonl"), "jsonl"), AnnotationOptions())
    _, other = converted(tmp_path, "jsonl", {"text": None, "entities": []})
    ends = [one.problems[0].message.partition(": ")[2] for one in (done, other)]
    assert ends[0] == ends[1]
    assert "null" in ends[0]


# labels that output formats cannot write, and messages


@pytest.mark.parametrize("label", ["Food & Drink", " PER", "[X]", "a|b", 'say "x"', "/PER"])
@pytest.mark.parametrize("format", ["jsonl", "doccano", "prodigy", "parquet", "docbin", "csv", "conll"])
def test_labels_that_output_formats_cannot_write_are_converted(tmp_path: Path, format: str, label: str) -> None:
    path, middle, back = (tmp_path / name for name in ("in.jsonl", "middle.x", "back.jsonl"))
    path.write_text(json.dumps({"text": "Ada", "entities": [{"start": 0, "end": 3, "label": label}]}))
    there = convert((str(path), "jsonl"), (str(middle), format), AnnotationOptions())
    done = convert((str(middle), format), (str(back), "jsonl"), AnnotationOptions())
    assert not there.problems + done.problems
    (entity,) = read(back)[0]["entities"]
    assert entity["label"] == label or there.dropped.counts["spaces around labels"] == 1


@pytest.mark.parametrize("label", ["", " ", "a\nb", 5, None])
def test_what_is_no_label_at_all_is_a_problem(label: Any) -> None:
    record = Document("Ada", fields={"entities": [{"start": 0, "end": 3, "label": label}]})
    assert len(labelled(record, any_label=True)[1]) == 1


def test_problems_of_one_kind_are_one_line() -> None:
    problems = [Problem(f"a.jsonl:{n}: 'it''s {n}' at {n}:{n + 1} is wrong", f"a.jsonl:{n}") for n in range(1, 6)]
    other = Problem("a.jsonl:9: not JSON", "a.jsonl:9")
    first, second = summarized([problems[0], other, *problems[1:]])
    assert first.startswith(problems[0].message)
    assert "5 like it" in first
    assert "a.jsonl:2, a.jsonl:3, a.jsonl:4, ..." in first
    assert second == other.message
    assert len(list(summarized([Problem(f"a:1: {letter}", "a:1") for letter in "abcdef"], most=3))) == 4
