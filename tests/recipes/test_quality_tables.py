"""benchmarks/quality_tables.py: what is read from the results, and what counts as reached."""

from __future__ import annotations

from typing import Any

import pytest
from quality_tables import Target, crossner_average, tables, targets

DOMAINS = ("politics", "science", "music", "literature", "ai")


def figures(value: float) -> dict[str, Any]:
    return {"micro": {"f1": {"value": value, "low": value - 0.02, "high": value + 0.02}}}


def measured(*, split: str = "valid", **systems: Any) -> dict[str, Any]:
    return {"split": split, "documents": 1200, "systems": systems, "calibration_error": {"genner": 0.0512}}


def results(**sets: dict[str, Any]) -> dict[str, Any]:
    return {"sample": None, "sets": sets}


def reached(found: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    return {target.figure: target.cells()[1:] for target in targets(found)}


def test_a_general_set_is_to_beat_its_crf_and_aims_ten_points_higher() -> None:
    found = results(btc=measured(genner=figures(0.52), crf=figures(0.5)))
    assert reached(found) == {"btc valid: F1": ("52.0", "50.0", "60.0", "at least")}


def test_a_special_set_may_be_five_points_worse() -> None:
    found = results(snips=measured(split="test", genner=figures(0.949), crf=figures(0.95)))
    assert reached(found) == {"snips test: F1": ("94.9", "90.0", "95.0", "at least")}


def test_nested_sets_are_held_against_the_crf_by_outermost_entities() -> None:
    genner = {**figures(0.46), "nested": figures(0.3)}
    found = results(gum=measured(genner=genner, crf=figures(0.4)))
    assert reached(found) == {"gum valid: F1, outermost": ("46.0", "40.0", "45.0", "aim")}
    assert "| gum, nested | valid | 1,200 | 30.0 (28.0 to 32.0) | - | - |" in next(iter(tables(found))).markdown()


def test_the_average_of_crossner_needs_all_five_domains() -> None:
    sets = {f"crossner_{domain}": measured(genner=figures(0.1 * at)) for at, domain in enumerate(DOMAINS)}
    assert crossner_average(results(**sets), "genner") == pytest.approx(0.2)
    assert reached(results(**sets))["crossner, average of five domains, zero-shot: F1"][-1] == "no"
    del sets["crossner_ai"]
    assert crossner_average(results(**sets), "genner") is None


def test_all_other_figures_have_their_targets() -> None:
    systems = {name: {"sentences_per_second": rate} for name, rate in (("genner", 60.0), ("gliner_small", 8.0))}
    found = {
        "obedience": {"models": {"genner": {"labels": {"PER": 0.96, "ORG": 0.1}}}},
        "speed": {"systems": systems},
        "transformers": {"f1": {"gguf": 0.501, "transformers": 0.504}},
    }
    assert [(target.measured, target.cells()[-1]) for target in targets(found)] == [
        (pytest.approx(96.0), "at least"), (7.5, "at least"), (pytest.approx(-0.3), "no")
    ]  # fmt: skip


def test_a_figure_that_is_the_target_has_reached_it() -> None:
    assert Target("x", 5.0, 5.0, 10.0).cells()[-1] == "at least"
    assert Target("x", 10.0, 5.0, 10.0).cells()[-1] == "aim"
    assert Target("x", 4.9, 5.0, 10.0).cells()[-1] == "no"


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
