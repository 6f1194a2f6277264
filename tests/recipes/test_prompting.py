"""benchmarks/prompting.py, run on a few made-up documents with a model of random weights."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import prompting
import pytest
from made_sets import record, write
from prompting import CONTROLS, HINTS, RETRIEVAL, SCRIPT, SHOWN, Cell, Data, permuted, planned, read_cells
from random_model import write_random_model

LINE = f"<!-- Below this line: {SCRIPT} -->"

PLACES = ("Paris", "London", "Oslo", "Rome", "Lima", "Cairo", "Bern", "Kyiv", "Doha", "Seoul", "Accra", "Quito")
CELLS = [
    *(Cell("made", "snips", "bracketed", shown) for shown in (*SHOWN, *CONTROLS)),
    *(Cell("made", "snips", "bracketed", "nearest 4", kind) for kind in ("format", "off")),
    *(Cell("made", RETRIEVAL, "bracketed", shown) for shown in ("nearest 4", "sentence 4", "span 4", "random-1 4")),
    *(Cell("made", "wikigold", "category", shown) for shown in ("nearest 4", *HINTS, "none")),
]


@pytest.fixture
def ner(tmp_path: Path) -> Path:
    folder = tmp_path / "ner"
    songs = [record(f"play some jazz in {place}", ("jazz", "genre"), (place, "city")) for place in PLACES]
    trips = [record(f"Ann flew to {place}.", ("Ann", "PER"), (place, "LOC")) for place in PLACES]
    write(folder, "snips", "train", *songs)
    write(folder, "snips", "test", record("play jazz in Bonn", ("jazz", "genre"), ("Bonn", "city")), record("stop"))
    write(folder, "wikigold", "test", *trips)
    return folder


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompting, "DOCUMENTS", 2)
    monkeypatch.setattr(prompting, "planned", lambda models: iter(CELLS))


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["prompting.py", *map(str, arguments)])
    prompting.main()


def test_cells_are_measured_once_and_become_tables(
    small: None, ner: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cells, page = tmp_path / "cells.jsonl", tmp_path / "page.md"
    model = write_random_model(tmp_path / "foreign.gguf", leave_out=["genner."])
    arguments = ("--ner", ner, "--cells", cells)
    run(monkeypatch, *arguments, "--model", f"made={model}")
    assert len(capsys.readouterr().out.splitlines()) == len(CELLS)
    lines = [line for line in cells.read_text("utf-8").splitlines() if line]
    assert [Cell(**json.loads(line)["cell"]) for line in lines] == CELLS
    shown = [json.loads(line)["prompt_tokens"] for line in lines]
    assert shown[0] < shown[2] < shown[3], "examples take tokens, more of them more"

    cells.write_text("\n".join(lines[:-1]) + "\n" + lines[-1][:40], "utf-8")  # the last one was cut off
    run(monkeypatch, *arguments, "--model", f"made={model}")
    assert capsys.readouterr().out.splitlines() == ["made wikigold category none source"]
    assert list(read_cells(cells)) == CELLS

    page.write_text(f"What is known.\n{LINE}\nstale", "utf-8")
    run(monkeypatch, *arguments, "--page", page)
    written = page.read_text("utf-8")
    assert written.startswith(f"What is known.\n{LINE}\n")
    assert "stale" not in written
    for title in ("made, snips", "made, wikigold", "Constraint", "Controls", "Ways of retrieval", "Hints"):
        assert f"**{title}**" in written


def test_what_is_asked_about_is_never_among_what_is_chosen_from(small: None, ner: Path) -> None:
    for name in ("snips", "wikigold", RETRIEVAL):
        data = Data.read(ner, name)
        assert len(data.asked) == 2
        assert data == Data.read(ner, name)
        assert not {document.text for document in data.asked} & {document.text for document in data.pool}


def test_permuted_labels_are_all_others(small: None, ner: Path) -> None:
    pool = Data.read(ner, "snips").pool
    names = ["genre", "city", "artist"]
    changed = permuted(pool, names)
    for before, after in zip(pool, changed, strict=True):
        assert [(e.start, e.end) for e in before.entities] == [(e.start, e.end) for e in after.entities]
        assert all(one.label != other.label for one, other in zip(before.entities, after.entities, strict=True))
    pairs = {(one.label, other.label) for b, a in zip(pool, changed, strict=True)
             for one, other in zip(b.entities, a.entities, strict=True)}  # fmt: skip
    assert len(pairs) == 2


def test_what_matters_most_is_measured_first() -> None:
    cells = list(dict.fromkeys(planned(["one", "two"])))
    assert all(cell.model == "one" and cell.shown == "none" for cell in cells[:10])
    tables = [cell for cell in cells if cell.shown in SHOWN and cell.constraint == "source" and cell.set != RETRIEVAL]
    assert len(tables) == 2 * 3 * 5 * 4
