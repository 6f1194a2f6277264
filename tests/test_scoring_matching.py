"""Match modes and error classes: against nervaluate and seqeval on flat entities, by hand on nested ones."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import chain, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scored import Spans, entities, flat, resembling
from strategies import examples

from genner_cli.scoring import Counts, ErrorClass, Mode, score
from genner_cli.scoring.matching import align, counts_by_mode
from genner_cli.types import Entity

CASES = 3000
THEIR_NAMES = {Mode.STRICT: "strict", Mode.EXACT: "exact", Mode.PARTIAL: "partial", Mode.TYPE: "ent_type"}


def random_cases() -> Iterator[tuple[list[Entity], list[Entity]]]:
    """Flat gold and predicted entities, half of them related, half not."""
    for seed in range(CASES):
        rng = random.Random(seed)
        gold = flat(rng)
        yield gold, resembling(rng, gold) if seed % 2 else flat(rng)


def theirs(gold: Sequence[Entity], predicted: Sequence[Entity]) -> dict[Mode, Counts]:
    """nervaluate's counts; its ends are inclusive."""
    from nervaluate.evaluator import Evaluator  # here: it takes a second, in each process that collects tests

    sides = [[{"label": e.label, "start": e.start, "end": e.end - 1} for e in side] for side in (gold, predicted)]
    found = Evaluator([sides[0]], [sides[1]], tags=["A", "B"], loader="dict").evaluate()["overall"]
    hits = {mode: found[name].correct + found[name].partial / 2 for mode, name in THEIR_NAMES.items()}
    return {
        mode: Counts(hit, found[THEIR_NAMES[mode]].possible - hit, found[THEIR_NAMES[mode]].actual - hit)
        for mode, hit in hits.items()
    }


def test_all_modes_equal_nervaluate_on_flat_entities() -> None:
    """Where type differs, nervaluate gave a gold entity away to a wrong label: in another order it does not."""
    lower = 0
    for gold, predicted in random_cases():
        ours, other = counts_by_mode(gold, predicted), theirs(gold, predicted)
        for mode in (Mode.STRICT, Mode.EXACT, Mode.PARTIAL):
            assert ours[mode] == other[mode], (mode, gold, predicted)
        if ours[Mode.TYPE] != other[Mode.TYPE]:
            lower += 1
            best = max(theirs(gold, order)[Mode.TYPE].hit for order in permutations(predicted))
            assert other[Mode.TYPE].hit < ours[Mode.TYPE].hit == best, (gold, predicted)
    assert 0 < lower < CASES / 20


def test_the_smallest_case_in_which_nervaluate_misses_a_type_match() -> None:
    """SemEval's type asks for some overlap and the same label. The second prediction has both; nervaluate has
    spent the gold entity on the first, which has another label, and finds the match if the two change places."""
    gold, predicted = entities((0, 9, "A")), entities((0, 2, "B"), (4, 6, "A"))
    assert counts_by_mode(gold, predicted)[Mode.TYPE] == Counts(1, 0, 1)
    assert theirs(gold, predicted)[Mode.TYPE] == Counts(0, 1, 2)
    assert theirs(gold, predicted[::-1])[Mode.TYPE] == Counts(1, 0, 1)


def iob2(length: int, found: Sequence[Entity]) -> list[str]:
    """One tag for each character."""
    tags = ["O"] * length
    for entity in found:
        tags[entity.start : entity.end] = [f"B-{entity.label}"] + [f"I-{entity.label}"] * (
            entity.end - entity.start - 1
        )
    return tags


