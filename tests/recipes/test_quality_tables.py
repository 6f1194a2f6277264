"""benchmarks/quality_tables.py: what is read from the results."""

from __future__ import annotations

from typing import Any

import pytest
from quality_tables import crossner_average, tables

DOMAINS = ("politics", "science", "music", "literature", "ai")


def figures(value: float) -> dict[str, Any]:
    return {"micro": {"f1": {"value": value, "low": value - 0.02, "high": value + 0.02}}}


def measured(*, split: str = "valid", **systems: Any) -> dict[str, Any]:
    return {"split": split, "documents": 1200, "systems": systems, "calibration_error": {"genner": 0.0512}}


def results(**sets: dict[str, Any]) -> dict[str, Any]:
    return {"sample": None, "sets": sets}


def test_nested_sets_have_a_row_of_their_own_for_inner_entities() -> None:
    genner = {**figures(0.46), "nested": figures(0.3)}
    found = results(gum=measured(genner=genner, crf=figures(0.4)))
    assert "| gum, nested | valid | 1,200 | 30.0 (28.0 to 32.0) | - | - |" in next(iter(tables(found))).markdown()


def test_the_average_of_crossner_needs_all_five_domains() -> None:
    sets = {f"crossner_{domain}": measured(genner=figures(0.1 * at)) for at, domain in enumerate(DOMAINS)}
    assert crossner_average(results(**sets), "genner") == pytest.approx(0.2)
    del sets["crossner_ai"]
    assert crossner_average(results(**sets), "genner") is None


def test_obedience_and_the_calibration_error_have_rows_for_each_model() -> None:
    kinds = {"label": "politician", "gold": 9, "found": {"politician": 5, "political party": 2}}
    of_model = {"labels": {"PER": 1.0}, "kinds": kinds, "many": {"labels": 100, "alone": 0.5, "among_many": 0.25}}
    obedience = {
        "set": "uner_ewt",
        "split": "valid",
        "documents": 100,
        "models": {"genner": of_model, "base": of_model},
    }
    found = {**results(btc=measured(genner=figures(0.5))), "obedience": obedience}
    _, calibration, obeyed, *_ = (table.markdown() for table in tables(found))
    assert "| btc | 0.051 |" in calibration
    assert "| PER alone against it among all: F1 | 100.0 | 100.0 |" in obeyed
    assert "| found for politician alone (9 are), gold: political party | 2 | 2 |" in obeyed
    assert "| recall among 100 labels | 25.0 | 25.0 |" in obeyed
