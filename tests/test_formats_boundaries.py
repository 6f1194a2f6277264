"""Where the mentions of the JSON formats may start and end."""

from __future__ import annotations

from itertools import combinations_with_replacement, pairwise

import pytest
from hypothesis import given
from strategies import examples, hostile_text

from genner_cli.data.characters import inner_offsets
from genner_cli.formats.shared.boundaries import Mentions, is_boundary


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("New York", ["New", " ", "York"]),
        ("don't", ["don", "'", "t"]),
        ("U.S.", ["U", ".", "S", "."]),
        ("A4 3rd", ["A4", " ", "3rd"]),
        ("snake_case", ["snake", "_", "case"]),
        ("Ünïcödé", ["Ünïcödé"]),
        ("e\u0301te\u0301", ["e\u0301te\u0301"]),
        ("北京abc", ["北", "京", "abc"]),
        ("カナ", ["カ", "ナ"]),
        ("か\u3099な", ["か\u3099", "な"]),
        ("กรุง", ["ก", "รุ", "ง"]),
        ("नमस्ते", ["नमस्ते"]),
        ("שלום!", ["שלום", "!"]),
        ("한국어", ["한국어"]),
        ("❤️!", ["❤️", "!"]),
        ("1️⃣ 👩‍🚀👍🏽", ["1️⃣", " ", "👩‍🚀", "👍🏽"]),
        ("🇳🇴🇸🇪🇫", ["🇳🇴", "🇸🇪", "🇫"]),
        ("", []),
    ],
)
def test_boundaries_lie_between_words_and_between_characters_of_scripts_without_spaces(
    text: str, parts: list[str]
) -> None:
    boundaries = [at for at in range(len(text) + 1) if is_boundary(text, at, inner_offsets(text))]
    assert [text[start:end] for start, end in pairwise(boundaries)] == parts


def test_there_are_no_boundaries_outside_the_text() -> None:
    assert [is_boundary("ab", at, ()) for at in (-1, 0, 1, 2, 3)] == [False, True, False, True, False]
    assert is_boundary("", 0, ())


@examples(40)
@given(text=hostile_text(most=8))
def test_a_mention_starts_and_ends_at_boundaries_and_never_at_blanks(text: str) -> None:
    mentions = Mentions(text)
    assert mentions.starts == [
        at for at in range(len(text)) if is_boundary(text, at, inner_offsets(text)) and not text[at].isspace()
    ]
    assert mentions.ends == [
        at
        for at in range(1, len(text) + 1)
        if is_boundary(text, at, inner_offsets(text)) and not text[at - 1].isspace()
    ]
    for first, last in combinations_with_replacement(range(len(text) + 1), 2):
        assert list(mentions.ends_between(first, last)) == [end for end in mentions.ends if first <= end <= last]


@examples(40)
@given(text=hostile_text(most=6))
def test_occurrences_are_all_places_between_boundaries(text: str) -> None:
    mentions = Mentions(text)
    for start in mentions.starts:
        for end in mentions.ends_between(start + 1, len(text)):
            places = [at for at in mentions.starts if text.startswith(text[start:end], at)]
            places = [at for at in places if at + end - start in mentions.ends]
            assert list(mentions.occurrences(text[start:end])) == places
            assert start in places


def test_overlapping_occurrences_count() -> None:
    assert Mentions("a-a-a").occurrences("a-a") == (0, 2)
    assert Mentions("ab a").occurrences("a") == (3,)
    assert Mentions("a").occurrences("b") == ()
