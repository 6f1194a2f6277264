"""benchmarks/methods_trained.py, run on a few made-up documents with the bundled model, one seed and one epoch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import methods_trained
import pytest
from made_sets import record, write

PEOPLE = ("Angela Merkel", "Barack Obama", "Ada Lovelace", "Emmy Noether", "Alan Turing", "Marie Curie")
PLACES = ("Paris", "London", "Oslo", "Rome", "Lima", "Cairo")


@pytest.fixture
def ner(tmp_path: Path) -> Path:
    """The sets that the tables need, with the labels that they have."""
    folder = tmp_path / "ner"
    names = {"wnut17": ("person", "location"), "btc": ("PER", "LOC"), "crossner_politics": ("politician", "country")}
    for name, (person, place) in names.items():
        trips = [
            record(f"{who} flew to {to}.", (who, person), (to, place)) for who, to in zip(PEOPLE, PLACES, strict=True)
        ]
        nothing = [record(f"it rained for {count} days") for count in range(2, 4)]
        for split in ("train", "valid"):
            write(folder, name, split, *({**each, "id": f"{split}-{at}"} for at, each in enumerate([*trips, *nothing])))
    return folder


@pytest.mark.parametrize(
    ("report", "rows"),
    [
        (methods_trained.dynamic, 2),
        (methods_trained.virtual, 1),
        (partial(methods_trained.fusion, better="small"), 2),
        (methods_trained.preferred, 1),
    ],
)
def test_a_table_is_made_and_made_again_of_what_is_there(
    report: Callable[..., str], rows: int, ner: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(methods_trained, "LESSONS", (*methods_trained.TINY, "--epochs", 1))
    monkeypatch.setattr(methods_trained, "TEACHING", 4)
    folder = tmp_path / "made"
    found = report(folder, ner, seeds=(0,))
    assert sum(line.startswith("| ") for line in found.splitlines()) == rows + 1
    made = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert report(folder, ner, seeds=(0,)) == found
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*.gguf")}.items() <= made.items()
