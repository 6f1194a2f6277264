"""genner_cli.data: statistics, splitting, relabelling and checking."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from labelled import documents
from strategies import examples

from genner_cli.data.checking import different_annotations, duplicates, label_contradictions, leaks
from genner_cli.data.relabelling import Relabelled, relabel
from genner_cli.data.splitting import grouped, split
from genner_cli.data.statistics import Lengths, count_nested, statistics
from genner_cli.errors import DataError, UsageError
from genner_cli.files.annotations import Dropped
from genner_cli.types import Document, Entity

SHARES = {"train": 0.8, "valid": 0.1, "test": 0.1}
EIGHT = "one two three four five six seven eight"


def entity(text: str, mention: str, label: str, after: int = 0) -> Entity:
    start = text.index(mention, after)
    return Entity(start, start + len(mention), label, mention)


def document(text: str, *found: tuple[str, str], source: str = "a.jsonl:1") -> Document:
    return Document(text, None, tuple(entity(text, mention, label) for mention, label in found), {}, source)


# statistics


def test_statistics_count_what_there_is() -> None:
    text = "Ann of New York, and Bob of York"
    nested = (*(entity(text, m, x) for m, x in (("Ann", "PER"), ("New York", "LOC"), ("York", "CITY"))),)
    counted = statistics([Document(text, None, (*nested, entity(text, "Bob", "PER"))), Document("None.")])
    assert (counted.documents, counted.empty, counted.characters) == (2, 1, len(text) + 5)
    assert (counted.entities, counted.nested) == (4, 1)
    assert counted.entity_lengths == Lengths(4.5, 3.5, 8)
    assert list(counted.labels) == ["PER", "CITY", "LOC"]
    person = counted.labels["PER"]
    assert (person.entities, person.mentions, person.documents) == (2, 2, 1)


def test_statistics_of_nothing_are_zero() -> None:
    assert statistics([]).document_lengths == Lengths(0.0, 0.0, 0)


@given(documents())
@examples(60)
def test_nested_entities_are_those_within_another_one(found: list[Document]) -> None:
    for one in found:
        entities = one.entities
        within = sum(
            any(outer.start <= e.start and e.end <= outer.end for outer in entities[:number])
            for number, e in enumerate(entities)
        )
        assert count_nested(entities) == within


# splitting


@given(st.integers(0, 12), st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11))))
@examples(100)
def test_groups_are_what_pairs_connect(count: int, pairs: list[tuple[int, int]]) -> None:
    pairs = [(one, other) for one, other in pairs if max(one, other) < count]
    groups = {number: {number} for number in range(count)}
    for one, other in pairs * count:
        groups[one] |= groups[other]
        groups[other] |= groups[one]
    found = grouped(count, pairs)
    assert sorted(number for group in found for number in group) == list(range(count))
    for group in found:
        assert all(groups[number] >= set(group) for number in group)
    assert len(found) == len({frozenset(g) for g in groups.values()}) or not pairs


def corpus() -> list[Document]:
    """400 documents: PER everywhere, ORG in 40, RARE in 3; every tenth repeats eight words of the one before."""
    found = []
    for number in range(400):
        text = f"Ann number{number} " + " ".join(f"w{number}x{k}" for k in range(8))
        labels = [("Ann", "PER")] + [(f"number{number}", "ORG")] * (number % 10 == 3)
        labels += [(f"w{number}x0", "RARE")] * (number in (7, 77, 277))
        if number % 10 == 9:
            text = text + " " + " ".join(f"w{number - 1}x{k}" for k in range(8)).upper()
        found.append(document(text, *labels, source=f"a.jsonl:{number + 1}"))
    return found


def test_a_split_has_the_shares_keeps_near_duplicates_together_and_loses_no_label() -> None:
    found = corpus()
    dealt = split(found, SHARES, seed=1)
    assert sorted(number for numbers in dealt.sides.values() for number in numbers) == list(range(400))
    assert all(numbers == sorted(numbers) for numbers in dealt.sides.values())
    assert dealt.largest == 2
    side_of = {number: side for side, numbers in dealt.sides.items() for number in numbers}
    assert all(side_of[number] == side_of[number - 1] for number in range(9, 400, 10))
    counts = {
        side: Counter(e.label for n in numbers for e in found[n].entities) for side, numbers in dealt.sides.items()
    }
    assert {side: count["RARE"] for side, count in counts.items()} == {"train": 1, "valid": 1, "test": 1}
    assert [len(dealt.sides[side]) for side in SHARES] == pytest.approx([320, 40, 40], abs=2)
    assert [counts[side]["ORG"] for side in SHARES] == pytest.approx([32, 4, 4], abs=1)


@pytest.mark.parametrize("seed", range(10))
def test_the_side_to_train_on_has_every_label(seed: int) -> None:
    """A rarer label can have put both documents of Z elsewhere."""
    found = [document(f"A B Z {n}", *((x, x) for x in labels)) for n, labels in enumerate(("A", "B", "AZ", "BZ"))]
    train = split(found, SHARES, seed=seed).sides["train"]
    assert {e.label for n in train for e in found[n].entities} == {"A", "B", "Z"}


def test_a_split_is_that_of_its_seed() -> None:
    found = corpus()
    assert split(found, SHARES, seed=1) == split(found, SHARES, seed=1)
    assert split(found, SHARES, seed=1).sides["test"] != split(found, SHARES, seed=2).sides["test"]


@pytest.mark.parametrize("shares", [{"train": 0.8, "valid": 0.1}, {"train": 1.1, "valid": -0.1}, {"train": 0.0}])
def test_shares_must_add_up(shares: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="add up to 1"):
        split([], shares)


def test_an_empty_corpus_has_empty_sides() -> None:
    assert split([], SHARES).sides == {"train": [], "valid": [], "test": []}


# relabelling


def test_labels_are_renamed_merged_and_dropped_and_all_else_is_kept() -> None:
    entities = [
        {"start": 0, "end": 3, "label": "PER", "meta": {"x": 1}},
        {"start": 0, "end": 3, "label": "NAME"},
        {"start": 4, "end": 5, "label": "MISC"},
        {"start": 6, "end": 9, "label": "LOC", "score": 0.5},
    ]
    done = Relabelled()
    assert relabel(entities, {"PER": "person", "NAME": "person", "MISC": None}, done) == [
        {"start": 0, "end": 3, "label": "person", "meta": {"x": 1}},
        {"start": 6, "end": 9, "label": "LOC", "score": 0.5},
    ]
    assert (done.renamed, done.dropped, done.kept, done.doubled) == ({"PER": 1, "NAME": 1}, {"MISC": 1}, {"LOC": 1}, 1)


# checking


def test_texts_that_come_again_are_found_but_for_case_and_punctuation() -> None:
    files = {"a": [document("Ann slept.", source="a:1"), document("Bob."), document("ann slept", source="a:3")]}
    (found,) = duplicates({**files, "b": [document("Bob.")]})
    assert (found.count, found.places) == (2, ("a:1", "a:3"))
    assert "'Ann slept.' occurs 2 times in a" in found.what


def test_the_same_text_with_other_entities_is_found_across_files() -> None:
    one, other = document("Ann slept.", ("Ann", "PER"), source="a:1"), document("Ann slept.", source="b:1")
    (found,) = different_annotations({"a": [one, replace(one, source="a:2")], "b": [other]})
    assert (found.count, set(found.places)) == (3, {"a:2", "b:1"})
    assert not list(different_annotations({"a": [one], "b": [one]}))


def test_leaks_are_documents_that_share_eight_words_with_another_file() -> None:
    train = [document(f"so {EIGHT}.", source="train:1"), document("Short.", source="train:2")]
    test = [
        document(f"{EIGHT} nine", source="test:1"),
        document("short", source="test:2"),
        document("all new here", source="test:3"),
    ]
    (found,) = leaks({"train": train, "test": test})
    assert found.count == 2
    assert found.places == ("test:1 (train:1)", "test:2 (train:2)")
    assert found.what == "test has 2 documents with the whole text or eight consecutive words of train (1 identical)"
    assert not list(leaks({"train": [*train, *train], "test": test[2:]}))


def test_mentions_labelled_differently_or_not_at_all_are_found_with_counts_and_places() -> None:
    files = {
        "a": [
            document("New York won.", ("New York", "LOC"), source="a:1"),
            document("New York won again.", ("New York", "LOC"), source="a:2"),
            document("New York, a team", ("New York", "ORG"), source="a:3"),
            document("to New  York", source="a:4"),
            document("the New York Times", ("New York Times", "ORG"), source="a:5"),
            document("NewYork and new york", source="a:6"),
        ]
    }
    (found,) = label_contradictions(files)
    assert found.what == "'New York' is LOC 2x, unlabelled 1x, ORG 1x"
    assert (found.count, set(found.places)) == (2, {"a:3", "a:4"})


def test_consistent_data_has_no_contradictions() -> None:
    nested = Document("Ann of Ann", None, (Entity(0, 10, "ORG", "Ann of Ann"), Entity(0, 3, "PER", "Ann")))
    assert not list(label_contradictions({"a": [nested, document("Ann.", ("Ann", "PER"))]}))


# losses


def test_losses_are_counted_with_the_first_examples() -> None:
    losses = Dropped()
    for number in range(5):
        losses("scores", f"a:{number}")
    losses("ids", "a:9")
    scores, ids = losses.lines()
    assert "scores: 5 (a:0, a:1, a:2, ...)" in scores
    assert "ids: 1 (a:9)" in ids
    with pytest.raises(DataError, match="a:1: scores "):
        Dropped(strict=True)("scores", "a:1")
