"""`genner data convert`, `stats`, `split`, `relabel` and `check`, in this process."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from conftest import Run
from labelled import ANNOTATIONS_DATA, RECIPES, read

from genner_cli.commands.data.convert import AnnotationFormatName
from genner_cli.files.annotations import ANNOTATION_FORMATS

Genner = Callable[..., Run]
EIGHT = "one two three four five six seven eight"


def lines(path: Path, *records: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def labelled(text: str, **mentions: str) -> dict[str, Any]:
    """A record with an entity for each LABEL="mention"."""
    entities = [
        {"start": text.index(mention), "end": text.index(mention) + len(mention), "label": label}
        for label, mention in mentions.items()
    ]
    return {"text": text, "entities": entities}


# convert


def test_convert_tells_what_is_lost_and_counts(genner: Genner, tmp_path: Path) -> None:
    record = {"id": 1, **labelled("Ann Lee of Acme", PER="Ann Lee", FIRST="Ann", PART="Ac")}
    run = genner("data", "convert", lines(tmp_path / "in.jsonl", record), tmp_path / "out.conll")
    assert (run.status, run.stdout) == (0, b"")
    assert (tmp_path / "out.conll").read_text() == "Ann\tB-PER\nLee\tI-PER\nof\tO\nAcme\tO\n\n"
    source = f"{tmp_path}/in.jsonl:1"
    values = [
        f"nested entities: 1 ({source}: 'Ann' (FIRST) at 0:3, 'Ann Lee' (PER)",
        f"entities with a boundary inside a token: 1 ({source}: 'Ac' (PART) at 11:13)",
        f"fields 'id': 1 ({source})",
        "1 document, 3 entities",
    ]
    assert [sum(value in line for line in run.stderr.splitlines()) for value in values] == [1] * len(values)
    assert run.stderr.count("\n") == len(values)


def test_convert_leaves_documents_with_problems_out_and_fails(genner: Genner, tmp_path: Path) -> None:
    bad = {"text": "Ann", "entities": [{"start": 0, "end": 9, "label": "PER"}]}
    source = lines(tmp_path / "in.jsonl", bad, labelled("Bob.", PER="Bob"))
    run = genner("data", "convert", source, "-", "--to", "doccano")
    assert run.status == 1
    assert run.records == [{"text": "Bob.", "label": [[0, 3, "PER"]]}]
    assert f"genner: {source}:1: entities[0]: 0:9 " in run.stderr
    assert "1 document, 1 entity, 1 problem" in run.stderr


def test_convert_reads_standard_input_and_compressed_files(genner: Genner, tmp_path: Path) -> None:
    (tmp_path / "a.conll.gz").write_bytes(gzip.compress((ANNOTATIONS_DATA / "bilou.conll").read_bytes()))
    one = genner("data", "convert", tmp_path / "a.conll.gz", "-")
    data = (ANNOTATIONS_DATA / "bilou.conll").read_bytes()
    two = genner("data", "convert", "-", "-", "--from", "conll", "--to", "jsonl", stdin=data)
    assert one.status == two.status == 0
    assert one.records == two.records
    assert one.records[0]["text"] == "Ann met Mary Ann Smith #1"


def test_convert_strict_fails_at_the_first_loss(genner: Genner, tmp_path: Path) -> None:
    source = lines(tmp_path / "in.jsonl", {"id": 1, **labelled("Ann", PER="Ann")})
    run = genner("data", "convert", source, tmp_path / "out.conll", "--strict")
    assert run.status == 1
    assert re.search("fields 'id' .*--strict", run.stderr)
    assert not (tmp_path / "out.conll").exists()


def test_convert_trims_borders_and_drops_doubles_when_told(genner: Genner, tmp_path: Path) -> None:
    entities = [{"start": 0, "end": 4, "label": "PER"}, {"start": 0, "end": 3, "label": "PER"}]
    source = lines(tmp_path / "in.jsonl", {"text": "Ann left", "entities": entities})
    assert genner("data", "convert", source, "-", "--to", "jsonl").status == 1
    run = genner("data", "convert", source, "-", "--to", "jsonl", "--trim")
    assert run.status == 0
    assert run.records[0]["entities"] == [{"start": 0, "end": 3, "label": "PER", "text": "Ann"}]
    assert re.search("white space .*: 1 ", run.stderr)
    assert "entities listed twice: 1 " in run.stderr


def test_convert_counts_offsets_in_the_unit_of_the_input(genner: Genner, tmp_path: Path) -> None:
    record = {"text": "👩 Ann", "entities": [{"start": 3, "end": 6, "label": "PER", "text": "Ann"}]}
    source = lines(tmp_path / "in.jsonl", record, {"text": "👩", "entities": [{"start": 1, "end": 2, "label": "X"}]})
    run = genner("data", "convert", source, "-", "--to", "jsonl", "--offsets", "utf16")
    assert run.records[0]["entities"] == [{"start": 2, "end": 5, "label": "PER", "text": "Ann"}]
    assert re.search(r"in\.jsonl:2: offset 1 .*utf16", run.stderr)
    assert run.status == 1


@pytest.mark.parametrize(
    ("args", "what"),
    [
        (["nowhere.jsonl", "out.conll"], "nowhere.jsonl: no such file"),
        (["in.jsonl", "in.jsonl"], "in.jsonl.* input"),
        (["in.jsonl", "out.json"], "out.json: .*--to"),
        (["in.jsonl", "missing/out.conll"], "no folder"),
        (["in.jsonl", "-", "--to", "brat"], "-: brat .*output"),
        (["-", "out.jsonl", "--from", "brat"], "-: brat .*input"),
        (["in.jsonl", "."], "exists"),
        (["in.jsonl", "out.json", "--to", "alpaca", "--types", "A", "--labels", "l.yaml"], "--types .* --labels"),
    ],
)
def test_convert_refuses_what_cannot_be(
    genner: Genner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: list[str], what: str
) -> None:
    monkeypatch.chdir(tmp_path)
    lines(tmp_path / "in.jsonl", labelled("Ann", PER="Ann"))
    run = genner("data", "convert", *args)
    assert run.status == 2
    assert re.search(what, run.stderr)


def test_convert_to_brat_leaves_nothing_behind_when_it_fails(genner: Genner, tmp_path: Path) -> None:
    scored = {"text": "Ann", "entities": [{"start": 0, "end": 3, "label": "PER", "score": 0.5}]}
    source = lines(tmp_path / "in.jsonl", labelled("Bob", PER="Bob"), scored)
    assert genner("data", "convert", source, tmp_path / "corpus", "--strict").status == 1
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]
    assert genner("data", "convert", source, tmp_path / "corpus").status == 0
    assert sorted(path.name for path in (tmp_path / "corpus").iterdir()) == [
        f"document-00000{number}.{kind}" for number in (1, 2) for kind in ("ann", "txt")
    ]


def test_convert_knows_every_form() -> None:
    assert [name.value for name in AnnotationFormatName] == list(ANNOTATION_FORMATS)


# stats


def test_stats_prints_a_table_and_json(genner: Genner, tmp_path: Path) -> None:
    source = lines(tmp_path / "in.jsonl", labelled("Ann Lee", PER="Ann Lee", FIRST="Ann"), labelled("None."))
    run = genner("data", "stats", source)
    assert run.status == 0
    assert run.stdout.decode().splitlines() == [
        "documents   2, 1 (50.0%) without entities",
        "characters  12; per document: mean 6.0, median 6.0, maximum 7",
        "entities    2, 1 (50.0%) nested",
        "            characters of an entity: mean 5.0, median 5.0, maximum 7",
        "",
        "label  entities  share  mentions  documents  mean length  longest",
        "FIRST         1  50.0%         1          1          3.0        3",
        "PER           1  50.0%         1          1          7.0        7",
    ]
    value = orjson.loads(genner("data", "stats", source, "--json").stdout)
    assert (value["documents"], value["nested"], value["labels"]["PER"]["entities"]) == (2, 1, 1)


def test_stats_tells_problems_and_fails(genner: Genner, tmp_path: Path) -> None:
    run = genner("data", "stats", lines(tmp_path / "in.jsonl", {"text": "x"}, labelled("y")))
    assert run.status == 1
    assert "in.jsonl:1: field 'entities' " in run.stderr
    assert run.stdout.startswith(b"documents   1, 1 (100.0%)")


# split


def test_split_writes_every_record_as_it_was_once(genner: Genner, tmp_path: Path) -> None:
    run = genner("data", "split", RECIPES, "-o", tmp_path / "sets", "--valid", 0.2, "--test", 0.1, "--seed", 3)
    assert run.status == 0
    sides = {side: read(tmp_path / "sets" / f"{side}.jsonl") for side in ("train", "valid", "test")}
    given = [json.loads(line) for line in gzip.decompress(RECIPES.read_bytes()).decode().splitlines()]
    assert sorted((r for side in sides.values() for r in side), key=str) == sorted(given, key=str)
    assert [len(sides[side]) for side in sides] == pytest.approx([49, 14, 7], abs=3)
    assert f"train.jsonl: {len(sides['train'])} documents" in run.stderr
    run = genner(
        "data", "check", *sorted((tmp_path / "sets").glob("*.jsonl")), "--skip", "labels", "--skip", "problems"
    )
    assert b"share texts or runs of eight words): 0" in run.stdout


def test_split_without_a_test_share_writes_two_files(genner: Genner, tmp_path: Path) -> None:
    source = lines(tmp_path / "in.jsonl", *(labelled(f"Ann {number}", PER="Ann") for number in range(10)))
    assert genner("data", "split", source, "-o", tmp_path, "--test", 0, "--valid", 0.3).status == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "train.jsonl", "valid.jsonl"]
    assert len(read(tmp_path / "valid.jsonl")) == 3


def test_split_does_not_replace_files(genner: Genner, tmp_path: Path) -> None:
    source = lines(tmp_path / "in.jsonl", labelled("Ann", PER="Ann"))
    (tmp_path / "test.jsonl").write_text("corrected by hand")
    run = genner("data", "split", source, "-o", tmp_path)
    assert (run.status, f"{tmp_path}/test.jsonl" in run.stderr) == (2, True)
    assert (tmp_path / "test.jsonl").read_text() == "corrected by hand"
    assert not (tmp_path / "train.jsonl").exists()
    (tmp_path / "valid.jsonl").touch()
    (tmp_path / "test.jsonl").unlink()
    assert genner("data", "split", source, "-o", tmp_path, "--valid", 0).status == 0


def test_split_refuses_shares_and_data_that_are_wrong(genner: Genner, tmp_path: Path) -> None:
    source = lines(tmp_path / "in.jsonl", labelled("Ann", PER="Ann"))
    run = genner("data", "split", source, "-o", tmp_path, "--train", 0.5)
    assert (run.status, "add up to 1" in run.stderr) == (2, True)
    run = genner("data", "split", lines(tmp_path / "bad.jsonl", {"text": "x"}), "-o", tmp_path)
    assert (run.status, "1 problem in" in run.stderr) == (1, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.jsonl", "in.jsonl"]


# relabel


def test_relabel_renames_and_drops_and_tells(genner: Genner, tmp_path: Path) -> None:
    record = {"id": 7, "by": "x", **labelled("Ann Lee of Acme", PER="Ann Lee", FIRST="Ann", ORG="Acme", X="of")}
    record["entities"][0]["meta"] = 1
    (tmp_path / "map.yaml").write_text("PER: person\nFIRST: person\nX:\nNONE: y\n")
    run = genner("data", "relabel", lines(tmp_path / "in.jsonl", record), "--map", tmp_path / "map.yaml")
    assert run.status == 0
    assert [(e["start"], e["label"], e.get("meta")) for e in run.records[0]["entities"]] == [
        (0, "person", 1),
        (0, "person", None),
        (11, "ORG", None),
    ]
    assert {key: run.records[0][key] for key in ("id", "by", "text")} == {"id": 7, "by": "x", "text": record["text"]}
    *counts, warning = run.stderr.splitlines()
    assert counts == [
        "PER -> person: 1 entity",
        "FIRST -> person: 1 entity",
        "X dropped: 1 entity",
        "ORG kept: 1 entity",
    ]
    assert warning.startswith("genner: NONE: ")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("", "map.yaml: .*no labels"),
        ("- PER\n", "map.yaml: .*no labels"),
        ("PER: a\nPER: b\n", "map.yaml:2: label 'PER' .*twice"),
        ("PER: a|b\n", r"map.yaml:1: label 'a\|b' "),
        ("PER: [a]\n", "map.yaml:1: .*list"),
    ],
)
def test_relabel_refuses_a_map_that_is_wrong(genner: Genner, tmp_path: Path, content: str, what: str) -> None:
    (tmp_path / "map.yaml").write_text(content)
    run = genner(
        "data", "relabel", lines(tmp_path / "a.jsonl", labelled("Ann", PER="Ann")), "-m", tmp_path / "map.yaml"
    )
    assert (run.status, run.stdout) == (2, b"")
    assert re.search(what, run.stderr)


# check


def test_check_finds_planted_mistakes_and_fails(genner: Genner, tmp_path: Path) -> None:
    train = lines(
        tmp_path / "train.jsonl",
        labelled(f"Ann {EIGHT}", PER="Ann"),
        labelled("Acme won", ORG="Acme"),
        labelled("acme won!"),
        {"text": "Bob", "entities": [{"start": 0, "end": 4, "label": "PER"}]},
    )
    test = lines(tmp_path / "test.jsonl", labelled(f"So {EIGHT}"), labelled("Acme won", PER="Acme"))
    run = genner("data", "check", train, test)
    assert run.status == 1
    out = run.stdout.decode()
    assert "problems (invalid entities and records): 1\n" in out
    assert f"{train}:4: entities[0]: 0:4 " in out
    assert "duplicates (texts that occur more than once in a file): 1\n" in out
    assert f"{test} has 2 documents " in out
    assert f" of {train} (1 identical)" in out
    assert "'Acme won' is annotated in 2 ways" in out
    assert "'Acme' is ORG 1x, PER 1x" in out
    value = orjson.loads(genner("data", "check", train, test, "--json").stdout)
    assert {name: len(found) for name, found in value.items()} == {
        "problems": 1,
        "duplicates": 1,
        "leaks": 1,
        "annotations": 1,
        "labels": 1,
    }
    assert value["duplicates"][0]["places"] == [f"{train}:2", f"{train}:3"]


def test_check_of_sound_files_finds_nothing(genner: Genner, tmp_path: Path) -> None:
    one = lines(tmp_path / "a.jsonl", labelled("Ann slept", PER="Ann"))
    two = lines(tmp_path / "b.jsonl", labelled("Ann woke", PER="Ann"))
    run = genner("data", "check", one, two)
    assert run.status == 0
    counts = [(line.split()[0], line.split()[-1]) for line in run.stdout.decode().splitlines()]
    assert counts == [(name, "0") for name in ("problems", "duplicates", "leaks", "annotations", "labels")]


@pytest.mark.parametrize("command", ["check", "stats"])
def test_a_file_without_documents_is_told(genner: Genner, tmp_path: Path, command: str) -> None:
    empty, full = lines(tmp_path / "empty.jsonl"), lines(tmp_path / "full.jsonl", labelled("Ann", PER="Ann"))
    run = genner("data", command, empty, full)
    assert run.status == 0
    assert run.stderr == f"genner: {empty}: has no documents\n"


def test_check_leaves_out_what_is_skipped(genner: Genner, tmp_path: Path) -> None:
    source = lines(tmp_path / "a.jsonl", labelled("Ann slept", PER="Ann"), labelled("Ann woke"))
    assert genner("data", "check", source).status == 1
    run = genner("data", "check", source, "--skip", "labels")
    assert run.status == 0
    assert b"labels" not in run.stdout


def test_labels_that_no_output_format_can_write_can_be_counted_renamed_and_converted(
    genner: Genner, tmp_path: Path
) -> None:
    label = "Food & Drink"
    record = {"text": "Ann ate soup", "entities": [{"start": 8, "end": 12, "label": label}]}
    source = lines(tmp_path / "in.jsonl", record, record | {"text": "Ann ate fish"})
    names = tmp_path / "names.yaml"
    names.write_text(f'"{label}": FOOD\n')
    assert orjson.loads(genner("data", "stats", source, "--json").stdout)["labels"][label]["entities"] == 2
    renamed = genner("data", "relabel", source, "--map", names)
    assert renamed.status == 0
    assert [each["entities"][0]["label"] for each in renamed.records] == ["FOOD", "FOOD"]
    assert genner("data", "convert", source, "-", "--to", "doccano").records[0]["label"] == [[8, 12, label]]
    check = genner("data", "check", source, "--skip", "labels")
    assert check.status == 1
    assert b"problems (invalid entities and records): 2" in check.stdout
    assert check.stdout.count(b"data relabel") == 1
    assert f"{source}:1, {source}:2" in check.stdout.decode()


def test_problems_of_one_kind_are_one_line_of_convert(genner: Genner, tmp_path: Path) -> None:
    bad = {"text": "Ann slept", "entities": [{"start": 0, "end": 4, "label": "PER"}]}
    source = lines(tmp_path / "in.jsonl", *[bad] * 30)
    run = genner("data", "convert", source, "-", "--to", "doccano")
    assert run.status == 1
    assert run.stderr.count("--trim") == 1
    assert "30 like it" in run.stderr
    assert genner("data", "convert", source, "-", "--to", "doccano", "--trim").status == 0