def test_strict_figures_equal_seqeval_in_strict_iob2() -> None:
    from seqeval.metrics import classification_report
    from seqeval.scheme import IOB2

    cases = list(random_cases())
    for start in range(0, CASES, 3):
        some = cases[start : start + 3]
        ours = score(some)
        if not (ours.micro.gold and ours.micro.predicted):
            continue  # seqeval warns of a division by zero
        tags = [[iob2(24, side) for side in sides] for sides in zip(*some, strict=True)]
        found = classification_report(*tags, mode="strict", scheme=IOB2, output_dict=True, zero_division=0)
        assert ours.micro.f1 == pytest.approx(found["micro avg"]["f1-score"])
        for label, counts in ours.labels.items():
            assert counts.precision == pytest.approx(found[label]["precision"])
            assert counts.recall == pytest.approx(found[label]["recall"])
            assert counts.f1 == pytest.approx(found[label]["f1-score"])
            assert counts.gold == found[label]["support"]
        mean = sum(counts.f1 for counts in ours.labels.values()) / len(ours.labels)
        assert mean == pytest.approx(found["macro avg"]["f1-score"])


NESTED = [
    # a university in a name, found whole but with its city of another label: borders right, label wrong
    ([(0, 20, "ORG"), (14, 20, "LOC")], [(0, 20, "ORG"), (14, 20, "PER")], (1, 2, 2, 1)),
    # the inner entity only, which overlaps the outer one too: it stands for the inner one
    ([(0, 20, "ORG"), (14, 20, "ORG")], [(14, 20, "ORG")], (1, 1, 1, 1)),
    # two labels on one span, one of them found
    ([(0, 4, "PER"), (0, 4, "ORG")], [(0, 4, "ORG")], (1, 1, 1, 1)),
    # two labels on one span, both wrong: each stands for one
    ([(0, 4, "PER"), (0, 4, "ORG")], [(0, 4, "LOC"), (0, 4, "GPE")], (0, 2, 2, 0)),
    # the outer one cut short, crossing nothing: half a credit; the inner one exact
    ([(0, 20, "ORG"), (14, 20, "LOC")], [(0, 19, "ORG"), (14, 20, "LOC")], (1, 1, 1.5, 2)),
    # three deep, the middle one missed, the innermost too long by one
    ([(0, 30, "A"), (5, 20, "B"), (7, 9, "C")], [(0, 30, "A"), (7, 10, "C")], (1, 1, 1.5, 2)),
    # two predictions in one gold entity: it stands for one of them
    ([(0, 30, "A")], [(0, 9, "A"), (10, 20, "A")], (0, 0, 0.5, 1)),
    # both can be served only if the long prediction stands for the other gold entity
    ([(0, 10, "A"), (8, 20, "A")], [(2, 18, "A"), (1, 6, "A")], (0, 0, 1, 2)),
]


@pytest.mark.parametrize(("gold", "predicted", "hits"), NESTED)
def test_nested_entities_counted_by_hand(gold: Spans, predicted: Spans, hits: tuple[float, ...]) -> None:
    found = counts_by_mode(entities(*gold), entities(*predicted))
    for mode, hit in zip((Mode.STRICT, Mode.EXACT, Mode.PARTIAL, Mode.TYPE), hits, strict=True):
        assert found[mode] == Counts(hit, len(gold) - hit, len(predicted) - hit), mode


@pytest.mark.parametrize(
    ("gold", "predicted", "error"),
    [
        ([(0, 4, "PER")], [(0, 4, "PER")], None),
        ([(0, 4, "PER")], [(0, 4, "ORG")], ErrorClass.LABEL),
        ([(0, 4, "PER")], [(1, 4, "PER")], ErrorClass.BOUNDARY),
        ([(0, 4, "PER")], [(3, 9, "ORG")], ErrorClass.BOTH),
        ([(0, 4, "PER")], [], ErrorClass.MISSED),
        ([], [(0, 4, "PER")], ErrorClass.SPURIOUS),
    ],
)
def test_each_class_of_errors(gold: Spans, predicted: Spans, error: ErrorClass | None) -> None:
    (pair,) = align(entities(*gold), entities(*predicted))
    assert pair.error == error
    assert [pair.gold] == (entities(*gold) or [None])
    assert [pair.predicted] == (entities(*predicted) or [None])


def test_an_entity_that_touches_another_does_not_overlap_it() -> None:
    found = [pair.error for pair in align(entities((0, 4, "A")), entities((4, 8, "A")))]
    assert found == [ErrorClass.MISSED, ErrorClass.SPURIOUS]


