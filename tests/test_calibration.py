"""What scores mean and which entities to keep, on planted scores."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scored import entities, planted_scores, scored_extractions
from strategies import examples

from genner_cli.calibration import (
    FEWEST_KEPT,
    GROUP,
    UNCHANGED,
    Judged,
    expected_error,
    fit,
    fit_map,
    fit_thresholds,
    judged,
    reliability,
)
from genner_cli.errors import DataError
from genner_cli.scoring import Counts
from genner_cli.types import Calibration, Entity, Extraction, Knot, ScoreMap


def test_a_predicted_entity_is_right_if_gold_has_it() -> None:
    (done,) = scored_extractions([Judged("A", 0.7, True), Judged("B", 0.2, False)])
    assert judged(done) == [Judged("A", 0.7, True), Judged("B", 0.2, False)]
    unscored = Extraction(done.document, tuple(entities((0, 4, "A"))))
    assert judged(unscored) == []


def test_the_error_of_a_hand_counted_example() -> None:
    points = [Judged("A", 0.91, True), Judged("A", 0.95, False), Judged("A", 0.12, False), Judged("A", 1.0, True)]
    low, high = reliability(points)
    assert (low.low, low.high, low.entities, low.score, low.right) == (0.1, 0.2, 1, 0.12, 0)
    assert (high.entities, high.score) == (3, pytest.approx(2.86 / 3))
    assert expected_error(points) == pytest.approx(0.25 * 0.12 + 0.75 * (2.86 / 3 - 2 / 3))
    assert expected_error([]) == 0


def test_scores_that_are_probabilities_have_nearly_no_error() -> None:
    assert expected_error(planted_scores(20_000, lambda score: score)) < 0.015


@pytest.mark.parametrize("truth", [lambda s: s**3, lambda s: s**0.3, lambda s: 0.2 + 0.3 * s, lambda s: float(s > 0.5)])
def test_the_map_finds_planted_probabilities(truth: Callable[[float], float]) -> None:
    to_map = fit_map(planted_scores(20_000, truth))
    far = [abs(to_map(score / 100) - truth(score / 100)) for score in range(3, 98) if abs(score - 50) > 4]
    assert max(far) < 0.09
    assert sum(far) / len(far) < 0.03


@examples(100)
@given(st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=1, max_size=400), st.lists(st.floats(0, 1)))
def test_the_map_never_falls_and_never_says_never(drawn: list[tuple[int, bool]], scores: list[float]) -> None:
    points = [Judged("A", score / 20, right) for score, right in drawn]
    to_map = fit_map(points)
    mapped = [to_map(score) for score in sorted(scores)]
    assert mapped == sorted(mapped)
    if {point.right for point in points} == {True, False}:
        assert all(0 < probability < 1 for probability in mapped)
    assert all(
        a.score < b.score and a.probability <= b.probability
        for a, b in zip(to_map.knots, to_map.knots[1:], strict=False)
    )
    assert len(to_map.knots) <= max(1, len(points) // GROUP)


def test_pooled_blocks_are_the_least_squares_solution_of_a_hand_computed_example() -> None:
    """Groups of 20 with 10, 6 and 18 right: the first two fall, so they become one with 16 of 40."""
    points = [
        Judged("A", 0.1 * (group + 1), at < right) for group, right in enumerate((10, 6, 18)) for at in range(GROUP)
    ]
    share = 34 / 60
    first, second, third = fit_map(points).knots
    pooled = pytest.approx((10 + share + 6 + share) / 42)
    assert first == (pytest.approx(0.1), pooled)
    assert second == (pytest.approx(0.2), pooled)
    assert third == (pytest.approx(0.3), pytest.approx((18 + share) / 21))


def test_few_entities_give_a_map_of_few_steps_that_helps_or_is_left_out() -> None:
    """60 entities whose scores are already right: what is learnt from them is noise."""
    kept = 0
    for seed in range(20):
        found = fit(scored_extractions(planted_scores(60, lambda score: score, seed=seed)))
        assert len(found.calibration.map.knots) <= 3
        assert (found.calibration.map == UNCHANGED) == (found.error_after >= found.error_before)
        kept += found.calibration.map == UNCHANGED
    assert kept >= 3


def test_calibration_takes_the_error_away_on_documents_it_has_not_seen() -> None:
    found = fit(scored_extractions(planted_scores(3000, lambda score: score**2)))
    assert found.error_before > 0.12
    assert found.error_after < 0.04
    fresh = [
        p._replace(score=found.calibration.map(p.score)) for p in planted_scores(3000, lambda score: score**2, seed=1)
    ]
    assert expected_error(fresh) < 0.04
    assert found.bins == reliability(planted_scores(3000, lambda score: score**2))


def test_each_label_gets_the_lowest_score_that_reaches_the_precision() -> None:
    """Label A is right from 0.3 on, B from 0.8 on."""
    points = planted_scores(2000, lambda s: 0.98 if s > 0.3 else 0.0) + planted_scores(
        2000, lambda s: 0.98 if s > 0.8 else 0.0, label="B"
    )
    found = fit(scored_extractions(points), precision=0.95)
    assert 0.25 < found.thresholds["A"].score < 0.35
    assert 0.75 < found.thresholds["B"].score < 0.85
    assert all(each.counts.precision >= 0.95 and each.own for each in found.thresholds.values())
    assert found.before.precision < 0.5
    assert found.after.precision > 0.94
    assert found.after.recall > 0.97


def test_the_best_f1_is_found() -> None:
    points = [Judged("A", 0.9, True)] * 30 + [Judged("A", 0.5, True)] * 10 + [Judged("A", 0.4, False)] * 40
    found = fit_thresholds(points, {"A": 50})["A"]
    assert (found.score, found.counts) == (0.5, Counts(40, 10, 0))


def test_thresholds_that_do_not_raise_f1_on_documents_not_seen_are_left_out() -> None:
    """Scores that say nothing: on the data themselves a best threshold is always found."""
    left_out = 0
    for seed in range(20):
        points = planted_scores(200, lambda score: 0.5, seed=seed)
        assert fit_thresholds(points, {"A": 100})["A"].counts.f1 >= 0.6
        found = fit(scored_extractions(points))
        assert (found.thresholds == {}) == (found.after.f1 <= found.before.f1)
        assert set(found.calibration.thresholds) == set(found.thresholds)
        left_out += not found.thresholds
    assert left_out >= 10


def test_a_repeated_entity_is_judged_once() -> None:
    (done,) = scored_extractions([Judged("A", 0.7, True)])
    assert len(judged(Extraction(done.document, done.entities * 2))) == 1


def test_a_threshold_that_keeps_everything_is_zero() -> None:
    points = [Judged("A", 0.3 + at / 100, True) for at in range(GROUP)]
    assert fit_thresholds(points, {"A": GROUP})["A"].score == 0
    assert fit_thresholds(points, {"A": GROUP}, precision=0.95)["A"].score == 0


def test_a_precision_that_cannot_be_reached_gives_the_nearest_and_says_so() -> None:
    points = [Judged("A", 0.9, at < 15) for at in range(20)] + [Judged("A", 0.2, False) for _ in range(20)]
    found = fit_thresholds(points, {"A": 15}, precision=0.95)["A"]
    assert (found.score, found.counts.precision) == (0.9, 0.75)


def test_a_precision_on_a_handful_does_not_count_as_reached() -> None:
    """The three best are right, which says little; of the ten best seven are."""
    points = [Judged("A", 1 - at / 100, at < 3 or at % 2 == 0) for at in range(40)]
    found = fit_thresholds(points, {"A": 40}, precision=0.95)["A"]
    assert found.counts.predicted >= FEWEST_KEPT


def test_a_rare_label_shares_the_threshold_of_all() -> None:
    points = planted_scores(500, lambda s: float(s > 0.4)) + [Judged("B", 0.3, True)] * 3
    found = fit_thresholds(points, {"A": 300, "B": 3, "C": 5})
    assert not found["B"].own
    assert not found["C"].own
    assert found["B"].score == found["C"].score == pytest.approx(0.4, abs=0.05)
    assert found["B"].counts == Counts(0, 3, 0)


@pytest.mark.parametrize(
    "done",
    [
        scored_extractions(planted_scores(40, lambda s: s)),
        scored_extractions(planted_scores(60, lambda s: s), per_document=30),
    ],
)
def test_too_little_to_learn_from_is_refused(done: list[Extraction]) -> None:
    with pytest.raises(DataError, match="50 in 5 documents"):
        fit(done)


def test_the_same_data_give_the_same_calibration() -> None:
    done = scored_extractions(planted_scores(300, lambda s: s * s), missed=1)
    assert fit(done) == fit(done)


def test_entities_below_their_labels_threshold_are_left_out_and_scores_mapped() -> None:
    calibration = Calibration(ScoreMap((Knot(0.2, 0.1), Knot(0.6, 0.5))), {"A": 0.4})
    spans = [(0.4, "A"), (0.39, "A"), (0.3, "B"), (0.9, "C"), (0.1, "C")]
    found = [Entity(at, at + 1, label, "x", score) for at, (score, label) in enumerate(spans)]
    kept = list(calibration.applied([*found, Entity(9, 10, "A", "x")]))
    assert [(entity.start, entity.score) for entity in kept] == [
        (0, pytest.approx(0.3)),
        (2, pytest.approx(0.2)),
        (3, 0.5),
        (4, 0.1),
        (9, None),
    ]
