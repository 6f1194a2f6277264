"""`genner extract` and `genner grammar`, in this process."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest
import zstandard
from asking import STORIES, instructions_of
from conftest import Run
from grammar_engine import refused_at

from genner_cli import hub
from genner_cli.engine.model import Model
from genner_cli.formats import FORMATS, output_format

Genner = Callable[..., Run]
TEXTS = ["Ann of Acme met Bob.", "Eve flew to Rome, Otto to Oslo.", "⟦Ann⦂PER⟧ <|end|> 北京 👩\u200d👧"]


def lines(*documents: object) -> bytes:
    return b"".join(orjson.dumps(document) + b"\n" for document in documents)


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """A file of three documents."""
    path = tmp_path / "docs.jsonl"
    path.write_bytes(lines(*({"id": number, "text": text, "more": [1]} for number, text in enumerate(TEXTS))))
    return path


@pytest.fixture
def extract(genner: Genner, random_path: Path) -> Genner:
    """`genner extract` with the model of random weights, one document after the other: no noise of batches."""
    return lambda *args, **more: genner("extract", "--model", random_path, "--slots", 1, *args, **more)


def assert_whole(records: list[dict[str, Any]]) -> None:
    """Each record has its text and entities that stand in it, with scores."""
    for record in records:
        assert "error" not in record
        for entity in record["entities"]:
            assert record["text"][entity["start"] : entity["end"]] == entity["text"]
            assert 0 <= entity["score"] <= 1
    assert any(record["entities"] for record in records)


def test_the_example_stories_give_one_record_each_with_exact_offsets(genner: Genner) -> None:
    """`genner extract examples/news.jsonl --types PER,ORG`, as in the README."""
    run = genner("extract", STORIES, "--types", "PER,ORG")
    assert run.status == 0
    stories = [orjson.loads(line) for line in STORIES.read_bytes().splitlines()]
    assert [{**record, "entities": None} for record in run.records] == [{**s, "entities": None} for s in stories]
    assert_whole(run.records)
    assert {entity["label"] for record in run.records for entity in record["entities"]} <= {"PER", "ORG"}
    count = sum(len(record["entities"]) for record in run.records)
    assert run.stderr.startswith(f"{len(stories)} documents, {count} entities, 0 failed in ")
    assert run.stderr.count("\n") == 1


def test_fields_are_carried_through_in_order(extract: Genner, docs: Path) -> None:
    run = extract(docs)
    assert [list(record) for record in run.records] == [["id", "text", "more", "entities"]] * 3
    assert [record["id"] for record in run.records] == [0, 1, 2]
    assert_whole(run.records)


BAD = {
    b"{not json": "not JSON",
    b"[1, 2]": "not an object",
    b'{"id": "no text", "txt": "Ann"}': "no field 'text'",
    b'{"id": "wrong type", "text": 7}': "not a string",
    b'{"id": "NUL", "text": "a\\u0000b"}': "NUL",
    b'{"id": "half", "text": "a\\ud800b"}': "surrogate",
    b'{"id": "latin", "text": "caf\xe9"}': "not UTF-8",
}


def test_bad_lines_are_error_records_that_say_where_and_good_ones_are_whole(
    extract: Genner, docs: Path, tmp_path: Path
) -> None:
    good, bad = docs.read_bytes().splitlines(), list(BAD)
    mixed = [good[0], *bad[:3], good[1], *bad[3:], good[2]]
    path = tmp_path / "mixed.jsonl"
    path.write_bytes(b"\n".join(mixed))
    run = extract(path)
    assert run.status == 1
    assert len(run.records) == len(mixed)
    assert [record for record in run.records if "error" not in record] == extract(docs).records
    for number, (line, record) in enumerate(zip(mixed, run.records, strict=True), 1):
        if line in BAD:
            assert record["error"]["message"].startswith(f"{path}:{number}: ")
            assert BAD[line] in record["error"]["message"]
            assert record["entities"] == []
    assert f"{len(mixed)} documents, " in run.stderr
    assert f", {len(bad)} failed" in run.stderr
    messages = [record["error"]["message"] for record in run.records if "error" in record]
    shown = [message in run.stderr for message in messages]
    assert shown == [True] * sum(shown) + [False] * (len(shown) - sum(shown)), "the first ones"
    assert 0 < sum(shown) < len(shown)
    rest = f'and {len(shown) - sum(shown)} more; see the "error" fields of the records'
    assert run.stderr.endswith(f"genner: {rest}\n")


def test_failures_in_a_file_name_the_option_that_extracts_them_again(
    extract: Genner, docs: Path, tmp_path: Path
) -> None:
    docs.write_bytes(b"{not json\n" + docs.read_bytes())
    out = tmp_path / "out.jsonl"
    first, again = extract(docs, "-o", out), extract(docs, "-o", out)
    assert (first.status, again.status) == (1, 1)
    assert f"{docs}:1: " in first.stderr
    assert first.stderr.splitlines()[-1] == again.stderr.splitlines()[-1]
    assert f" in {out}" in first.stderr
    assert "--retry-errors" in again.stderr


def test_compressed_files_text_files_and_globs_are_read(extract: Genner, tmp_path: Path) -> None:
    one, two, three = ({"text": text} for text in TEXTS)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines(one)))
    (tmp_path / "b.jsonl.zst").write_bytes(zstandard.compress(lines(two)))
    (tmp_path / "c.txt").write_text(TEXTS[2], encoding="utf-8")
    (tmp_path / "d.jsonl").write_bytes(lines(three))
    every = extract(tmp_path / "*.*").records
    assert [record["text"] for record in every] == [*TEXTS, TEXTS[2]]
    assert every[2]["id"] == "c.txt"
    assert extract(tmp_path / "b.jsonl.zst", tmp_path / "a.jsonl.gz").records == [every[1], every[0]]


def test_standard_input_is_read(extract: Genner, docs: Path) -> None:
    assert extract("-", stdin=docs.read_bytes()).records == extract(docs).records


@pytest.mark.parametrize(("name", "unpack"), [("o.jsonl", bytes), ("o.jsonl.gz", gzip.decompress)])
def test_output_goes_to_a_file(extract: Genner, docs: Path, name: str, unpack: Callable[[bytes], bytes]) -> None:
    path = docs.parent / name
    run = extract(docs, "-o", path)
    assert (run.status, run.stdout) == (0, b"")
    assert unpack(path.read_bytes()) == extract(docs).stdout
    assert list(docs.parent.glob("*.partial")) == []


def test_input_without_documents_is_done_at_once(extract: Genner) -> None:
    run = extract("-", stdin=b"\n\n")
    assert (run.status, run.stdout) == (0, b"")
    assert run.stderr.startswith("0 documents, 0 entities, 0 failed")


def test_limit_stops_reading(extract: Genner, docs: Path) -> None:
    assert extract(docs, "--limit", 2).records == extract(docs).records[:2]


@pytest.mark.parametrize("format", FORMATS)
def test_the_completion_is_kept_when_asked_for_and_is_where_the_entities_come_from(
    extract: Genner, docs: Path, format: str
) -> None:
    for record in extract(docs, "--format", format, "--keep-completion").records:
        (completion,) = record["completion"]
        found = [(e["start"], e["end"], e["label"]) for e in record["entities"]]
        parsed = output_format(format).parse(completion, record["text"])
        assert [(entity.start, entity.end, entity.label) for entity in parsed] == found


def nests(records: list[dict[str, Any]]) -> bool:
    pairs = ((a, b) for record in records for a in record["entities"] for b in record["entities"] if a != b)
    return any(a["start"] <= b["start"] and b["end"] <= a["end"] for a, b in pairs)


def test_entities_nest_only_when_asked_to(extract: Genner, docs: Path) -> None:
    assert not nests(extract(docs, "--format", "bracketed").records)
    assert not nests(extract(docs, "--format", "bracketed", "--nested", "--depth", 1).records)
    nested = extract(docs, "--format", "bracketed", "--nested").records
    assert nests(nested)
    assert_whole(nested)


def test_min_score_leaves_out_the_less_certain(extract: Genner, docs: Path) -> None:
    every = extract(docs, "--format", "xml").records
    scores = sorted(entity["score"] for record in every for entity in record["entities"])
    _, least = max((high - low, (low + high) / 2) for low, high in pairwise(scores))  # far from any score
    certain = extract(docs, "--format", "xml", "--min-score", least).records
    for record in every:
        record["entities"] = [
            {**entity, "score": pytest.approx(entity["score"], abs=5e-3)}  # noise of batches
            for entity in record["entities"]
            if entity["score"] >= least
        ]
    assert certain == every
    assert 0 < sum(len(record["entities"]) for record in certain) < len(scores)


def test_the_fields_of_text_and_id_may_have_other_names(extract: Genner, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(lines({"body": TEXTS[0], "nr": 5, "id": "other"}))
    (record,) = extract(tmp_path / "in.jsonl", "--text-field", "body", "--id-field", "nr").records
    assert list(record) == ["nr", "body", "id", "entities"]


def test_labels_and_definitions_come_from_a_file(extract: Genner, docs: Path) -> None:
    (docs.parent / "labels.yaml").write_text("PER: a person\nPLACE: where things are\n", encoding="utf-8")
    run = extract(docs, "--labels", docs.parent / "labels.yaml", "--format", "category", "--keep-completion")
    assert run.status == 0
    assert all(list(orjson.loads(record["completion"][0])) == ["PER", "PLACE"] for record in run.records)
    assert "the label 'PLACE'" in run.stderr


def test_an_unknown_label_is_warned_of_once_with_the_nearest_known_ones(
    extract: Genner, docs: Path, random_model: Model
) -> None:
    known = instructions_of(random_model).labels[0].name
    run = extract(docs, "--types", f"{known},{known}X")
    assert run.status == 0
    warnings = [line for line in run.stderr.splitlines() if "not trained" in line]
    assert len(warnings) == 1
    assert f" label '{known}X' " in warnings[0]
    assert known in warnings[0].rpartition(":")[2].strip("()").replace(",", "").split()
    assert len(run.records) == len(TEXTS)


def test_strict_labels_refuses_an_unknown_label(extract: Genner, docs: Path) -> None:
    run = extract(docs, "--types", "PERSONN", "--strict-labels")
    assert (run.status, run.stdout) == (2, b"")
    assert re.match("genner: .*trained .*label 'PERSONN' ", run.stderr)


def test_a_document_over_the_limits_is_an_error_record(extract: Genner, docs: Path) -> None:
    run = extract(docs, "--max-document-bytes", 60)
    assert run.status == 1
    assert ["error" in record for record in run.records] == [len(line) > 60 for line in docs.read_bytes().splitlines()]
    assert "raise --max-document-bytes" in run.records[-1]["error"]["message"]


def test_a_chunk_that_does_not_fit_the_context_is_an_error_record_with_a_remedy(extract: Genner, docs: Path) -> None:
    long = orjson.dumps({"id": "long", "text": "Ann met Bob and Eve in Rome. " * 40})
    docs.write_bytes(docs.read_bytes() + long)
    run = extract(docs, "--context", 256, "--chunk-bytes", 10_000)
    assert run.status == 1
    assert ["error" in record for record in run.records] == [False] * 3 + [True]
    assert re.match(rf"{docs}:4: .*\d+ tokens .*--context", run.records[-1]["error"]["message"])
    assert extract(docs, "--context", 256, "--chunk-bytes", 100, "--overlap-bytes", 0).status == 0


def test_a_broken_model_is_one_line_and_leaves_no_output(genner: Genner, docs: Path) -> None:
    data, folder = hub.BUNDLED.read_bytes(), docs.parent
    for name, content in {"cut.gguf": data[:100_000], "short.gguf": data[:-1], "no.gguf": b"PK\x03\x04"}.items():
        (folder / name).write_bytes(content)
    for name in ("cut.gguf", "short.gguf", "no.gguf", "missing.gguf", "own/name"):
        run = genner("extract", docs, "--model", folder / name if "." in name else name, "-o", folder / "out.jsonl")
        assert (run.status, run.stdout) == (1 if name in ("cut.gguf", "short.gguf", "no.gguf") else 2, b"")
        assert name in run.stderr
        assert run.stderr.startswith("genner: ")
        assert "Traceback" not in run.stderr
        assert not (folder / "out.jsonl").exists()


def test_the_model_of_the_environment_is_used_unless_another_is_named(
    genner: Genner, extract: Genner, docs: Path, random_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENNER_MODEL", str(docs.parent / "of-the-environment.gguf"))
    run = genner("extract", docs)
    assert run.status == 2
    assert "of-the-environment.gguf" in run.stderr
    assert "GENNER_MODEL" in run.stderr
    assert "GENNER_MODEL" not in genner("extract", docs, "--model", "of-the-command-line.gguf").stderr
    assert extract(docs).status == 0
    monkeypatch.setenv("GENNER_MODEL", str(random_path))
    assert genner("extract", docs, "--slots", 1).records == extract(docs).records


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["docs.jsonl", "--types", "PER", "--labels", "x.yaml"], "--types cannot be combined with --labels"),
        (["docs.jsonl", "--types", " , "], "no label"),
        (["docs.jsonl", "--types", "A]"], "label 'A]'"),
        (["docs.jsonl", "--types", "docs.jsonl"], "--types docs.jsonl: is a file"),
        (["docs.jsonl", "--labels", "none.yaml"], "none.yaml: cannot be read"),
        (["docs.jsonl", "--flat", "--depth", "2"], "--flat cannot be combined with --depth"),
        (["none.jsonl"], "none.jsonl: no such file"),
        (["none/*.jsonl"], "none/*.jsonl: matches no file"),
        (["docs.jsonl", "-o", "none/out.jsonl"], "none/out.jsonl: there is no folder"),
        (["docs.jsonl", "-o", "docs.jsonl"], "docs.jsonl: is an input"),
        (["docs.jsonl", "--text-field", "entities"], "--text-field entities: "),
        (["docs.jsonl", "--format", "yaml"], "--format"),
        (["docs.jsonl", "--slots", "0"], "--slots"),
        (["docs.jsonl", "--min-score", "1.5"], "--min-score"),
        (["docs.jsonl", "--no-such-option"], "--no-such-option"),
        ([], "INPUT"),
    ],
)
def test_a_wrong_call_says_what_is_wrong_and_ends_with_2(
    extract: Genner, docs: Path, monkeypatch: pytest.MonkeyPatch, args: list[str], message: str
) -> None:
    monkeypatch.chdir(docs.parent)
    run = extract(*args)
    assert (run.status, run.stdout) == (2, b"")
    assert message in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("format", FORMATS)
def test_grammar_prints_what_the_formats_completions_are_held_to(genner: Genner, format: str) -> None:
    run = genner("grammar", "--format", format, "--types", "PER,ORG")
    assert (run.status, run.stderr) == (0, "")
    assert run.stdout.decode() == output_format(format).grammar(["PER", "ORG"])
    rendering = output_format(format).render("Ann", [], ["PER", "ORG"])
    assert refused_at(run.stdout.decode(), rendering.completion) is None


def test_grammar_knows_nesting_and_needs_labels(genner: Genner, docs: Path) -> None:
    assert genner("grammar", "-t", "PER", "--nested").stdout.decode() == output_format("xml").grammar(["PER"], depth=4)
    (docs.parent / "labels.yaml").write_text("[PER]", encoding="utf-8")
    assert genner("grammar", "-l", docs.parent / "labels.yaml").stdout == genner("grammar", "-t", "PER").stdout
    run = genner("grammar")
    assert run.status == 2
    assert "--types PER,ORG or --labels labels.yaml" in run.stderr
