"""`genner evaluate`, in this process: real text, the bundled model, real files."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from conftest import Run

from genner_cli.files.gold import read_gold
from genner_cli.scoring import score

Genner = Callable[..., Run]
GOLD = Path(__file__).parent / "web" / "gold.jsonl"


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the gold file, and what the bundled model finds in it: all, and with scores of 0.5 or more."""
    from genner_cli.api import extract

    folder = tmp_path_factory.mktemp("web")
    (folder / "gold.jsonl").write_bytes(GOLD.read_bytes())
    texts = [{key: value for key, value in line.items() if key != "entities"} for line in read(GOLD)]
    found = list(extract(texts, types="PER,ORG,LOC", threads=1, gpu_layers=0))
    write(folder / "all.jsonl", found)
    few = [{**record, "entities": [e for e in record["entities"] if e["score"] >= 0.5]} for record in found]
    write(folder / "few.jsonl", few)
    return folder


def read(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def write(path: Path, records: list[dict[str, Any]]) -> None:
    path.write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in records))


def value(run: Run) -> dict[str, Any]:
    assert run.status == 0, run.stderr
    found: dict[str, Any] = orjson.loads(run.stdout)
    return found


def test_predictions_are_scored_strictly(genner: Genner, web: Path) -> None:
    found = value(genner("evaluate", web / "gold.jsonl", "--predictions", web / "all.jsonl", "--json"))
    gold, predicted = (read_gold([str(web / name)]).documents for name in ("gold.jsonl", "all.jsonl"))
    own = score((a.entities, b.entities) for a, b in zip(gold, predicted, strict=True))
    assert found["micro"]["f1"]["value"] == own.micro.f1 > 0.4
    assert found["micro"]["hit"] == own.micro.hit
    assert found["micro"]["f1"]["low"] < own.micro.f1 < found["micro"]["f1"]["high"]
    assert set(found["labels"]) == {"PER", "ORG", "LOC"}
    assert found["documents"] == {
        "documents": 120,
        "without_gold": sum(not each.entities for each in gold),
        "without_predicted": sum(not each.entities for each in predicted),
        "failed": 0,
    }
    classes = {name: errors["count"] for name, errors in found["errors"].items()}
    predicted_count = sum(len(record["entities"]) for record in read(web / "all.jsonl"))
    assert sum(each["entities"] for each in found["scores"]["reliability"]) == predicted_count
    assert 0 < found["scores"]["error"] < 0.5
    meant = own.micro.missed - classes["missed"]
    assert meant == sum(classes[name] for name in ("wrong label", "wrong boundary", "wrong label and boundary"))


def test_a_model_is_scored_like_the_predictions_that_it_writes(genner: Genner, web: Path) -> None:
    """The same labels in the same order ask the same question."""
    small = web / "small.jsonl"
    write(small, read(web / "gold.jsonl")[:25])
    wrote = genner("extract", small, "--types", "PER,ORG,LOC", "-o", web / "small-predicted.jsonl")
    assert wrote.status == 0
    options = ("--types", "PER,ORG,LOC", "--json")
    of_model = value(genner("evaluate", small, *options))
    of_file = value(genner("evaluate", small, "--predictions", web / "small-predicted.jsonl", *options))
    for found in (of_model, of_file):  # a file has scores of four decimals
        for errors in found["errors"].values():
            for example in errors["examples"]:
                (example["predicted"] or {}).pop("score", None)
    errors = [found.pop("scores")["error"] for found in (of_model, of_file)]
    assert errors[0] == pytest.approx(errors[1], abs=1e-3)
    assert of_model == of_file
    assert of_model["micro"]["hit"] > 0


def test_the_tables_are_for_people(genner: Genner, web: Path) -> None:
    run = genner("evaluate", web / "gold.jsonl", "-p", web / "all.jsonl")
    assert run.status == 0
    text = run.stdout.decode()
    for part in (
        "120 documents: ",
        "strict",
        "partial",
        "macro (strict)",
        "F1 (95 % interval)",
        "PER",
        "wrong boundary",
        "missed",
    ):
        assert part in text
    assert max(map(len, text.splitlines())) <= 120


