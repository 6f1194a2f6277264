"""examples/bundled_model/curve.py: its F1 is of all that a model finds, and models come in order."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import curve
import pytest
import quality
import quality_sets
from made_sets import write

from genner_cli import hub
from genner_cli.types import Document

TEXTS = [f"{name} of {place} met {name}'s {word} at Sun {place}." for name, place in (("Angela Merkel", "Paris"),
         ("Barack Obama", "London")) for word in ("Bunny", "Dell", "Lotus", "Apple")]  # fmt: skip


def test_what_a_model_finds_without_thresholds_is_all_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = quality.Options(tmp_path, None, (), None, None, final=False, sample=None, threads=1, kept=tmp_path)
    documents = [Document(text) for text in TEXTS]
    gold = []
    found = quality._find(options, None, documents, quality_sets.asked_for("uner_ewt"))
    for at, (text, entities) in enumerate(zip(TEXTS, found, strict=True)):
        spans = [{"start": each.start, "end": each.end, "label": each.label, "text": each.text} for each in entities]
        gold.append({"id": str(at), "text": text, "entities": spans})
    write(tmp_path, "uner_ewt", "valid", *gold)
    monkeypatch.setattr(sys, "argv", ["curve.py", str(hub.BUNDLED), "--ner", str(tmp_path), "--only", "uner_ewt"])
    curve.main()
    assert json.loads(capsys.readouterr().out) == {"model": hub.BUNDLED.name, "f1": {"uner_ewt": 100.0}}


def test_the_models_of_a_run_come_by_their_steps(tmp_path: Path) -> None:
    for step in (900, 1100):
        (tmp_path / f"model-{step}").mkdir()
    lines = [{"step": step, "loss": 1.0} for step in range(1, 1201)]
    (tmp_path / "training_log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert [(about["step"], path.name) for about, path in curve.models(tmp_path)] == [
        (900, "model-900"), (1100, "model-1100"), (1200, "model"),
    ]  # fmt: skip
