"""benchmarks/losses.py on a few made-up documents, with the bundled model as the base."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import losses
import pytest
from losses import SCRIPT
from made_sets import record, write

PLACES = ("Paris", "London", "Oslo", "Rome", "Lima", "Cairo")


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["losses.py", *map(str, arguments)])
    losses.main()


def test_what_is_trained_is_measured_and_shown_and_nothing_is_done_twice(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(losses, "SIZES", {"snips": (4, 2)})
    monkeypatch.setattr(losses, "LOSSES", ("completion",))
    ner, out, page = tmp_path / "ner", tmp_path / "out", tmp_path / "page.md"
    songs = [record(f"play some jazz in {place}", ("jazz", "genre"), (place, "city")) for place in PLACES]
    write(ner, "snips", "train", *songs)
    arguments = ("--ner", ner, "-o", out, "--base", "small")
    run(monkeypatch, *arguments)
    shutil.copytree(out / "snips" / "completion", out / "snips" / "locked")
    made = {path: path.stat().st_mtime_ns for path in out.rglob("*.gguf")}
    assert len(made) == 4
    monkeypatch.setattr(losses, "LOSSES", ("completion", "locked"))
    run(monkeypatch, *arguments)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.gguf")} == made

    page.write_text(f"What is known.\n<!-- Below this line: {SCRIPT} -->\n", "utf-8")
    run(monkeypatch, *arguments, "--page", page)
    lines = page.read_text("utf-8").splitlines()
    rows = [line.split(" | ") for line in lines if line.startswith("| snips")]
    assert [row[1] for row in rows] == ["completion", "locked"] * 2
    assert all(row[3].endswith(")") for row in rows[:2])
    assert rows[0][-1] == "- |"
    assert rows[1][-1] == "+0.0 (+0.0 to +0.0) |"


def test_what_is_measured_on_was_not_learnt_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(losses, "SIZES", {"snips": (4, 2)})
    songs = [record(f"play some jazz in {place}", ("jazz", "genre")) for place in PLACES]
    write(tmp_path, "snips", "train", *songs)
    data = losses.Data.read(tmp_path, "snips")
    assert (len(data.train), len(data.valid)) == (4, 2)
    assert not {each.text for each in data.train} & {each.text for each in data.valid}
