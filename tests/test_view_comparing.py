"""genner_cli.view.comparing: what became of each entity, counted by hand and as properties."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from strategies import Case, cases, examples

from genner_cli.scoring import score
from genner_cli.types import Entity
from genner_cli.view.comparing import Verdict, compare, missed

TEXT = "0123456789"


def at(start: int, end: int, label: str = "PER") -> Entity:
    return Entity(start, end, label, TEXT[start:end])


def verdicts(gold: Sequence[Entity], predicted: Sequence[Entity]) -> tuple[list[str], list[Entity]]:
    judged = compare(gold, predicted)
    assert [result.entity for result in judged] == list(predicted)
    return [str(result.verdict) for result in judged], missed(gold, judged)


@pytest.mark.parametrize(
    ("gold", "predicted", "expected", "lost"),
    [
        ([at(0, 3)], [at(0, 3)], ["hit"], []),
        ([at(0, 3)], [at(0, 3, "ORG")], ["wrong label"], []),
        ([at(0, 3)], [at(1, 4)], ["wrong border"], []),
        ([at(0, 3)], [at(3, 4)], ["spurious"], [at(0, 3)]),
        ([at(0, 3)], [at(1, 4, "ORG")], ["spurious"], [at(0, 3)]),
        ([at(0, 3)], [], [], [at(0, 3)]),
        ([], [at(0, 3)], ["spurious"], []),
        # what is hit answers for nothing else
        ([at(0, 5)], [at(0, 5), at(0, 5, "ORG"), at(0, 2)], ["hit", "spurious", "spurious"], []),
        # two halves are both wrong borders of the whole
        ([at(0, 5)], [at(0, 2), at(2, 5)], ["wrong border", "wrong border"], []),
        # nested gold: the label decides, then the span
        ([at(0, 5, "ORG"), at(0, 2, "LOC")], [at(0, 5, "ORG"), at(0, 3, "LOC")], ["hit", "wrong border"], []),
        ([at(0, 5), at(0, 5, "LOC")], [at(0, 5, "LOC"), at(0, 5, "ORG")], ["hit", "wrong label"], []),
    ],
)
def test_each_kind_of_difference(
    gold: list[Entity], predicted: list[Entity], expected: list[str], lost: list[Entity]
) -> None:
    assert verdicts(gold, predicted) == (expected, lost)


def test_a_wrong_border_is_that_of_the_gold_most_like_it() -> None:
    (judged,) = compare([at(0, 9), at(2, 5), at(6, 7)], [at(2, 6)])
    assert judged.gold == at(2, 5)


@examples(200)
@given(gold=cases(), predicted=cases())
def test_hits_are_those_of_strict_scoring_and_all_gold_is_accounted_for(gold: Case, predicted: Case) -> None:
    golden = list(dict.fromkeys(entity for entity in gold.entities if entity.start < entity.end))
    found = list(dict.fromkeys(entity for entity in predicted.entities if entity.start < entity.end))
    judged = compare(golden, found)
    counts = score([(golden, found)]).micro
    assert sum(result.verdict is Verdict.HIT for result in judged) == counts.hit
    assert len(judged) == counts.hit + counts.spurious
    named = {result.gold for result in judged if result.gold}
    assert named | set(missed(golden, judged)) == set(golden)
    assert not named & set(missed(golden, judged))
    for entity, verdict, meant in ((result.entity, result.verdict, result.gold) for result in judged):
        assert (meant is None) == (verdict is Verdict.SPURIOUS)
        if meant and verdict is Verdict.WRONG_LABEL:
            assert (meant.start, meant.end) == (entity.start, entity.end)
        if meant and verdict is Verdict.WRONG_BORDER:
            assert meant.label == entity.label
            assert meant.start < entity.end
            assert entity.start < meant.end


@examples(100)
@given(gold=cases(), predicted=cases())
def test_a_verdict_other_than_that_of_hits_does_not_hang_on_what_else_is_predicted(gold: Case, predicted: Case) -> None:
    found = list(dict.fromkeys(entity for entity in predicted.entities if entity not in gold.entities))
    together = compare(gold.entities, found)
    assert together == [compare(gold.entities, [entity])[0] for entity in found]
