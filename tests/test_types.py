"""Labels that would break an output format are refused; entities compare by what they say."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from strategies import LABELS, characters, examples, hostile_text

from genner_cli.errors import UsageError
from genner_cli.types import FORBIDDEN_IN_LABELS, Entity, Label, Range, canonical_order


@pytest.mark.parametrize("char", list('[]|<>&"\\⟦⦂⟧⧵'))
@pytest.mark.parametrize("name", ["{}", "A{}", "{}A", "A{}B"])
def test_a_label_with_markup_is_refused_and_the_markup_named(char: str, name: str) -> None:
    with pytest.raises(UsageError, match="markup") as error:
        Label(name.format(char))
    assert char in str(error.value)


@pytest.mark.parametrize("name", ["", " ", "/", "/A", " A", "A ", "\u00a0A", "A\u3000"])
def test_an_empty_label_outer_blanks_and_a_leading_slash_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"label {re.escape(repr(name))} is empty"):
        Label(name)


@pytest.mark.parametrize("char", ["\0", "\t", "\n", "\r", "\x1b", "\x7f", "\x85", "\ud800"])
def test_control_characters_and_lone_surrogates_are_refused(char: str) -> None:
    with pytest.raises(UsageError, match="control character"):
        Label(f"A{char}B")
    with pytest.raises(UsageError, match="control character"):
        Label("A", f"a definition{char}")


@pytest.mark.parametrize(
    "name", [*LABELS, "A/B", "A-B_c.1", "Ort: Stadt", "人名", "e\u0301", "👤", "A'B", "{x}", "%", "A, B"]
)
def test_any_other_name_is_a_label(name: str) -> None:
    assert Label(name, 'with "quotes", [brackets] and \\ in its definition').name == name


@examples(100)
@given(name=hostile_text(most=5))
def test_a_label_is_refused_or_free_of_what_formats_need(name: str) -> None:
    try:
        Label(name)
    except UsageError:
        return
    assert name == name.strip() != ""
    assert not set(name) & FORBIDDEN_IN_LABELS
    assert name.isprintable() or not any(char < " " or char == "\x7f" for char in name)


@examples(100)
@given(char=characters)
def test_a_definition_may_hold_any_visible_character(char: str) -> None:
    if char < " " or "\x7f" <= char <= "\x9f":
        return
    assert Label("A", char).definition == char


def test_score_and_rendering_take_no_part_in_equality() -> None:
    entity = Entity(0, 1, "A", "a", score=0.5, rendering=(Range(0, 3),))
    assert entity == Entity(0, 1, "A", "a")
    assert hash(entity) == hash(Entity(0, 1, "A", "a"))
    assert entity != Entity(0, 1, "B", "a")


def test_canonical_order_is_by_start_then_the_longer_then_the_label() -> None:
    first, second = Entity(0, 3, "A", "abc"), Entity(0, 3, "B", "abc")
    third, fourth = Entity(0, 1, "A", "a"), Entity(1, 3, "A", "bc")
    assert sorted([fourth, third, second, first], key=canonical_order) == [first, second, third, fourth]
