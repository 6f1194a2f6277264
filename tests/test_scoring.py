"""Strict scores: same start, end and label."""

from __future__ import annotations

import pytest

from genner_cli.scoring import Counts, score
from genner_cli.types import Entity


def entities(*spans: tuple[int, int, str]) -> list[Entity]:
    return [Entity(start, end, label, "x" * (end - start), score=0.1 * start) for start, end, label in spans]


def test_an_entity_counts_only_with_the_same_borders_and_label() -> None:
    gold = entities((0, 4, "PER"), (5, 9, "PER"), (10, 12, "ORG"), (20, 22, "LOC"))
    predicted = entities((0, 4, "PER"), (5, 8, "PER"), (10, 12, "LOC"))
    scores = score([(gold, predicted)])
    assert scores.micro == Counts(hit=1, missed=3, spurious=2)
    assert scores.labels == {"LOC": Counts(0, 1, 1), "ORG": Counts(0, 1, 0), "PER": Counts(1, 1, 1)}


def test_figures_of_a_hand_computed_example() -> None:
    counts = Counts(hit=6, missed=4, spurious=2)
    assert counts.precision == pytest.approx(0.75)
    assert counts.recall == pytest.approx(0.6)
    assert counts.f1 == pytest.approx(2 * 0.75 * 0.6 / (0.75 + 0.6))


def test_micro_counts_over_all_documents_and_labels() -> None:
    first = (entities((0, 1, "A")), entities((0, 1, "A"), (2, 3, "B")))
    second = (entities((0, 1, "A"), (2, 3, "B")), entities())
    scores = score([first, second])
    assert scores.micro == Counts(hit=1, missed=2, spurious=1)
    assert scores.labels["A"] == Counts(1, 1, 0)
    assert scores.labels["B"] == Counts(0, 1, 1)


def test_the_same_entity_in_another_document_is_no_hit() -> None:
    assert score([(entities((0, 1, "A")), []), ([], entities((0, 1, "A")))]).micro == Counts(0, 1, 1)


def test_scores_of_predictions_take_no_part() -> None:
    gold, predicted = Entity(0, 1, "A", "x"), Entity(0, 1, "A", "x", score=0.01)
    assert score([([gold], [predicted])]).micro == Counts(hit=1)


def test_a_repeated_entity_counts_once() -> None:
    twice = entities((0, 1, "A"), (0, 1, "A"))
    assert score([(twice, twice)]).micro == Counts(hit=1)


@pytest.mark.parametrize("gold", [0, 1])
@pytest.mark.parametrize("predicted", [0, 1])
def test_nothing_in_common_is_zero_and_never_divides_by_it(gold: int, predicted: int) -> None:
    micro = score([(entities((0, 1, "A"))[:gold], entities((0, 2, "A"))[:predicted])]).micro
    assert (micro.precision, micro.recall, micro.f1) == (0.0, 0.0, 0.0)


def test_all_right_is_one() -> None:
    same = entities((0, 1, "A"), (1, 2, "B"))
    micro = score([(same, same[::-1])]).micro
    assert (micro.precision, micro.recall, micro.f1) == (1.0, 1.0, 1.0)


def test_no_documents_have_no_labels() -> None:
    assert score([]).labels == {}
