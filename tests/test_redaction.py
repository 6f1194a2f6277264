"""Redaction of texts with hostile Unicode and entities that nest, cross and touch; nothing else changes."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import LABELS, examples, hostile_text

from genner_cli.redaction import Operator, Pseudonyms, Redaction, Redactor, check, moved, repeated, replaced
from genner_cli.types import Entity, canonical_order

KEY = Pseudonyms(b"k" * 32)


class Marked(NamedTuple):
    text: str
    entities: list[Entity]


@st.composite
def marked(draw: st.DrawFn) -> Marked:
    """A text and entities between any two of its characters."""
    text = draw(hostile_text())
    offset = st.integers(0, len(text))
    pairs = draw(st.lists(st.tuples(offset, offset, st.sampled_from(LABELS)), max_size=6))
    ranges = [(min(one, other), max(one, other), label) for one, other, label in pairs if one != other]
    return Marked(text, [Entity(start, end, label, text[start:end]) for start, end, label in ranges])


redactors = st.builds(
    Redactor,
    st.dictionaries(st.sampled_from(LABELS), st.sampled_from(Operator)),
    st.sampled_from(Operator),
    st.booleans(),
    st.just(KEY),
)


def entity(text: str, mention: str, label: str) -> Entity:
    start = text.index(mention)
    return Entity(start, start + len(mention), label, mention)


def redacted(text: str, entities: list[Entity], *, repeat: bool = False, other: Operator = Operator.LABEL) -> str:
    return Redactor(other=other, repeat=repeat, pseudonyms=KEY).redact(text, entities).text


@examples(400)
@given(marked(), redactors)
def test_only_entities_change_and_all_of_them_do(case: Marked, redactor: Redactor) -> None:
    done = redactor.redact(case.text, case.entities)
    hidden = {
        at
        for each in case.entities
        if redactor.operator(each.label) is not Operator.KEEP
        for at in range(each.start, each.end)
    }
    covered = {at for each in done.redactions for at in range(each.start, each.end)}
    assert hidden == covered if not redactor.repeat else hidden <= covered
    # Read from the left: what is not covered stands there, and each replacement once for what it covers.
    expected, starts = "", {each.start: each for each in done.redactions}
    for at, character in enumerate(case.text):
        if at in starts:
            assert len(expected) == starts[at].at
            expected += starts[at].replacement
        if at not in covered:
            expected += character
    assert done.text == expected


@examples(400)
@given(marked(), redactors)
def test_what_is_kept_stands_where_it_says_and_out_of_redactions(case: Marked, redactor: Redactor) -> None:
    done = redactor.redact(case.text, case.entities)
    given_kept = [each for each in case.entities if redactor.operator(each.label) is Operator.KEEP]
    assert all(done.text[each.start : each.end] == each.text for each in done.kept)
    if not done.redactions:
        assert list(done.kept) == sorted(given_kept, key=canonical_order)
    for each in given_kept:
        if not any(other.start < each.end and each.start < other.end for other in done.redactions):
            assert any(there.text == each.text and there.label == each.label for there in done.kept)


@examples(400)
@given(marked(), st.booleans())
def test_putting_names_back_gives_the_text(case: Marked, repeat: bool) -> None:
    done = Redactor(other=Operator.PSEUDONYM, repeat=repeat, pseudonyms=KEY).redact(case.text, case.entities)
    back = [
        Entity(each.at, each.at + len(each.replacement), each.label, case.text[each.start : each.end])
        for each in done.redactions
    ]
    text, placed = replaced(
        done.text, [Redaction(each.start, each.end, each.label, Operator.PSEUDONYM, each.text) for each in back]
    )
    assert text == case.text
    assert [(each.at, each.replacement) for each in placed] == [
        (each.start, case.text[each.start : each.end]) for each in done.redactions
    ]


@examples(300)
@given(marked())
def test_a_mask_keeps_every_offset(case: Marked) -> None:
    done = redacted(case.text, case.entities, other=Operator.MASK)
    assert len(done) == len(case.text)
    assert all(one == other or other == "*" for one, other in zip(case.text, done, strict=True))


@examples(300)
@given(marked())
def test_no_name_is_left_after_repeat(case: Marked) -> None:
    ordered = sorted(case.entities, key=canonical_order)
    both = [*ordered, *repeated(case.text, ordered)]
    assert list(repeated(case.text, sorted(both, key=canonical_order))) == []


@pytest.mark.parametrize(
    ("text", "spans", "expected"),
    [
        ("Ask Ada Lovelace now", [("Ada Lovelace", "PER"), ("Ada", "FIRST")], "Ask [PER] now"),
        ("Acme Oslo Ltd", [("Acme Oslo", "ORG"), ("Oslo Ltd", "LOC")], "[ORG]"),
        ("Oslo Ltd Acme", [("Oslo", "LOC"), ("Oslo Ltd", "ORG"), ("Ltd Acme", "X")], "[ORG]"),
        ("AdaBob", [("Ada", "PER"), ("Bob", "PER")], "[PER][PER]"),
        ("Ada", [("Ada", "PER"), ("Ada", "LOC")], "[LOC]"),
        ("👩‍🚀 Ada é", [("Ada", "PER")], "👩‍🚀 [PER] é"),
    ],
)
def test_overlapping_entities_become_one_and_touching_ones_stay_apart(
    text: str, spans: list[tuple[str, str]], expected: str
) -> None:
    assert redacted(text, [entity(text, mention, label) for mention, label in spans]) == expected


@pytest.mark.parametrize(
    ("text", "mention", "expected"),
    [
        ("Ada Lovelace. ADA\nLOVELACE! Ada Love-\nlace?", "Ada Lovelace", "[X]. [X]! [X]?"),
        ("Jean-Paul, Jean-\n  Paul, Jean\u2011Paul, JeanPaul", "Jean-Paul", "[X], [X], [X], [X]"),
        ("May was here. It may rain. MAY", "May", "[X] was here. It may rain. [X]"),
        ("may, May", "may", "[X], [X]"),
        ("Oslo-based, Osloites, Oslo's", "Oslo", "[X]-based, Osloites, [X]'s"),
        ("Jose\u0301 and José", "José", "[X] and [X]"),
        ("北京市と北京", "北京", "[X]市と[X]"),
        ("A. and A.", "A.", "[X] and A."),
        ("Ada " * 60 + "Ada", "Ada " * 50 + "Ada", "[X] " + "Ada " * 9 + "Ada"),
        ("Lo\u00adndon, Lon\u200bdon, London", "London", "[X], [X], [X]"),
    ],
)
def test_further_mentions_of_a_name_are_replaced(text: str, mention: str, expected: str) -> None:
    assert redacted(text, [entity(text, mention, "X")], repeat=True) == expected


def test_a_pseudonym_is_that_of_a_name_however_it_is_spelled() -> None:
    first, *others = (KEY.of("PER", name) for name in ("Ada Lovelace", "ADA  LOVELACE", "Ada Love-\nlace"))
    assert {each.text for each in others} == {first.text}
    assert len({each.spelling for each in (first, *others)}) == 3
    assert KEY.of("LOC", "Ada Lovelace").text != first.text
    assert KEY.of("PER", "Ada Lovelac").text != first.text
    assert Pseudonyms(b"x" * 32).of("PER", "Ada Lovelace").text != first.text


def test_the_check_finds_any_other_change() -> None:
    text = "Ask Ada now"
    new, placed = replaced(text, Redactor().redact(text, [entity(text, "Ada", "PER")]).redactions)
    check(text, new, placed)
    for at in range(len(new)):
        for wrong in (new[:at] + "~" + new[at + 1 :], new[:at] + new[at + 1 :], new[:at] + "~" + new[at:]):
            with pytest.raises(AssertionError):
                check(text, wrong, placed)


def test_an_entity_around_a_redaction_is_kept_with_its_new_text() -> None:
    text = "The Ada Lovelace Institute"
    done = Redactor({"ORG": Operator.KEEP}).redact(text, [entity(text, text, "ORG"), entity(text, "Ada", "PER")])
    assert done.kept == (Entity(0, 28, "ORG", "The [PER] Lovelace Institute"),)
    assert list(moved([Entity(5, 12, "X", "da Love")], done.text, done.redactions)) == []
