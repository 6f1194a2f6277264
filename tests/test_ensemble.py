"""methods.ensemble: roles are chosen as an exhaustive search would, and never below the best single file."""

from __future__ import annotations

import random
from itertools import chain, combinations

import pytest
from methods_planted import polled

from genner_cli.methods.candidates import OVERLAP, VALID, Candidate, preferred
from genner_cli.methods.ensemble import (
    KEEP_ALL,
    Polled,
    choose_deciders,
    choose_roles,
    f1,
    judged,
    threshold,
)


def nonempty(names: str) -> list[tuple[str, ...]]:
    return list(chain.from_iterable(combinations(names, size) for size in range(1, len(names) + 1)))


@pytest.mark.parametrize("seed", range(3))
def test_greedy_roles_are_nearly_those_of_an_exhaustive_search(seed: int) -> None:
    documents = polled(random.Random(seed), documents=30)
    found = choose_roles(documents, "abc", "ABC")
    thresholds = {name: threshold(documents, name) for name in "ABC"}
    best = max(
        f1(documents, lambda those, e=extractors, v=voters: preferred(judged(those, e, v, thresholds)))
        for extractors in nonempty("abc")
        for voters in nonempty("ABC")
    )
    assert found.f1 == f1(documents, lambda those: preferred(judged(those, *found[:3])))
    assert found.f1 >= best - 0.01


@pytest.mark.parametrize("seed", range(3))
def test_they_are_no_worse_than_the_best_single_file_there_and_elsewhere(seed: int) -> None:
    rng = random.Random(seed)
    chosen_on, elsewhere = polled(rng, documents=30), polled(rng, documents=200)
    roles = choose_roles(chosen_on, "abc", "ABC")
    for documents in (chosen_on, elsewhere):
        singles = [f1(documents, lambda those, s=s: preferred(e for e in those if s in e.sources)) for s in "abc"]
        assert f1(documents, lambda those: preferred(judged(those, *roles[:3]))) > max(singles)


def test_a_voter_of_no_use_is_left_out() -> None:
    documents = [
        Polled(frozenset({(0, 3, "PER")}), (Candidate(0, 3, "PER", ("a",), {VALID: {"good": 1.0, "liar": -1.0}}),)),
        Polled(frozenset(), (Candidate(0, 3, "PER", ("b",), {VALID: {"good": -1.0, "liar": 1.0}}),)),
    ]
    roles = choose_roles(documents, ("a", "b"), ("good", "liar"))
    assert (roles.extractors, roles.f1) == (("a",), 1.0)
    assert len(roles.voters) == 1


def test_the_threshold_is_the_one_of_the_best_f1() -> None:
    odds = [3.0, 2.0, 1.0, 0.0, -1.0]
    right = [True, True, False, True, False]
    documents = [
        Polled(
            frozenset({(at, at + 1, "PER")} if good else ()),
            (Candidate(at, at + 1, "PER", ("a",), {VALID: {"m": value}}),),
        )
        for at, (value, good) in enumerate(zip(odds, right, strict=True))
    ]
    assert threshold(documents, "m") == -0.5
    assert threshold(documents[:2], "m") == KEEP_ALL
    assert threshold(documents[:2], "nobody") == KEEP_ALL


def test_deciders_are_chosen_where_they_help() -> None:
    long, short = Candidate(0, 9, "ORG", ("a",)), Candidate(0, 4, "LOC", ("a",))

    def voted(good: float) -> tuple[Candidate, ...]:
        return (
            long.voted(OVERLAP, "good", -good).voted(OVERLAP, "bad", good),
            short.voted(OVERLAP, "good", good).voted(OVERLAP, "bad", -good),
        )

    documents = [Polled(frozenset({short.key}), voted(1.0))]
    assert choose_deciders(documents, ("bad", "good")) == (("good",), 1.0)
    assert choose_deciders([Polled(frozenset({long.key}), voted(1.0))], ("bad", "good")) == ((), 1.0)