def test_a_better_pair_goes_first() -> None:
    gold, predicted = entities((0, 10, "A"), (4, 10, "B")), entities((0, 10, "B"), (4, 10, "B"), (5, 10, "A"))
    found = {(pair.gold, pair.predicted): pair.error for pair in align(gold, predicted)}
    assert found == {
        (gold[1], predicted[1]): None,
        (gold[0], predicted[0]): ErrorClass.LABEL,
        (None, predicted[2]): ErrorClass.SPURIOUS,
    }


def anywhere() -> st.SearchStrategy[list[Entity]]:
    """Entities that nest, cross and repeat."""
    span = st.tuples(st.integers(0, 12), st.integers(1, 6), st.sampled_from("AB"))
    return st.lists(span.map(lambda s: entities((s[0], s[0] + s[1], s[2]))[0]), max_size=7)


@examples(300)
@given(anywhere(), anywhere(), st.randoms(use_true_random=False))
def test_modes_do_not_depend_on_order_and_the_strict_one_is_the_lowest(
    gold: list[Entity], predicted: list[Entity], rng: random.Random
) -> None:
    found = counts_by_mode(gold, predicted)
    shuffled = counts_by_mode(*(rng.sample(side, len(side)) for side in (gold, predicted)))
    assert found == shuffled
    assert found[Mode.STRICT] == score([(gold, predicted)]).micro
    hits = {mode: counts.hit for mode, counts in found.items()}
    assert hits[Mode.STRICT] <= hits[Mode.EXACT] <= hits[Mode.PARTIAL]
    assert hits[Mode.STRICT] <= hits[Mode.TYPE]
    turned = counts_by_mode(predicted, gold)
    assert {mode: counts.hit for mode, counts in turned.items()} == hits


@examples(150)
@given(anywhere(), anywhere())
def test_credit_is_the_largest_of_all_pairings(gold: list[Entity], predicted: list[Entity]) -> None:
    """Against a search through all of them."""
    gold, predicted = list(set(gold))[:4], list(set(predicted))[:4]

    def largest(value: dict[tuple[Entity, Entity], float], left: list[Entity], right: list[Entity]) -> float:
        if not left:
            return 0.0
        first, rest = left[0], left[1:]
        best = largest(value, rest, right)
        for other in right:
            if (first, other) in value:
                taken = [each for each in right if each is not other]
                best = max(best, value[first, other] + largest(value, rest, taken))
        return best

    overlap = {(g, p) for g in gold for p in predicted if g.start < p.end and p.start < g.end}
    partial = {(g, p): 1.0 if (g.start, g.end) == (p.start, p.end) else 0.5 for g, p in overlap}
    same_label = {(g, p): 1.0 for g, p in overlap if g.label == p.label}
    found = counts_by_mode(gold, predicted)
    assert found[Mode.PARTIAL].hit == largest(partial, gold, predicted)
    assert found[Mode.TYPE].hit == largest(same_label, gold, predicted)


@examples(300)
@given(anywhere(), anywhere())
def test_every_entity_is_in_one_pair(gold: list[Entity], predicted: list[Entity]) -> None:
    found = list(align(gold, predicted))
    for side, whole in (("gold", gold), ("predicted", predicted)):
        there = [getattr(pair, side) for pair in found if getattr(pair, side)]
        assert len(there) == len(set(there))
        assert set(there) == set(whole)
    hits = [pair for pair in found if pair.error is None]
    assert len(hits) == len(set(gold) & set(predicted))


def test_a_cluster_of_many_entities_is_paired_without_deep_recursion() -> None:
    """Each prediction reaches two gold entities, so that one change could run through all of them."""
    gold = entities(*((2 * at, 2 * at + 3, "A") for at in range(400)))
    predicted = entities(*((2 * at + 1, 2 * at + 3, "A") for at in range(400)))
    assert counts_by_mode(gold, predicted)[Mode.TYPE].hit == 400
    assert len(list(chain(align(gold, predicted)))) == 400
