"""Completions that no lock has held: parse reads them or raises DataError, and never invents an entity."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import MARKUP, TRAPS, Case, cases, examples, hostile_text

from genner_cli.errors import DataError
from genner_cli.formats import FORMATS

TEXT = "a b"
ITEM = '{"text": "a", "label": "X", '

BROKEN = {
    "bracketed": [
        "",
        "a",
        "a b c",
        "a c",
        "A b",
        "a  b",
        "[a | X] [b",
        "[a",
        "a] b",
        "a | X] b",
        "[a] b",
        "[a|X] b",
        "[a | ] b",
        "[ | X]a b",
        "[a | X b",
        "[[a | X] b",
        "\\a b",
        "a b\\",
        "[a | [X]] b",
    ],
    "xml": [
        "",
        "a",
        "a b c",
        "<X>a b",
        "a</X> b",
        "<X>a</Y> b",
        "<X></X>a b",
        "<X>a<Y> b</X></Y>",
        "<>a</> b",
        "</X>a<X> b",
        "<X a</X> b",
        "a &b",
        "&#97; b",
        "a b<",
        "a b</",
        "</>a<//> b",
    ],
    "inserted": [
        "",
        "a",
        "a b⟧",
        "⟦a b",
        "⟦a⟧ b",
        "⟦a⦂⟧ b",
        "⟦a⦂X b",
        "⟦⦂X⟧a b",
        "a⟦ ⦂X⟧b",
        "a⦂X⟧ b",
        "⟦a⦂X⟧⦂X⟧ b",
        "⧵a b",
        "a b⧵",
        "⟦a⦂⟦X⟧⟧ b",
    ],
    "category": [
        "",
        "{",
        "[]",
        '{"X"}',
        '{"X": "a"}',
        '{"X": [}',
        '{"X": ["a"}',
        '{"X": ["a",]}',
        '{"X": ["a"],}',
        '{"X": [1]}',
        '{"X": ["c"]}',
        '{"X": [""]}',
        '{"": ["a"]}',
        '{"X": ["a", "a"]}',
        '{"X": ["a"]} x',
        '{"X": ["a"]}}',
        '{"X": [null]}',
        '{"X": ["\\q"]}',
        '{"X": ["\\ud800"]}',
        "{1: []}",
        '{"X": ["a" "b"]}',
    ],
    "occurrence": [
        "",
        "[",
        "{}",
        "[{}]",
        '[{"text": "a"}]',
        f"[{ITEM}]",
        f'[{ITEM}"occurrence_index": 0}}]',
        f'[{ITEM}"occurrence_index": 2}}]',
        f'[{ITEM}"occurrence_index": -1}}]',
        f'[{ITEM}"occurrence_index": "1"}}]',
        f'[{ITEM}"occurrence_index": 1.5}}]',
        f'[{ITEM}"occurrence_index": {"9" * 5000}}}]',
        f'[{ITEM}"start": 0}}]',
        f'[{ITEM}"occurrence_index": 1}},]',
        f'[{ITEM}"occurrence_index": 1}}',
        f'[{ITEM}"occurrence_index": 1}}] x',
        '[{"label": "X", "text": "a", "occurrence_index": 1}]',
        '[{"text": "c", "label": "X", "occurrence_index": 1}]',
        '[{"text": "", "label": "X", "occurrence_index": 1}]',
        '[{"text": "a", "label": 1, "occurrence_index": 1}]',
    ],
    "offset": [
        "",
        "[[]]",
        f'[{ITEM}"start": 0}}]',
        f'[{ITEM}"start": 0, "end": 2}}]',
        f'[{ITEM}"start": 2, "end": 3}}]',
        f'[{ITEM}"start": -3, "end": -2}}]',
        f'[{ITEM}"start": 3, "end": 4}}]',
        f'[{ITEM}"end": 1, "start": 0}}]',
        f'[{ITEM}"start": {"9" * 18}, "end": {"9" * 18}}}]',
        f'[{ITEM}"start": true, "end": 1}}]',
        '[{"text": "", "label": "X", "start": 0, "end": 0}]',
        '[{"text": "a", "label": "", "start": 0, "end": 1}]',
    ],
}


@pytest.mark.parametrize(("name", "completion"), [(name, broken) for name in BROKEN for broken in BROKEN[name]])
def test_a_broken_completion_is_a_data_error(name: str, completion: str) -> None:
    with pytest.raises(DataError, match=r"completion|text has no"):
        FORMATS[name].parse(completion, TEXT)


@pytest.mark.parametrize(
    ("name", "completion", "where"),
    [
        ("bracketed", "[a | X] c", r"leaves .*character 8\b"),
        ("xml", "<X>a</Y> b", "'Y' .*'X' .*open"),
        ("xml", "a</X> b", r"not open.* character 1\b"),
        ("inserted", "a⟦ ⦂X⟧b", r"empty .*character 3\b"),
        ("bracketed", "a \\b", r"markup .*character 2\b"),
        ("inserted", "⟦a", "ends before"),
        ("category", '{"X": [1]}', r"string .*character 7\b"),
        ("category", '{"X": ["c"]}', "no 'c'"),
        ("occurrence", '[{"text": "a" "label"', "character 13: , "),
        ("offset", '[{"text": "a", "type": "X"', "'type' .*'label'"),
        ("offset", "[]]", r"JSON.* character 2\b"),
    ],
)
def test_the_error_says_what_is_wrong_and_where(name: str, completion: str, where: str) -> None:
    with pytest.raises(DataError, match=where):
        FORMATS[name].parse(completion, TEXT)


JUNK = st.one_of(
    st.lists(st.sampled_from([*MARKUP, *TRAPS, "a", " ", "b", "1", "-", "X", '"text": "a"', '{"text"', "]"])).map(
        "".join
    ),
    st.text(),
)


@pytest.mark.parametrize("name", FORMATS)
@examples(80)
@given(completion=JUNK, text=st.one_of(st.just(TEXT), hostile_text(most=4)))
def test_arbitrary_strings_raise_nothing_but_data_error(name: str, completion: str, text: str) -> None:
    _entities_stand_in_the_text_or_data_error(name, completion, text)


@pytest.mark.parametrize("name", FORMATS)
@examples(30)
@given(case=cases(most=8), seed=st.integers(0, 2**32))
def test_a_damaged_rendering_gives_no_entity_that_is_not_in_the_text(name: str, case: Case, seed: int) -> None:
    completion = FORMATS[name].render(case.text, case.entities, case.labels, depth=4).completion
    rng = random.Random(seed)
    for _ in range(8):
        at = rng.randrange(len(completion) + 1)
        end = at + rng.choice((0, 0, 1, 2))
        put = rng.choice((*MARKUP, *"ab01 ", "", completion[at:][:5]))
        _entities_stand_in_the_text_or_data_error(name, completion[:at] + put + completion[end:], case.text)


def _entities_stand_in_the_text_or_data_error(name: str, completion: str, text: str) -> None:
    try:
        entities = FORMATS[name].parse(completion, text)
    except DataError:
        return
    for entity in entities:
        assert 0 <= entity.start < entity.end <= len(text)
        assert entity.text == text[entity.start : entity.end]
        assert entity.label


@pytest.mark.parametrize(
    ("name", "completion"),
    [
        ("category", ' {"X":["a"] ,\n"Y" : [ ] } '),
        ("occurrence", '[ {"text":"\\u0061","label":"X","occurrence_index":1} ]\n'),
        ("offset", '\t[{"text" :"a", "label":"X", "start": 0,"end":1}]'),
    ],
)
def test_json_is_read_with_any_blanks_and_escapes(name: str, completion: str) -> None:
    assert [(e.start, e.end, e.label) for e in FORMATS[name].parse(completion, TEXT)] == [(0, 1, "X")]