def test_fewer_labels_are_scored_where_they_are_named(genner: Genner, web: Path) -> None:
    whole = value(genner("evaluate", web / "gold.jsonl", "-p", web / "all.jsonl", "--json"))
    only = value(genner("evaluate", web / "gold.jsonl", "-p", web / "all.jsonl", "--json", "--types", "PER"))
    assert set(only["labels"]) == {"PER"}
    assert only["labels"]["PER"]["hit"] == whole["labels"]["PER"]["hit"]
    assert only["micro"]["hit"] == only["labels"]["PER"]["hit"]


def test_predictions_with_other_labels_than_gold_are_warned_of(genner: Genner, web: Path, tmp_path: Path) -> None:
    names = {"PER": "person", "ORG": "organization", "LOC": "location"}
    for name, kept in (("others", ()), ("some", ("PER",))):
        renamed = [
            {**record, "entities": [{**e, "label": e["label"] if e["label"] in kept else names[e["label"]]}
                                    for e in record["entities"]]}
            for record in read(web / "all.jsonl")
        ]  # fmt: skip
        write(tmp_path / f"{name}.jsonl", renamed)
    gold, all, others, some = web / "gold.jsonl", web / "all.jsonl", tmp_path / "others.jsonl", tmp_path / "some.jsonl"
    for call in (("-p", others), ("-p", all, "--compare", others)):
        run = genner("evaluate", gold, *call)
        assert run.status == 0
        assert run.stderr.startswith(f"genner: {others}: ")
        assert [part in run.stderr for part in ("person", "PER", "genner data relabel")] == [True] * 3
    for path in (all, some):
        assert genner("evaluate", gold, "-p", path).stderr == ""


def test_another_prediction_is_compared(genner: Genner, web: Path) -> None:
    run = genner("evaluate", web / "gold.jsonl", "-p", web / "all.jsonl", "--compare", web / "few.jsonl", "--json")
    found = value(run)["comparison"]["micro"]
    other = value(genner("evaluate", web / "gold.jsonl", "-p", web / "few.jsonl", "--json"))["micro"]["f1"]["value"]
    assert found["second"] == other
    assert found["difference"]["value"] == found["first"] - found["second"]
    assert found["difference"]["low"] < found["difference"]["value"] < found["difference"]["high"]
    assert 0 < found["p"] <= 1
    same = genner("evaluate", web / "gold.jsonl", "-p", web / "all.jsonl", "--compare", web / "all.jsonl")
    assert "+0.0 (+0.0 to +0.0), p = 1" in same.stdout.decode()


def test_a_page_is_written(genner: Genner, web: Path) -> None:
    run = genner("evaluate", web / "gold.jsonl", "-p", web / "all.jsonl", "--html", web / "page.html")
    assert run.status == 0
    assert f"{web / 'page.html'}: " in run.stderr
    html = (web / "page.html").read_text()
    assert html.startswith("<!doctype html>")
    assert html.count("<svg") == 4
    assert "uner_ewt-valid" in html


def test_a_page_needs_the_library_that_draws(genner: Genner, web: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "genner_cli.plots.charts", raising=False)
    run = genner("evaluate", web / "gold.jsonl", "-p", web / "all.jsonl", "--html", web / "none.html")
    assert (run.status, run.stdout) == (2, b"")
    assert re.fullmatch(r"genner: --html .*pip install 'genner\[plots\]'\n", run.stderr)
    assert genner("evaluate", web / "gold.jsonl", "-p", web / "all.jsonl").status == 0


def test_official_figures_from_completions(genner: Genner, web: Path) -> None:
    """On text without markup characters strict inline figures and the paper's are the same."""
    small = web / "official.jsonl"
    write(small, [line for line in read(web / "gold.jsonl")[:25] if not set("[]|") & set(line["text"])])
    options = ("--types", "PER,ORG,LOC", "--format", "bracketed")
    wrote = genner("extract", small, *options, "--keep-completion", "-o", web / "official-predicted.jsonl")
    assert wrote.status == 0
    predicted = ("-p", web / "official-predicted.jsonl")
    official = value(genner("evaluate", small, *predicted, *options, "--scorer", "official", "--json"))
    own = value(genner("evaluate", small, *predicted, *options, "--json"))
    assert official["labels"] == own["labels"]
    assert official["micro"] == own["micro"]
    assert official["left_out"] == 0
    of_model = value(genner("evaluate", small, *options, "--scorer", "official", "--json"))
    assert of_model == official
    table = genner("evaluate", small, *predicted, *options, "--scorer", "official").stdout.decode()
    assert "official" in table


