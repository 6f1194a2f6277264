"""The annotation formats as other tools write them: read with every entity, and what is left out counted."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
from labelled import ANNOTATIONS_DATA, read

from genner_cli.data.offsets import Unit
from genner_cli.data.tags import Scheme
from genner_cli.errors import UsageError
from genner_cli.files.annotations import AnnotationOptions
from genner_cli.files.converting import Conversion, convert

Found = list[dict[str, Any]]


def converted(path: Path, format: str, folder: Path, **options: Any) -> tuple[Found, Conversion]:
    out = folder / "out.jsonl"
    done = convert((str(path), format), (str(out), "jsonl"), AnnotationOptions(**options))
    return read(out), done


def mentions(record: dict[str, Any]) -> list[tuple[str, str]]:
    for entity in record["entities"]:
        assert record["text"][entity["start"] : entity["end"]] == entity["text"]
    return [(entity["text"], entity["label"]) for entity in record["entities"]]


def test_conll_2003_in_iob1_gives_sentences_and_goes_back(tmp_path: Path) -> None:
    path = ANNOTATIONS_DATA / "conll2003.conll"
    records, done = converted(path, "conll", tmp_path)
    assert [record["text"] for record in records] == [
        "Ann of Acme Bank met Bob Eve.",
        "They flew to New York.",
        "Rome (Italy) won 2-0.",
    ]
    assert mentions(records[0]) == [("Ann", "PER"), ("Acme Bank", "ORG"), ("Bob", "PER"), ("Eve", "PER")]
    assert mentions(records[1]) == [("New York", "LOC")]
    assert [record["document"] for record in records] == [0, 0, 1]
    assert done.dropped.counts == {"sentences with more columns than token and tag": 3}
    back = tmp_path / "back.conll"
    convert((str(tmp_path / "out.jsonl"), "jsonl"), (str(back), "conll"), AnnotationOptions(scheme=Scheme.IOB1))
    first_and_last = [line.split(" ") for line in path.read_text().split("\n")]
    assert [line.split("\t") for line in back.read_text().split("\n")] == [
        [row[0], row[-1]] if row[0] else [""] for row in first_and_last
    ]


def test_conll_documents_are_whole_texts_with_their_sentences_on_lines(tmp_path: Path) -> None:
    records, _ = converted(ANNOTATIONS_DATA / "conll2003.conll", "conll", tmp_path, whole=True)
    assert [record["text"] for record in records] == [
        "Ann of Acme Bank met Bob Eve.\nThey flew to New York.",
        "Rome (Italy) won 2-0.",
    ]
    assert mentions(records[0])[-1] == ("New York", "LOC")
    assert records[0]["sentences"] == [[0, 8], [8, 14]]
    back = tmp_path / "back.conll"
    convert((str(tmp_path / "out.jsonl"), "jsonl"), (str(back), "conll"), AnnotationOptions(scheme=Scheme.IOB2))
    assert back.read_text().count("\n\n") == 5
    assert back.read_text().count("-DOCSTART-") == 2


def test_universal_ner_comments_give_ids_and_exact_texts(tmp_path: Path) -> None:
    records, _ = converted(ANNOTATIONS_DATA / "universal.iob2", "conll", tmp_path, token_column="1", tag_column="2")
    assert [record["text"] for record in records] == ["I love Ann's Diner  in 東京!", "👍🏽 Bob"]
    assert [record["id"] for record in records] == ["reviews-1-0001", "reviews-1-0002"]
    assert mentions(records[0]) == [("Ann's Diner", "ORG"), ("東京", "LOC")]
    assert mentions(records[1]) == [("Bob", "PER")]
    assert records[0]["tokens"][2:5] == [[7, 10], [10, 12], [13, 18]]


def test_bilou_is_read_and_a_number_sign_is_a_token(tmp_path: Path) -> None:
    (record,), _ = converted(ANNOTATIONS_DATA / "bilou.conll", "conll", tmp_path)
    assert record["text"] == "Ann met Mary Ann Smith #1"
    assert mentions(record) == [("Ann", "PER"), ("Mary Ann Smith", "PER")]
    assert "id" not in record


def test_brat_gives_entities_in_pieces_over_a_line_end_and_tells_the_rest(tmp_path: Path) -> None:
    records, done = converted(ANNOTATIONS_DATA / "brat", "brat", tmp_path)
    assert [record["id"] for record in records] == ["doc-1", "sub/doc-2"]
    found = [(" ".join(mention.split()), label) for mention, label in mentions(records[0])]
    assert found == [("Ann Smith", "PER"), ("Ann", "PER"), ("Acme", "ORG"), ("New York", "LOC")]
    assert records[1]["entities"] == []
    assert done.dropped.counts == {
        "discontinuous entities": 1,
        "relations": 1,
        "events": 1,
        "attributes": 1,
        "notes": 1,
        "equivalences and other annotations": 1,
    }
    (only,), _ = converted(ANNOTATIONS_DATA / "brat" / "doc-1.ann", "brat", tmp_path)
    assert only == records[0]


def test_a_brat_mention_that_does_not_stand_there_is_a_problem_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("👩 Ann slept.")
    (tmp_path / "a.ann").write_text("T1\tPER 3 6\tAnn\n")
    records, done = converted(tmp_path / "a.ann", "brat", tmp_path)
    assert records == []
    assert re.search(r"a\.ann:1: .*'nn ' .*'Ann'.*--offsets", done.problems[0].message)
    records, done = converted(tmp_path / "a.ann", "brat", tmp_path, offsets=Unit.UTF16)
    assert mentions(records[0]) == [("Ann", "PER")]
    (tmp_path / "a.ann").write_text("T1\tPER x 6\tAnn\n")
    assert "a.ann:1: 'T1\\tPER x 6\\tAnn' " in converted(tmp_path / "a.ann", "brat", tmp_path)[1].problems[0].message


def test_label_studio_gives_the_annotation_that_counts_or_the_best_prediction(tmp_path: Path) -> None:
    records, done = converted(ANNOTATIONS_DATA / "label_studio.json", "label-studio", tmp_path)
    assert [(record["id"], record.get("source")) for record in records] == [(11, "letters"), (12, None)]
    assert mentions(records[0]) == [("Ann", "PER"), ("Rome", "GPE"), ("Rome", "LOC")]
    assert [entity["score"] for entity in records[1]["entities"]] == [0.9, 0.75]
    assert done.dropped.counts == {
        "cancelled annotations": 1,
        "predictions of an annotated task": 1,
        "further predictions of a task": 1,
        "regions of the type 'choices'": 1,
    }


def test_label_studio_json_min_is_read(tmp_path: Path) -> None:
    records, _ = converted(ANNOTATIONS_DATA / "label_studio_min.json", "label-studio", tmp_path)
    assert [(record["id"], mentions(record)) for record in records] == [(3, [("Ann", "PER")]), (4, [])]


def test_label_studio_files_of_old_versions_are_read_by_utf16(tmp_path: Path) -> None:
    tasks = json.loads((ANNOTATIONS_DATA / "label_studio.json").read_text())
    for region in tasks[0]["annotations"][1]["result"][:2]:
        region["value"]["start"] += 1
        region["value"]["end"] += 1
    (tmp_path / "old.json").write_text(json.dumps(tasks))
    records, done = converted(tmp_path / "old.json", "label-studio", tmp_path)
    assert len(records) == 1
    assert "UTF-16" in done.problems[0].message
    records, done = converted(tmp_path / "old.json", "label-studio", tmp_path, offsets=Unit.UTF16)
    assert mentions(records[0]) == [("Ann", "PER"), ("Rome", "GPE"), ("Rome", "LOC")]


def test_label_studio_gets_predictions_with_scores_or_annotations(tmp_path: Path) -> None:
    scored = {"id": 1, "text": "Ann", "entities": [{"start": 0, "end": 3, "label": "PER", "score": 0.5}], "by": "x"}
    path, out = tmp_path / "in.jsonl", tmp_path / "tasks.json"
    path.write_text(json.dumps(scored) + "\n" + json.dumps({"text": "None.", "entities": []}))
    convert((str(path), "jsonl"), (str(out), "label-studio"), AnnotationOptions())
    first, second = json.loads(out.read_text())
    region = {"id": "0", "from_name": "label", "to_name": "text", "type": "labels", "score": 0.5}
    region["value"] = {"start": 0, "end": 3, "text": "Ann", "labels": ["PER"]}
    assert first["data"] == {"text": "Ann", "id": 1, "by": "x"}
    assert first["predictions"] == [{"model_version": "genner", "score": 0.5, "result": [region]}]
    assert second == {"data": {"text": "None."}, "predictions": [{"model_version": "genner", "result": []}]}
    done = convert((str(path), "jsonl"), (str(out), "label-studio"), AnnotationOptions(predictions=False))
    assert json.loads(out.read_text())[0]["annotations"] == [
        {"result": [{key: value for key, value in region.items() if key != "score"}]}
    ]
    assert done.dropped.counts == {"scores": 1}


def test_doccano_counts_utf16_units(tmp_path: Path) -> None:
    records, done = converted(ANNOTATIONS_DATA / "doccano.jsonl", "doccano", tmp_path)
    assert mentions(records[0]) == [("firetrucks", "THING")]
    assert (records[0]["source"], records[1]["entities"]) == ("issue", [])
    assert not done.dropped.counts
    records, done = converted(ANNOTATIONS_DATA / "doccano.jsonl", "doccano", tmp_path, offsets=Unit.CODEPOINT)
    assert "22:32 is not a range" in done.problems[0].message


def test_doccano_with_relations_gives_its_entities(tmp_path: Path) -> None:
    records, done = converted(ANNOTATIONS_DATA / "doccano_relations.jsonl", "doccano", tmp_path)
    assert mentions(records[0]) == [("Google", "ORG"), ("Larry Page", "PERSON")]
    assert done.dropped.counts == {"fields 'relations'": 1}


def test_prodigy_gives_accepted_tasks_without_its_own_keys(tmp_path: Path) -> None:
    (record,), done = converted(ANNOTATIONS_DATA / "prodigy.jsonl", "prodigy", tmp_path)
    assert mentions(record) == [("Ann", "PER")]
    assert {key: value for key, value in record.items() if key != "entities"} == {
        "text": "Ann slept.",
        "meta": {"page": 3},
        "tokens": [[0, 3], [4, 9], [9, 10]],
    }
    assert done.dropped.counts == {
        "tasks with the answer 'reject'": 1,
        "tasks with the answer 'ignore'": 1,
        "fields 'source' of spans": 1,
    }


def test_prodigy_gets_tokens_that_fit_the_spans(tmp_path: Path) -> None:
    record = {"text": "  Re-Ann's 北京", "entities": [{"start": 5, "end": 8, "label": "PER"}]}
    (tmp_path / "in.jsonl").write_text(json.dumps(record))
    convert((str(tmp_path / "in.jsonl"), "jsonl"), (str(tmp_path / "out.jsonl"), "prodigy"), AnnotationOptions())
    (task,) = read(tmp_path / "out.jsonl")
    assert [(token["text"], token["ws"]) for token in task["tokens"]] == [
        ("  ", False),
        ("Re", False),
        ("-", False),
        ("Ann", False),
        ("'s", True),
        ("北", False),
        ("京", False),
    ]
    assert "".join(token["text"] + " " * token["ws"] for token in task["tokens"]) == record["text"]
    assert task["spans"] == [{"start": 5, "end": 8, "token_start": 3, "token_end": 3, "label": "PER"}]
    assert task["answer"] == "accept"


def test_the_papers_alpaca_is_read_though_it_escapes_nothing(tmp_path: Path) -> None:
    records, done = converted(ANNOTATIONS_DATA / "alpaca.json", "alpaca", tmp_path)
    assert not done.problems
    nested = [("Ann", "PER"), ("Acme & Co", "ORG"), ("Ann ( PHA )", "ORG"), ("Ann", "PER")]
    assert mentions(records[0]) == nested
    assert mentions(records[1]) == [("Ann", "PER"), ("Acme & Co", "ORG")]
    assert [entity["start"] for record in records[2:] for entity in record["entities"]] == [15, 8, 0, 8, 15]
    assert records[5]["entities"] == []


def test_a_completion_of_another_text_is_a_problem(tmp_path: Path) -> None:
    value = json.loads((ANNOTATIONS_DATA / "alpaca.json").read_text())[0]
    wrong = [{**value, "output": "[Bob | PER]"}, {**value, "output": '[{"text": "Bob", "label": "PER"}]'}]
    (tmp_path / "a.json").write_text(json.dumps([*wrong, {**value, "instruction": "Go."}, {"input": "x"}]))
    _, done = converted(tmp_path / "a.json", "alpaca", tmp_path)
    messages = [problem.message.removeprefix(f"{tmp_path}/") for problem in done.problems]
    assert all(message.startswith(f"a.json[{number}]: the output") for number, message in enumerate(messages[:2]))
    assert re.match(r"a\.json\[2\]: the instruction .*'Label Set:'", messages[2])
    assert re.match(r"a\.json\[3\]: no instruction .*output", messages[3])


def test_alpaca_gets_the_label_set_and_completions_of_the_format(tmp_path: Path) -> None:
    record = {"text": "Ann met Bob.", "entities": [{"start": 0, "end": 3, "label": "PER"}]}
    (tmp_path / "in.jsonl").write_text(json.dumps(record))
    out = tmp_path / "out.json"
    convert((str(tmp_path / "in.jsonl"), "jsonl"), (str(out), "alpaca"), AnnotationOptions())
    (value,) = json.loads(out.read_text())
    assert value["input"] == "Ann met Bob."
    assert value["output"] == "[Ann | PER] met Bob."
    assert "Label Set:\nPER\n" in value["instruction"]
    (tmp_path / "in.jsonl").write_text(json.dumps({"text": "None.", "entities": []}))
    with pytest.raises(UsageError, match="--types or --labels"):
        convert((str(tmp_path / "in.jsonl"), "jsonl"), (str(out), "alpaca"), AnnotationOptions())


def test_a_csv_of_words_is_known_by_its_header(tmp_path: Path) -> None:
    records, done = converted(ANNOTATIONS_DATA / "words.csv", "csv", tmp_path)
    assert [record["text"] for record in records] == ["Ann slept, they said.", '"Rome"']
    assert [record["id"] for record in records] == ["Sentence: 1", "Sentence: 2"]
    assert [mentions(record) for record in records] == [[("Ann", "per")], [("Rome", "geo")]]
    assert done.dropped.counts == {"columns 'POS'": 1}


def test_csv_columns_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("Wort\tArt\nAnna\tB-PER\nschlief\tO\n")
    _, done = converted(tmp_path / "a.tsv", "csv", tmp_path)
    assert re.search(r"a\.tsv:1: .*'Wort', 'Art'; .*--token-column", done.problems[0].message)
    records, _ = converted(tmp_path / "a.tsv", "csv", tmp_path, token_column="Wort", tag_column="Art")
    assert mentions(records[0]) == [("Anna", "PER")]


def test_csv_offsets_that_cannot_be_are_a_problem(tmp_path: Path) -> None:
    rows = [("document", "token", "tag", "start", "end"), ("a", "Ann", "O", 0, 3), ("a", "Bob", "O", 2, 5)]
    with (tmp_path / "a.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    _, done = converted(tmp_path / "a.csv", "csv", tmp_path)
    assert re.search(r"a\.csv:3: 'Bob' .*2:5", done.problems[0].message)


def test_a_csv_whose_quotes_do_not_match_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('token,tag\nAnn,"B-PER\nslept\n')
    _, done = converted(tmp_path / "a.csv", "csv", tmp_path)
    assert "not CSV (unexpected end of data)" in done.problems[0].message


def test_a_parquet_whose_text_is_no_utf8_is_a_problem(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = pa.array([b"Zo\xeb"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": text}), tmp_path / "a.parquet")
    _, done = converted(tmp_path / "a.parquet", "parquet", tmp_path)
    assert re.search(r"a\.parquet: .*\('utf-8' codec", done.problems[0].message)


def test_a_docbin_that_spacy_wrote_gives_its_entities(tmp_path: Path) -> None:
    import spacy
    from spacy.tokens import DocBin, Span

    nlp = spacy.blank("en")
    doc = nlp("Ann Smith joined  Acme.\nShe's 👩.")
    doc.ents = [Span(doc, 0, 2, label="PER"), doc.char_span(18, 22, label="ORG")]
    doc.spans["sc"] = [Span(doc, 0, 1, label="FIRST")]
    doc.spans["other"] = [Span(doc, 2, 3, label="ACT")]
    DocBin(docs=[doc]).to_disk(tmp_path / "a.spacy")
    (record,), done = converted(tmp_path / "a.spacy", "docbin", tmp_path)
    assert record["text"] == doc.text
    assert mentions(record) == [("Ann Smith", "PER"), ("Ann", "FIRST"), ("Acme", "ORG")]
    words = [record["text"][start:end] for start, end in record["tokens"]]
    assert words == [token.text for token in doc if not token.is_space]
    assert done.dropped.counts == {"spans 'other'": 1}


def test_a_docbin_for_spacy_has_flat_entities_and_all_spans(tmp_path: Path) -> None:
    import spacy
    from spacy.tokens import DocBin

    entities = [{"start": 0, "end": 9, "label": "PER"}, {"start": 0, "end": 3, "label": "FIRST"}]
    (tmp_path / "in.jsonl").write_text(json.dumps({"text": "Ann Smith slept.", "entities": entities}))
    convert((str(tmp_path / "in.jsonl"), "jsonl"), (str(tmp_path / "a.spacy"), "docbin"), AnnotationOptions())
    (doc,) = DocBin().from_disk(tmp_path / "a.spacy").get_docs(spacy.blank("en").vocab)
    assert doc.text == "Ann Smith slept."
    assert [(ent.text, ent.label_) for ent in doc.ents] == [("Ann Smith", "PER")]
    assert {(span.text, span.label_) for span in doc.spans["sc"]} == {("Ann Smith", "PER"), ("Ann", "FIRST")}


def test_a_parquet_of_another_maker_is_read(tmp_path: Path) -> None:
    import datetime

    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        {"text": "Ann slept.", "entities": [{"start": 0, "end": 3, "label": "PER"}], "day": datetime.date(2024, 3, 9)},
        {"text": "Nobody.", "entities": [], "day": None},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    records, done = converted(tmp_path / "a.parquet", "parquet", tmp_path)
    assert mentions(records[0]) == [("Ann", "PER")]
    assert records[0]["day"] == "2024-03-09"
    assert "day" not in records[1]
    assert not done.problems


@pytest.mark.parametrize(
    "format",
    [
        *("parquet", "docbin", "label-studio", "doccano", "prodigy", "alpaca", "csv", "conll"),
        *("gliner", "langextract", "presidio"),
    ],
)
@pytest.mark.parametrize("data", [b"\x80\xff\0garbage", b"[[1]]", b"", b'{"text": 3}\n', b'[{"text": "a", "data": 3}]'])
def test_what_is_not_of_the_format_is_a_problem_not_a_crash(format: str, data: bytes, tmp_path: Path) -> None:
    for name in ("a.x", "a.json"):
        (tmp_path / name).write_bytes(data)
        records, done = converted(tmp_path / name, format, tmp_path)
        assert not any(record["entities"] for record in records)
        assert all(str(tmp_path / name) in problem.message for problem in done.problems)
