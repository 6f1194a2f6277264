"""benchmarks/quality_scores.py: figures of flat and nested sets."""

from __future__ import annotations

import pytest
from quality_scores import agreement, difference, f1, scores

from genner_cli.types import Document, Entity

TEXT = "The king of France slept"
KING, FRANCE = Entity(0, 18, "people", "The king of France"), Entity(12, 18, "polity", "France")
DOCUMENT = Document(TEXT, entities=(KING, FRANCE))


def test_nested_sets_count_outermost_entities_and_all_of_them() -> None:
    found = scores([DOCUMENT], [[KING]], nested=True)
    assert f1(found) == 1.0
    assert found["nested"]["micro"]["f1"]["value"] == pytest.approx(2 / 3)


def test_an_inner_entity_does_not_count_where_its_outer_one_was_missed() -> None:
    found = scores([DOCUMENT], [[FRANCE]], nested=True)
    assert f1(found) == 0.0
    assert found["nested"]["micro"]["f1"]["value"] == pytest.approx(2 / 3)


def test_flat_sets_have_one_kind_of_figures() -> None:
    flat = Document(TEXT, entities=(FRANCE,))
    found = scores([flat], [[FRANCE]], nested=False)
    assert f1(found) == 1.0
    assert "nested" not in found


def test_the_difference_is_that_of_the_headlines() -> None:
    found = difference([DOCUMENT] * 3, [[KING]] * 3, [[FRANCE]] * 3, nested=True)
    assert (found["first"], found["second"], found["difference"]["value"]) == (1.0, 0.0, 1.0)


def test_systems_that_find_the_same_agree_wholly() -> None:
    assert agreement([[KING], []], [[KING], []]) == agreement([[]], [[]]) == 1.0
    assert agreement([[KING], [FRANCE]], [[KING], []]) == pytest.approx(2 / 3)
