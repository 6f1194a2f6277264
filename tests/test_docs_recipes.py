"""The Python of docs/recipes.md runs as it stands there, on what genner writes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from asking import STORIES

from genner_cli import run

SNIPPETS = re.findall(r"```python\n(.*?)```", (STORIES.parents[1] / "docs" / "recipes.md").read_text(), re.DOTALL)
MADE = {"duckdb": "entities.parquet", "xlsxwriter": "entities.xlsx", "pandas": "", "spacy": ""}
"""Packages that a recipe is about, the rarer first, and the file that it makes. Presidio's needs a model of spaCy that
is not here; tests/test_integrations.py has it with spaCy's tokens alone."""


def package_of(snippet: str) -> str:
    return next((name for name in MADE if re.search(rf"\b{name}\b", snippet)), "presidio_analyzer")


def test_every_recipe_is_about_a_package_of_its_own() -> None:
    assert sorted(map(package_of, SNIPPETS)) == sorted([*MADE, "presidio_analyzer"])


@pytest.fixture(scope="module")
def entities(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The entities of two stories, by the bundled model."""
    folder = tmp_path_factory.mktemp("recipes")
    (folder / "news.jsonl").write_bytes(b"".join(STORIES.read_bytes().splitlines(keepends=True)[:2]))
    run(folder / "news.jsonl", output=folder / "entities.jsonl", types="PER,ORG,LOC", threads=1)
    return folder / "entities.jsonl"


@pytest.mark.slow
@pytest.mark.parametrize("snippet", [each for each in SNIPPETS if package_of(each) in MADE], ids=package_of)
def test_a_recipe_runs(
    snippet: str, entities: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    package = package_of(snippet)
    pytest.importorskip(package)
    (tmp_path / "entities.jsonl").write_bytes(entities.read_bytes())
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(snippet, names)
    assert (tmp_path / MADE[package]).exists()
    assert (package == "xlsxwriter") or len(capsys.readouterr().out) > 20


def test_excel_gets_mentions_as_text_and_never_as_formulas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("xlsxwriter")
    openpyxl = pytest.importorskip("openpyxl")
    entity = {"start": 0, "end": 4, "label": "PER", "text": "=1+1", "score": 0.4352}
    (tmp_path / "entities.jsonl").write_text(json.dumps({"id": "007", "text": "=1+1", "entities": [entity]}) + "\n")
    monkeypatch.chdir(tmp_path)
    (snippet,) = (each for each in SNIPPETS if package_of(each) == "xlsxwriter")
    exec(snippet, {})
    header, row = openpyxl.load_workbook("entities.xlsx").active.iter_rows()
    cells = {name.value: cell for name, cell in zip(header, row, strict=True)}
    assert (cells["text"].value, cells["text"].data_type) == ("=1+1", "s")
    assert (cells["id"].value, cells["score"].value) == ("007", 0.4352)