def test_official_figures_need_completions_and_a_format(genner: Genner, web: Path) -> None:
    call = ("evaluate", web / "gold.jsonl", "-p", web / "all.jsonl", "--scorer", "official")
    run = genner(*call)
    assert run.status == 2
    assert "--format" in run.stderr
    run = genner(*call, "--format", "inserted")
    assert run.status == 1
    assert "--keep-completion" in run.stderr


def test_nested_gold_data_are_extracted_nested(genner: Genner, tmp_path: Path) -> None:
    text = "The University of Rome is old."
    entities = [{"start": 4, "end": 22, "label": "ORG"}, {"start": 18, "end": 22, "label": "LOC"}]
    write(tmp_path / "gold.jsonl", [{"id": "1", "text": text, "entities": entities}])
    found = value(genner("evaluate", tmp_path / "gold.jsonl", "--json"))
    assert found["parts"]["inner"]["missed"] + found["parts"]["inner"]["hit"] == 1


def test_problems_of_the_gold_data_are_all_named(genner: Genner, tmp_path: Path) -> None:
    path = tmp_path / "gold.jsonl"
    write(path, [{"text": "Ann.", "entities": [{"start": 0, "end": 9, "label": "PER"}]}, {"text": "Bob."}])
    run = genner("evaluate", path)
    assert (run.status, run.stdout) == (1, b"")
    lines = run.stderr.splitlines()
    assert lines[0].startswith("genner: 2 problems")
    assert lines[1].startswith(f"genner: {path}:1: entities[0]: 0:9 ")
    assert lines[2].startswith(f"genner: {path}:2: field 'entities' ")


def test_the_same_problem_of_many_documents_is_named_once(genner: Genner, tmp_path: Path) -> None:
    path = tmp_path / "gold.jsonl"
    bad = {"text": "Ann.", "entities": [{"start": 0, "end": 9, "label": "PER"}]}
    write(path, [*({"text": f"Bob {number}."} for number in range(50)), bad])
    lines = genner("evaluate", path).stderr.splitlines()
    assert len(lines) == 3
    assert lines[1].startswith(f"genner: {path}:1: ")
    assert lines[2].startswith(f"genner: {path}:51: ")
    assert lines[1].endswith(f"(50 like it; {path}:2, {path}:3, {path}:4, ...)")


def test_predictions_of_other_documents_are_refused(genner: Genner, web: Path, tmp_path: Path) -> None:
    write(tmp_path / "shifted.jsonl", read(web / "all.jsonl")[1:])
    run = genner("evaluate", web / "gold.jsonl", "-p", tmp_path / "shifted.jsonl")
    assert (run.status, run.stdout) == (1, b"")
    assert re.search(r"gold\.jsonl:1: document .*no prediction", run.stderr)
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["-p", "all.jsonl", "--model", "x.gguf"], "--predictions cannot be combined with --model"),
        (["-p", "none.jsonl"], "none.jsonl: no such file"),
        (["--compare", "none.jsonl", "--model", "none.gguf"], "none.jsonl: no such file"),
        (["-p", "all.jsonl", "--types", "person,org"], "person, org; theirs are LOC, ORG, PER"),
        (["-p", "all.jsonl", "--scorer", "official", "--format", "xml", "--html", "x.html"], "--html "),
        (["-p", "all.jsonl", "--html", "x.txt"], "x.txt: unknown kind"),
        (["-p", "all.jsonl", "--html", "none/x.html"], "none/x.html: there is no folder"),
        (["--calibration", "x.json", "--no-calibration"], "--calibration cannot be combined with --no-calibration"),
        (["-p", "all.jsonl", "--flat", "--depth", "2"], "--flat cannot be combined with --depth"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(
    genner: Genner, web: Path, monkeypatch: pytest.MonkeyPatch, args: list[str], message: str
) -> None:
    monkeypatch.chdir(web)
    run = genner("evaluate", "gold.jsonl", *args)
    assert (run.status, run.stdout) == (2, b"")
    assert message in run.stderr


def test_predictions_do_not_need_the_model_of_the_environment(
    genner: Genner, web: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENNER_MODEL", "not-there.gguf")
    assert genner("evaluate", web / "gold.jsonl", "-p", web / "all.jsonl").status == 0
