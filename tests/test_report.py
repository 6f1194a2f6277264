"""convert.report: findings as a JSON file that anybody can read."""

from __future__ import annotations

import json
from pathlib import Path

from convert.report import Finding, Report

GOOD = Finding("logits", "model", True, {"limit": 0.1})
BAD = Finding("logits", "Q2_K", False, {"noise": float("inf"), "nested": {"error": float("nan")}}, "where and why")


def test_it_has_passed_if_nothing_has_failed() -> None:
    assert Report({}, (GOOD,), {}, True).passed
    report = Report({}, (GOOD, BAD), {}, True)
    assert not report.passed
    assert report.failures == (BAD,)


def test_the_file_is_json_without_numbers_that_json_has_not(tmp_path: Path) -> None:
    path = Report({"source": "adapter"}, (GOOD, BAD), {"F16": "model.gguf"}, True).write(tmp_path / "report.json")
    value = json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda name: 1 / 0)
    assert value["source"] == "adapter"
    assert (value["passed"], value["checked"], value["files"]) == (False, True, {"F16": "model.gguf"})
    assert value["findings"][1]["measured"] == {"noise": None, "nested": {"error": None}}
    assert value["findings"][1]["message"] == "where and why"
    assert [file.name for file in tmp_path.iterdir()] == ["report.json"]
