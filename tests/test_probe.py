"""`genner probe`: whole probes of a tiny base, cut off and gone on with; the bundled model under each constraint."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from conftest import Run
from small_bases import RECORDS, write_jsonl, write_small_base

from genner_cli.probing.retention import answer_of
from genner_cli.probing.suite import Choice, Exact, Prose
from genner_cli.training.likelihood import open_language_model

Genner = Callable[..., Run]
pytestmark = pytest.mark.usefixtures("one_thread")
GOLD = Path(__file__).parent / "web" / "gold.jsonl"
LEARNT = ("--preset", "tiny", "--loss", "completion", "--epochs", "1", "--batch-size", "8", "--rank", "4")
FAST = (*LEARNT, "--threads", "1")
VALID = [
    {
        "text": f"{person} saw {place}.",
        "entities": [
            {"start": 0, "end": len(person), "label": "PER"},
            {"start": len(person) + 5, "end": len(person) + 5 + len(place), "label": "LOC"},
        ],
    }
    for person, place in (("Otto", "Bern"), ("Ann", "Rome"), ("Mia", "Riga"))
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """To learn from and to measure on."""
    folder = tmp_path_factory.mktemp("data")
    return write_jsonl(folder / "train.jsonl", RECORDS[:8]), write_jsonl(folder / "valid.jsonl", VALID)


def results(folder: Path) -> dict:  # type: ignore[type-arg]
    assert ElementTree.parse(folder / "results.svg").getroot().tag.endswith("svg")
    return dict(json.loads((folder / "results.json").read_text()))


def times(folder: Path) -> dict[str, int]:
    """When each file of a result was written."""
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


def test_formats_are_trained_alike_measured_and_not_done_again(
    genner: Genner, base: Path, files: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "formats"
    call = ("probe", "formats", *files, "--base", base, "-o", out, "--formats", "xml,offset", *FAST)
    run = genner(*call)
    assert run.status == 0, run.stderr
    assert ": 8 of 8" in run.stderr
    found = results(out)
    assert {(name, held) for name, row in found.items() for held in row} == {
        (name, held) for name in ("xml", "offset") for held in ("off", "format", "source")
    }
    for row in found.values():
        assert {cell["documents"] for cell in row.values()} == {3}
        assert (row["source"]["invalid"], row["source"]["invented"]) == (0, 0)
        assert row["off"]["invalid"] == 3
        assert row["source"]["tokens"] < row["off"]["tokens"]
    told = json.loads((out / "xml" / "adapter" / "genner.json").read_text())
    assert (told["genner.format"], json.loads(told["genner.training.options"])["format"]) == ("xml", "xml")

    before = times(out)
    (out / "offset" / "format.json").unlink()
    assert genner(*call).stdout == run.stdout or "s/doc" in run.stdout.decode()
    after = times(out)
    assert {name for name in before if before[name] != after[name]} == {
        "offset/format.json", "results.json", "results.svg",
    }  # fmt: skip

    (out / "xml" / "model.gguf").unlink()
    assert genner(*call).status == 0
    redone = times(out)
    assert redone["xml/adapter/genner.json"] == before["xml/adapter/genner.json"]
    assert redone["xml/model.gguf"] != before["xml/model.gguf"]

    other = genner(*call, "--seed", "1")
    assert other.status == 2
    assert re.search("options .*{'seed': 0} .*{'seed': 1}", other.stderr)


def test_memorization_has_its_four_variants_and_compares_them_in_pairs(
    genner: Genner, base: Path, files: tuple[Path, Path], tmp_path: Path
) -> None:
    out, labels = tmp_path / "memorization", tmp_path / "labels.yaml"
    labels.write_text("PER: a person\nLOC: a place\n")
    call = ("probe", "memorization", *files, "--base", base, "-o", out, "--labels", labels, *FAST)
    run = genner(*call)
    assert run.status == 0, run.stderr
    found = results(out)
    assert list(found["variants"]) == ["named", "symbol-only", "symbol-explained", "entity-swap"]
    assert list(found["changes"]) == ["symbol-only", "symbol-explained", "entity-swap"]
    assert all(change["f1"]["low"] <= change["f1"]["high"] for change in found["changes"].values())
    told = {
        variant: json.loads(json.loads((out / variant / "adapter" / "genner.json").read_text())["genner.labels"])
        for variant in ("named", "symbol-only", "symbol-explained")
    }
    assert told == {
        "named": {"PER": "a person", "LOC": "a place"},
        "symbol-only": {"A": "", "B": ""},
        "symbol-explained": {"A": "a person", "B": "a place"},
    }
    learnt = [json.loads(line) for line in (out / "symbol-only" / "train.jsonl").read_text().splitlines()]
    assert {each["label"] for record in learnt for each in record["entities"]} == {"A", "B"}
    seen = {record["text"][e["start"] : e["end"]] for record in RECORDS[:8] for e in record["entities"]}  # type: ignore[index,attr-defined]
    swapped = [json.loads(line) for line in (out / "swapped.jsonl").read_text().splitlines()]
    assert not {each["text"] for record in swapped for each in record["entities"]} & seen
    assert found["swapped"] == {"replaced": 6, "kept": {}}
    assert b"entity-swap: 6 entities replaced" in run.stdout

    before = times(out)
    (out / "entity-swap" / "result.json").unlink()
    assert genner(*call).status == 0
    after = times(out)
    assert after["named/model.gguf"] == before["named/model.gguf"]
    assert after["named/result.json"] == before["named/result.json"]
    assert after["entity-swap/result.json"] != before["entity-swap/result.json"]


def test_retention_asks_before_and_after_and_an_adapter_of_another_base_is_refused(
    genner: Genner, base: Path, files: tuple[Path, Path], tmp_path: Path
) -> None:
    adapter = tmp_path / "adapter"
    assert genner("train", files[0], "--base", base, "-o", adapter, *FAST[:-2]).status == 0
    suite = tmp_path / "suite.jsonl"
    items = [
        {"task": "which", "question": "Who?", "choices": ["Ann", "a table"], "answer": 0},
        {"task": "exactly", "prompt": "1 2 3", "answer": "4"},
        {"task": "prose", "text": "Ann went to Rome on day 1."},
    ]
    suite.write_text("".join(json.dumps(item) + "\n" for item in items))
    out = tmp_path / "retention"
    call = ("probe", "retention", "--before", base, "--after", adapter, "--suite", suite, "-o", out)
    run = genner(*call)
    assert run.status == 0, run.stderr
    found = results(out)
    assert {task: value["measure"] for task, value in found.items()} == {
        "which": "accuracy", "exactly": "accuracy", "prose": "perplexity",
    }  # fmt: skip
    assert found["prose"]["after"]["value"] < found["prose"]["before"]["value"]
    assert {path.name for path in out.iterdir()} == {
        "probe.json", "before.json", "after.json", "results.json", "results.svg",
    }  # fmt: skip
    (out / "after.json").unlink()
    before = times(out)
    assert genner(*call).stdout == run.stdout
    assert times(out)["before.json"] == before["before.json"]
    refused = genner("probe", "retention", "--before", "bundled", "--after", adapter, "-o", tmp_path / "other")
    assert refused.status == 1, refused.stderr
    assert {path.name for path in (tmp_path / "other").iterdir()} == {"probe.json"}


def test_a_language_model_is_asked_for_what_transformers_says(base: Path) -> None:
    with open_language_model(base, device="cpu") as model:
        whole = model.likelihood("Ann went to Rome.")
        parts = model.likelihood("Ann went"), model.likelihood(" to Rome.", after="Ann went")
        assert whole.log_probability == pytest.approx(sum(part.log_probability for part in parts), rel=1e-4)
        assert whole.tokens == sum(part.tokens for part in parts) > 0
        assert whole.log_probability < -whole.tokens
        written = model.greedy("Ann", most=5)
        assert "\n" not in written
        likeliest = max((" Rome", " zzzz"), key=lambda text: model.likelihood(text, after="Question: Who?\nAnswer:")[0])
        answer = [" Rome", " zzzz"].index(likeliest)
        assert answer_of(model, Choice("t", "Who?", ("Rome", "zzzz"), answer)) in ((1, 1), (0, 1))
        assert answer_of(model, Exact("t", "Ann", model.greedy("Ann", most=len("no such answer") + 8))).weight == 1
        assert answer_of(model, Exact("t", "Ann", "no such answer")) == (0, 1)
        assert answer_of(model, Prose("t", "Ann went to Rome.")) == (
            round(-1000 * whole.log_probability), whole.tokens,
        )  # fmt: skip


def test_constraint_measures_the_bundled_model_three_times_on_real_sentences(genner: Genner, tmp_path: Path) -> None:
    gold = tmp_path / "gold.jsonl"
    short = sorted((line for line in GOLD.read_text().splitlines() if "LOC" in line or "PER" in line), key=len)[:4]
    gold.write_text("".join(line + "\n" for line in short))
    out = tmp_path / "constraint"
    call = ("probe", "constraint", gold, "-o", out, "--threads", "1", "--gpu-layers", "0")
    run = genner(*call)
    assert run.status == 0, run.stderr
    found = results(out)
    assert list(found["constraints"]) == ["off", "format", "source"]
    assert list(found["changes"]) == ["format - off", "source - off", "source - format"]
    source = found["constraints"]["source"]
    assert (source["invalid"], source["invented"]) == (0, 0)
    assert source["f1"]["value"] > 0.3
    measured = json.loads(genner("evaluate", gold, "--no-calibration", "--json").stdout)
    assert {name: source[name] for name in ("hit", "missed", "spurious", "f1")} == {
        name: measured["micro"][name] for name in ("hit", "missed", "spurious", "f1")
    }
    assert genner(*call).stdout == run.stdout
    places = ("--types", "LOC")
    assert genner("probe", "constraint", gold, "-o", tmp_path / "places", *places, *call[5:]).status == 0
    asked = json.loads(genner("evaluate", gold, "--no-calibration", "--json", *places).stdout)["micro"]
    only = results(tmp_path / "places")["constraints"]["source"]
    assert (only["hit"], only["missed"], only["spurious"]) == (asked["hit"], asked["missed"], asked["spurious"])
    assert only["hit"] + only["missed"] < source["hit"] + source["missed"]
    other = genner(*call, "--chunk-bytes", "100")
    assert other.status == 2
    assert re.search(r"chunk-bytes .*\b100\b", other.stderr)


def test_what_cannot_be_probed_is_refused_before_anything_is_made(
    genner: Genner, files: tuple[Path, Path], tmp_path: Path
) -> None:
    nested = write_jsonl(tmp_path / "nested.jsonl", [{
        "text": "Bank of Rome", "entities": [
            {"start": 0, "end": 12, "label": "ORG"}, {"start": 8, "end": 12, "label": "LOC"},
        ],
    }])  # fmt: skip
    settings = tmp_path / "settings.yaml"
    settings.write_text("format: xml\n")
    out = tmp_path / "out"
    formats = ("probe", "formats", *files, "--base", "bundled", "-o", out)
    for call, said in (
        ((*formats, "--formats", "xml,yaml"), "there is no output format 'yaml'"),
        ((*formats, "--options", settings), "name the formats with --formats"),
        (("probe", "formats", nested, nested, "--base", "bundled", "-o", out), "give --nested"),
        (("probe", "memorization", nested, nested, "--base", "bundled", "-o", out), "give --nested"),
        (("probe", "retention", "--before", "bundled", "--after", tmp_path, "--suite", "x", "-o", out), "no suite 'x'"),
        (("probe", "constraint", "-", "-o", out), "name files, not '-'"),
    ):
        run = genner(*call, stdin=b'{"text": "a", "entities": []}')
        assert (run.status, said in run.stderr) == (2, True), run.stderr
    assert not out.exists()
