"""methods.candidates: unions, overlaps, options and votes."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from genner_cli.methods.candidates import (
    BOUNDARY,
    LABEL,
    MOST_OPTIONS,
    MOST_SPANS,
    OVERLAP,
    VALID,
    Candidate,
    bounded,
    components,
    differing,
    is_majority,
    labelled,
    margins,
    merged,
    options,
    plurality,
    preference,
    preferred,
    resolved,
    selected,
    union,
    valid,
)
from genner_cli.types import Entity

CANDIDATE = st.builds(
    lambda start, length, label, sources: Candidate(start, start + length, label, tuple(sources)),
    st.integers(0, 30),
    st.integers(1, 9),
    st.sampled_from(["PER", "ORG"]),
    st.lists(st.sampled_from("abc"), min_size=1, max_size=3, unique=True),
)
CANDIDATES = st.lists(CANDIDATE, max_size=12).map(merged)


def overlap(one: Candidate, other: Candidate) -> bool:
    return one.start < other.end and other.start < one.end


def entity(start: int, end: int, label: str = "PER", score: float | None = None) -> Entity:
    return Entity(start, end, label, "x" * (end - start), score)


def test_the_union_has_each_candidate_once_with_its_sources_and_highest_score() -> None:
    found = union({"a": [entity(0, 3, score=0.4), entity(5, 7)], "b": [entity(0, 3, score=0.9), entity(0, 3, "ORG")]})
    assert [each.key for each in found] == [(0, 3, "ORG"), (0, 3, "PER"), (5, 7, "PER")]
    assert [each.sources for each in found] == [("b",), ("a", "b"), ("a",)]
    assert [each.score for each in found] == [None, 0.9, None]


@given(CANDIDATES)
def test_components_part_what_does_not_overlap(candidates: list[Candidate]) -> None:
    groups = list(components(candidates))
    assert [each for group in groups for each in group] == candidates
    for one, other in combinations(groups, 2):
        assert not any(overlap(a, b) for a in one for b in other)
    for group in groups:
        reached, waiting = {group[0].key}, [group[0]]
        while waiting:
            near = [each for each in group if overlap(each, waiting[-1]) and each.key not in reached]
            waiting.pop()
            waiting += near
            reached |= {each.key for each in near}
        assert len(reached) == len(group)


@given(CANDIDATES)
def test_options_are_all_maximal_sets_of_disjoint_candidates(candidates: list[Candidate]) -> None:
    for group in components(candidates):
        if len(group) > 8:
            continue
        disjoint = [
            chosen
            for size in range(1, len(group) + 1)
            for chosen in combinations(group, size)
            if not any(overlap(one, other) for one, other in combinations(chosen, 2))
        ]
        keys = {frozenset(each.key for each in chosen) for chosen in disjoint}
        maximal = {each for each in keys if not any(each < other for other in keys)}
        found = options(group, most=10**6)
        assert {frozenset(each.key for each in option) for option in found} == maximal
        assert len(found) == len(maximal)
        assert found == sorted(found, key=preference)


def test_thirty_overlapping_candidates_are_resolved_at_once() -> None:
    """All subsets of a chain of 30 would be a million; of 30 that overlap each other with labels, more."""
    chain = [Candidate(at, at + 2, "PER", ("a",)) for at in range(30)]
    bush = [Candidate(at, 40 + at, label, ("a",)) for at in range(15) for label in ("PER", "ORG")]
    for candidates in (chain, bush):
        assert len(options(candidates)) <= MOST_OPTIONS
        assert len(options(candidates, most=10**6)) <= 2**MOST_SPANS
        assert resolved(candidates)


def test_of_too_many_those_with_the_most_yes_votes_count() -> None:
    chain = [Candidate(at, at + 2, "PER", ("a",)) for at in range(0, 20)]
    wanted = {0, 4, 8, 12}
    voted = [each.voted(VALID, "m", 1.0 if each.start in wanted else -1.0) for each in chain]
    (best, *_) = options(voted)
    assert wanted <= {each.start for each in best}


def test_a_long_candidate_across_many_costs_none_of_these() -> None:
    """Those that are not among the ones that options are made of are kept where nothing overlaps them."""
    many = [Candidate(3 * at, 3 * at + 2, "PER", ("a",)) for at in range(20)]
    assert preferred([*many, Candidate(0, 60, "ORG", ("a",))]) == many
    [chosen, *_] = options([*many, Candidate(0, 60, "ORG", ("a",))])
    assert chosen == tuple(many)


def test_the_majority_is_of_all_who_were_asked() -> None:
    assert is_majority({"a": 1.0, "b": 0.1, "c": None})
    assert not is_majority({"a": 1.0, "b": None})
    assert not is_majority({"a": 1.0, "b": -0.5, "c": None})
    assert not is_majority({"a": 0.0})
    assert not is_majority({})


def test_counting_who_answered_would_keep_what_everybody_refused() -> None:
    """The released filter of arXiv 2512.10043 asks whether more than half of the voters answered."""
    refused = Candidate(0, 3, "PER", ("a",)).voted(VALID, "m", -5.0).voted(VALID, "n", -5.0)
    answered = sum(vote is not None for vote in refused.votes[VALID].values())
    assert answered > 1  # its filter would keep it
    assert valid([refused]) == []


def test_labels_go_to_the_most_votes_and_ties_to_the_own() -> None:
    def voted(label: str, *labels: str | None) -> list[Candidate]:
        candidate = Candidate(0, 3, label, ("a",))
        for number, each in enumerate(labels):
            candidate = candidate.voted(LABEL, str(number), each)
        return labelled([candidate])

    assert [each.label for each in voted("PER", "ORG", "ORG", "PER")] == ["ORG"]
    assert [each.label for each in voted("PER", "ORG", "PER")] == ["PER"]
    assert [each.label for each in voted("LOC", "PER", "ORG")] == ["ORG"]
    assert [each.label for each in voted("LOC", None, None)] == ["LOC"]


def test_candidates_that_get_the_same_label_are_one() -> None:
    both = union({"a": [entity(0, 3, "PER")], "b": [entity(0, 3, "ORG")]})
    (one,) = labelled([each.voted(LABEL, "m", "LOC") for each in both])
    assert (one.label, set(one.sources)) == ("LOC", {"a", "b"})


def test_boundaries_go_to_the_most_votes() -> None:
    candidate = Candidate(4, 8, "PER", ("a",))
    for name, span in (("m", [0, 8]), ("n", [0, 8]), ("o", None)):
        candidate = candidate.voted(BOUNDARY, name, span)
    assert [(each.start, each.end) for each in bounded([candidate])] == [(0, 8)]


def test_an_overlap_goes_to_the_option_of_most_deciders_then_to_the_higher_sum() -> None:
    long, short = Candidate(0, 10, "ORG", ("a",)), Candidate(0, 4, "LOC", ("b",))
    assert resolved([long, short]) == [long]  # nobody was asked: the longer
    two = [long.voted(OVERLAP, "m", -2.0), short.voted(OVERLAP, "m", 2.0)]
    assert [each.label for each in resolved(two)] == ["LOC"]
    tied = [two[0].voted(OVERLAP, "n", 5.0), two[1].voted(OVERLAP, "n", 0.0)]
    assert [each.label for each in resolved(tied)] == ["ORG"]
    failed = [each.voted(OVERLAP, "n", None) for each in two]
    assert [each.label for each in resolved(failed)] == ["LOC"]


@given(CANDIDATES, st.data())
def test_margins_say_which_option_was_chosen(candidates: list[Candidate], data: st.DataObject) -> None:
    for group in components(candidates):
        possible = options(group)
        scores = data.draw(st.lists(st.floats(-9, 0), min_size=len(possible), max_size=len(possible)))
        found = margins(possible, scores)
        best = max(range(len(possible)), key=lambda at: (scores[at], -at))
        assert {key for key, margin in found.items() if margin > 0} == {each.key for each in possible[best]}


@given(CANDIDATES)
def test_what_is_resolved_does_not_overlap(candidates: list[Candidate]) -> None:
    for found in (preferred(candidates), resolved(candidates)):
        assert not any(overlap(one, other) for one, other in combinations(found, 2))
        assert {each.key for each in found} <= {each.key for each in candidates}


def test_plurality() -> None:
    assert plurality(["a", "b", "b", None, None, None], str) == "b"
    assert plurality(["b", "a"], str) == "a"
    assert plurality([None], str) is None


@given(CANDIDATES, CANDIDATES)
def test_a_selection_without_votes_does_not_depend_on_the_order_of_the_files(
    one: list[Candidate], other: list[Candidate]
) -> None:
    def joined(first: str, second: str) -> list[Candidate]:
        named = {first: one, second: other}
        return merged(Candidate(*each.key, (name,)) for name, those in named.items() for each in those)

    keys = [[each.key for each in selected(joined(*names), ("a", "b"))] for names in (("a", "b"), ("b", "a"))]
    assert keys[0] == keys[1]


def test_where_two_answers_differ() -> None:
    same, left, right, alone = (Candidate(s, e, "PER") for s, e in ((0, 3), (5, 9), (7, 12), (20, 22)))
    assert list(differing([same, left], [same, right, alone])) == [((left,), (right,)), ((), (alone,))]
    assert list(differing([same, left], [same, right, alone], whole=True)) == [((left,), (right, alone))]
    assert list(differing([same], [same], whole=True)) == []
