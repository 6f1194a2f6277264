"""benchmarks/paper.py on made-up sets and texts."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import paper
import pytest
import zstandard
from pages import write_below

ESTIMATE = {"value": 0.5, "low": 0.25, "high": 0.75}
CELL = {
    "documents": 4, "invalid": 1, "failed": 0, "claimed": 10, "invented": 2, "tokens": 50,
    "precision": ESTIMATE, "recall": ESTIMATE, "f1": ESTIMATE,
}  # fmt: skip


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["paper.py", *map(str, arguments)])
    paper.main()


def write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), "utf-8")


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(paper, "TRAIN", 5)
    monkeypatch.setattr(paper, "VALID", 3)
    monkeypatch.setattr(paper, "PASSAGES", {"novels": 2, "wikinews": 2})
    folder = tmp_path / "ner" / paper.SET
    folder.mkdir(parents=True)
    for split in ("train", "valid"):
        rows = "".join(json.dumps({"text": f"{split} {number}", "entities": []}) + "\n" for number in range(9))
        (folder / f"{split}.jsonl.gz").write_bytes(gzip.compress(rows.encode()))
    words = [f"abcde{chr(97 + number % 26)}{chr(97 + number // 26)}" for number in range(paper.WORDS + 5)]
    text = "\n\n".join(["too short", *(" ".join([*words[at:], *words[:at]]) for at in range(4))])
    for name in paper.PASSAGES:
        lines = json.dumps({"title": name, "text": text}) + "\n"
        (tmp_path / f"{name}.jsonl.zst").write_bytes(zstandard.compress(lines.encode()))
    return tmp_path


def test_data_are_the_same_each_time_and_ask_for_the_last_word(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("first", "second"):
        run(monkeypatch, "data", "--ner", sources / "ner", "--text", sources, "-o", tmp_path / name)
    files = sorted(path.relative_to(tmp_path / "first") for path in (tmp_path / "first").rglob("*.*"))
    assert [(tmp_path / "first" / file).read_bytes() for file in files] == [
        (tmp_path / "second" / file).read_bytes() for file in files
    ]
    assert [len((tmp_path / "first" / f"{name}.jsonl").read_text().splitlines()) for name in ("train", "valid")] == [
        5,
        3,
    ]
    tasks = tmp_path / "first" / "tasks"
    asked = [json.loads(line) for line in (tasks / "last_word.jsonl").read_text("utf-8").splitlines()]
    prose = [json.loads(line)["text"] for line in (tasks / "prose.jsonl").read_text("utf-8").splitlines()]
    assert len(asked) == len(prose) == 4
    for question, passage in zip(asked, prose, strict=True):
        assert f"{question['question']} {question['choices'][question['answer']]}" == passage
        assert len(set(question["choices"])) == 4


def test_page_shows_the_probes_that_have_been_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "formats" / "results.json", {"xml": {"off": CELL}})
    changes = {"symbol-only": {"f1": {"value": -0.5, "low": -0.75, "high": 0.25}}}
    write(
        tmp_path / "memorization" / "results.json",
        {"variants": {"named": CELL, "symbol-only": CELL}, "changes": changes},
    )
    difference = {"value": 0.125, "low": -0.25, "high": 0.5}
    sides = {"questions": 8, "before": ESTIMATE, "after": ESTIMATE, "difference": difference}
    tasks = {"facts": {"measure": "accuracy", **sides}, "prose": {"measure": "perplexity", **sides}}
    write(tmp_path / "retention" / "results.json", tasks)
    page = tmp_path / "page.md"
    page.write_text(f"Words.\n<!-- Below this line: {paper.SCRIPT} -->\nold", "utf-8")
    run(monkeypatch, "page", tmp_path, page)
    text = page.read_text("utf-8")
    assert (
        "| xml | off | 50.0 (25.0 to 75.0) | 50.0 (25.0 to 75.0) | 50.0 (25.0 to 75.0) | 25.0 | 20.0 | 12.5 |" in text
    )
    assert "| -50.0 (-75.0 to +25.0) |" in text
    assert "| facts | accuracy | 8 | 50.0 (25.0 to 75.0) | 50.0 (25.0 to 75.0) | +12.5 (-25.0 to +50.0) |" in text
    assert (
        "| prose | perplexity | 8 | 0.500 (0.250 to 0.750) | 0.500 (0.250 to 0.750) | +0.125 (-0.250 to +0.500) |"
        in text
    )
    assert text.startswith("Words.\n")
    assert "old" not in text


def test_page_without_the_line_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("Words.", "utf-8")
    with pytest.raises(ValueError, match=paper.SCRIPT):
        write_below(page, paper.SCRIPT, [])
    assert page.read_text("utf-8") == "Words."
