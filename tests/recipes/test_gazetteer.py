"""benchmarks/gazetteer.py: mentions seen in training are found again."""

from __future__ import annotations

from gazetteer import learn
from made_sets import labelled

from genner_cli.types import Document


def found(train: list[Document], text: str) -> list[tuple[str, str]]:
    return [(each.text, each.label) for each in learn(train).predict(text)]


def test_the_longest_mention_is_found_from_left_to_right() -> None:
    train = [labelled("New York Times", New_York_Times="ORG"), labelled("in New York", New_York="LOC")]
    assert found(train, "New York Times of New York, New") == [("New York Times", "ORG"), ("New York", "LOC")]


def test_blanks_between_words_may_differ_but_parts_of_words_are_not_found() -> None:
    train = [labelled("in New York", New_York="LOC")]
    assert found(train, "New\n York, New Yorker") == [("New\n York", "LOC")]


def test_a_mention_has_its_most_frequent_label() -> None:
    train = [labelled("Paris", Paris="PER"), labelled("Paris", Paris="LOC"), labelled("Paris", Paris="LOC")]
    assert found(train, "Paris") == [("Paris", "LOC")]


def test_mentions_that_are_mostly_no_entities_are_left_out() -> None:
    train = [labelled("May came in May, but may", May="PER"), labelled("in May"), labelled("Ann or Ann", Ann="PER")]
    assert found(train, "May and Ann") == [("Ann", "PER")]


def test_nothing_learnt_finds_nothing() -> None:
    assert found([], "Ann") == []
