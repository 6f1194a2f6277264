"""What a run did and where its time went: the mapping, and the file that `genner extract --stats` writes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from asking import STORIES
from conftest import Run

from genner_cli.engine.statistics import Costs, Statistics, report

Genner = Callable[..., Run]
DONE = Statistics(
    requests=10,
    prefix=50,
    reused=450,
    prompt=400,
    written=500,
    drafted=200,
    accepted=150,
    decoded=1000,
    outputs=600,
    others=90_000,
    steps=40,
    decode_seconds=6.0,
    choosing_seconds=2.0,
    grammar_seconds=0.5,
    scoring_seconds=0.3,
)


def test_shares_of_the_time_add_up() -> None:
    found = report(DONE, Costs(row=0.002, cell=1e-5), seconds=10.0, documents=8, failed=1)
    assert found["share"] == {"decode": 0.6, "grammar": 0.05, "source_lock": 0.12, "scoring": 0.03, "other": 0.2}
    assert found["decode_share"] == {"tokens": 0.39, "logits": 0.12, "other_slots": 0.09}
    assert (found["seconds"], found["documents"], found["failed"], found["documents_per_second"]) == (10, 8, 1, 0.8)


def test_counts_and_ratios() -> None:
    found = report(DONE, Costs(1.0, 0.0), seconds=10.0, documents=8, failed=1)
    assert found["tokens"]["reused"] == 450
    assert not [name for name in found["tokens"] if "seconds" in name]
    assert found["decode_share"] == {"tokens": 0, "logits": 0.6, "other_slots": 0}, "costs cannot exceed the time"
    assert found["tokens_per_batch"] == 25
    assert found["drafts"] == {"drafted": 200, "accepted": 150, "acceptance": 0.75}
    assert found["cache_reuse"] == 0.5


def test_a_run_that_did_nothing_has_zeros() -> None:
    found = report(Statistics(), Costs(0.0, 0.0), seconds=0.0, documents=0, failed=0)
    assert found["share"]["decode"] == found["tokens_per_batch"] == found["cache_reuse"] == 0
    assert found["drafts"]["acceptance"] == found["documents_per_second"] == 0


def test_the_file_tells_of_the_run(genner: Genner, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    run = genner("extract", STORIES, "--limit", 3, "--stats", path)
    assert (run.status, run.stderr.count("\n")) == (0, 1)
    found = orjson.loads(path.read_bytes())
    assert (found["documents"], found["failed"]) == (3, 0)
    assert sum(found["share"].values()) == pytest.approx(1, abs=0.001)
    assert sum(found["decode_share"].values()) == pytest.approx(found["share"]["decode"], abs=0.001)
    assert min(found["share"].values()) > 0
    assert found["tokens"]["written"] > 500
    assert list(tmp_path.glob("*.partial")) == []


def test_the_file_is_written_for_a_run_with_failed_documents(genner: Genner, tmp_path: Path) -> None:
    (tmp_path / "docs.jsonl").write_bytes(b'{"text":"Ann met Bob."}\n{broken\n')
    run = genner("extract", tmp_path / "docs.jsonl", "--stats", tmp_path / "run.json")
    assert run.status == 1
    found = orjson.loads((tmp_path / "run.json").read_bytes())
    assert (found["documents"], found["failed"]) == (2, 1)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("none/run.json", "none/run.json: .*mkdir -p.*--stats"),
        ("run.txt", r"run\.txt: .*\.json"),
        ("folder.json", r"folder\.json: is a folder; .*--stats"),
        ("-", "standard output .*records"),
    ],
)
def test_a_path_that_cannot_be_written_is_refused_before_the_run(
    genner: Genner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.json").mkdir()
    run = genner("extract", STORIES, "--stats", path)
    assert (run.status, run.stdout) == (2, b"")
    assert re.search(message, run.stderr)
