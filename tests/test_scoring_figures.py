"""Intervals and comparisons by resampling, and the evaluation they stand in."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Sequence
from statistics import mean

import pytest
from scored import extraction

from genner_cli.scoring import Counts, ErrorClass, Evaluation, Mode, compare, evaluate
from genner_cli.scoring.evaluation import document_counts
from genner_cli.scoring.figures import MACRO, MICRO, DocumentCounts, Key, figures
from genner_cli.scoring.resampling import bootstrap, interval, randomized
from genner_cli.types import Extraction


def drawn(rng: random.Random, documents: int, *, rate: float, labels: str = "AB") -> list[DocumentCounts]:
    """Documents of which `rate` of the entities are found, and as many others besides."""
    found: list[DocumentCounts] = []
    for _ in range(documents):
        hits = {label: [rng.random() < rate for _ in range(rng.randint(0, 4))] for label in labels}
        found.append(
            {
                Key("label", label): Counts(sum(each), len(each) - sum(each), len(each) - sum(each))
                for label, each in hits.items()
            }
        )
    return found


def test_resampled_sums_are_sums_of_as_many_documents() -> None:
    vectors = [[1, 0, 7], [1, 5, 0], [1, 1, 2**29]]
    possible = {a + b + c for a in (0, 5, 1) for b in (0, 5, 1) for c in (0, 5, 1)}
    sums = list(bootstrap(vectors, times=200))
    assert {each[0] for each in sums} == {3}
    assert {each[1] for each in sums} == possible
    assert sums == list(bootstrap(vectors, times=200)) != list(bootstrap(vectors, times=200, seed=1))
    assert mean(each[1] for each in sums) == pytest.approx(6, abs=0.5)


def test_randomized_sums_change_sides_document_by_document() -> None:
    first, second = [[1, 0], [10, 0]], [[0, 3], [0, 4]]
    found = set(randomized(first, second, times=200))
    assert found == {((11, 0), (0, 7)), ((0, 7), (11, 0)), ((1, 4), (10, 3)), ((10, 3), (1, 4))}


def test_the_interval_is_the_middle_95_percent() -> None:
    assert interval(range(1001)) == (25, 975)


def test_intervals_cover_the_true_figure_about_as_often_as_they_say() -> None:
    """200 samples of 60 documents; 0.7 of the entities are found, so precision and recall are 0.7."""
    rng = random.Random(5)
    covered = 0
    for seed in range(200):
        found = figures(drawn(rng, 60, rate=0.7), resamples=200, seed=seed)[MICRO].f1
        assert found.low <= found.value <= found.high
        covered += found.low <= 0.7 <= found.high
    assert 0.88 <= covered / 200 <= 0.99


def test_more_documents_make_the_interval_narrower() -> None:
    few, many = (figures(drawn(random.Random(1), count, rate=0.6))[MICRO].f1 for count in (20, 2000))
    assert many.high - many.low < (few.high - few.low) / 5


def test_one_document_says_nothing_about_others_and_none_is_zero() -> None:
    one = figures([{Key("label", "A"): Counts(1, 1, 0)}])[MICRO].f1
    assert one.low == one.value == one.high == pytest.approx(2 / 3)
    none = figures([])
    assert none[MICRO].f1 == none[MACRO].f1 == (0, 0, 0)


def test_the_macro_mean_is_over_labels_that_occur() -> None:
    documents = [{Key("label", "A"): Counts(2, 0, 0), Key("label", "B"): Counts(0, 1, 0)}]
    found = figures(documents, resamples=0)
    assert found[MACRO].f1.value == 0.5
    assert found[MICRO].f1.value == pytest.approx(0.8)
    assert found[MACRO].counts is None


def test_ten_thousand_documents_are_resampled_within_seconds() -> None:
    documents = drawn(random.Random(2), 10_000, rate=0.5, labels="ABCDEFGH")
    started = time.process_time()
    figures(documents)
    assert time.process_time() - started < 30


@pytest.mark.parametrize("seed", range(5))
def test_a_planted_difference_is_found(seed: int) -> None:
    rng = random.Random(seed)
    found = compare(drawn(rng, 300, rate=0.8), drawn(rng, 300, rate=0.7), resamples=300)
    assert found.micro.p < 0.05
    assert found.macro.p < 0.05
    assert 0 < found.micro.difference.low < found.micro.difference.value < found.micro.difference.high < 0.2
    assert found.micro.difference.value == found.micro.first - found.micro.second


def test_where_there_is_no_difference_one_is_found_rarely() -> None:
    """At p < 0.05 in about 5 of 100 pairs; the p-values are spread evenly over (0, 1]."""
    rng = random.Random(9)
    found = [compare(drawn(rng, 60, rate=0.7), drawn(rng, 60, rate=0.7), resamples=200).micro.p for _ in range(100)]
    assert sum(p < 0.05 for p in found) <= 12
    assert 0.4 < mean(found) < 0.6


def test_the_same_predictions_do_not_differ() -> None:
    same = drawn(random.Random(3), 50, rate=0.5)
    found = compare(same, same, resamples=100).micro
    assert found.difference == (0, 0, 0)
    assert found.p == 1


EXTRACTIONS = [
    extraction([(0, 4, "PER"), (6, 9, "ORG")], [(0, 4, "PER"), (6, 8, "ORG")], id="a"),
    extraction([(0, 20, "ORG"), (14, 20, "LOC")], [(0, 20, "ORG"), (14, 20, "PER")], id="b"),
    extraction([], [(1, 2, "PER"), (3, 4, "PER")], id="c"),
    extraction([(0, 3, "LOC")], [(0, 3, "LOC")], id="d", error="it failed"),
    extraction([(5, 9, "LOC")], [], id="e"),
]


def evaluated(extractions: Sequence[Extraction] = EXTRACTIONS, **options: int) -> Evaluation:
    return evaluate(extractions, **{"resamples": 50, **options})


def test_a_document_that_failed_counts_as_one_in_which_nothing_was_found() -> None:
    found = evaluated()
    assert found.modes[Mode.STRICT].counts == Counts(2, 4, 4)
    assert found.labels["LOC"].counts == Counts(0, 3, 0)
    rates = found.rates
    assert (rates.documents, rates.without_gold, rates.without_predicted, rates.failed) == (5, 1, 1, 1)


def test_modes_labels_and_parts_of_a_hand_counted_example() -> None:
    found = evaluated()
    assert {mode: figures.counts and figures.counts.hit for mode, figures in found.modes.items()} == {
        Mode.STRICT: 2,
        Mode.EXACT: 3,
        Mode.PARTIAL: 3.5,
        Mode.TYPE: 3,
    }
    assert {label: figures.counts for label, figures in found.labels.items()} == {
        "LOC": Counts(0, 3, 0),
        "ORG": Counts(1, 1, 1),
        "PER": Counts(1, 0, 3),
    }
    assert found.macro.f1.value == pytest.approx((0 + 0.5 + 0.4) / 3)
    assert found.parts["outer"].counts == Counts(2, 3, 3)
    assert found.parts["inner"].counts == Counts(0, 1, 1)


def test_flat_data_has_no_parts() -> None:
    assert evaluated(EXTRACTIONS[:1]).parts == {}


def test_errors_are_counted_and_shown_of_different_documents_first() -> None:
    errors = evaluated(examples=2).errors
    assert {error: errors[error].count for error in ErrorClass} == {
        ErrorClass.LABEL: 1,
        ErrorClass.BOUNDARY: 1,
        ErrorClass.BOTH: 0,
        ErrorClass.MISSED: 2,
        ErrorClass.SPURIOUS: 2,
    }
    many = [extraction([], [(at, at + 1, "A") for at in range(5)], id="m"), EXTRACTIONS[2]]
    shown = evaluated(many, examples=3).errors[ErrorClass.SPURIOUS]
    assert shown.count == 7
    assert [example.document for example in shown.examples] == ["m", "c", "m"]


def test_the_confusion_has_each_entity_once() -> None:
    assert evaluated().confusion == {
        ("", "PER"): 2,
        ("LOC", ""): 2,
        ("LOC", "PER"): 1,
        ("ORG", "ORG"): 2,
        ("PER", "PER"): 1,
    }


def test_the_value_is_json_and_whole() -> None:
    value = json.loads(json.dumps(evaluated().value()))
    assert value["micro"] == value["modes"]["strict"]
    assert value["micro"]["hit"] == 2
    assert set(value["micro"]["f1"]) == {"value", "low", "high"}
    assert list(value["labels"]) == ["LOC", "ORG", "PER"]
    missed = value["errors"]["missed"]["examples"][0]
    assert (missed["gold"]["label"], missed["predicted"]) == ("LOC", None)
    assert missed["source"] == f"gold.jsonl:{missed['document']}"
    assert {"gold": "LOC", "predicted": None, "count": 2} in value["confusion"]


def test_counts_of_one_document_hold_every_mode_but_the_sum_of_labels() -> None:
    counts = document_counts(EXTRACTIONS[0])
    assert {key.name for key in counts if key.kind == "mode"} == {"exact", "partial", "type"}
    assert counts[Key("label", "ORG")] == Counts(0, 1, 1)


def test_the_oracle_takes_the_better_of_both_for_each_document() -> None:
    key = Key("label", "PER")
    first = [{key: Counts(2, 0, 0)}, {key: Counts(0, 2, 1)}]
    second = [{key: Counts(1, 1, 0)}, {key: Counts(1, 1, 1)}]
    found = compare(first, second, resamples=10)
    assert found.oracle == Counts(3, 1, 1).f1
    assert found.oracle > max(found.micro.first, found.micro.second)
    assert compare(first, first, resamples=10).oracle == found.micro.first
    assert compare([], [], resamples=10).oracle == 0
