"""genner_cli.instructing: a labelled text <-> instruction, input and output."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from labelled import entities_in, plain
from strategies import LABELS, MARKUP, examples, hostile_text

from genner_cli.errors import DataError
from genner_cli.formats import FORMATS
from genner_cli.instructing import completed, entities_of, instruction, labels_of
from genner_cli.types import Entity, Label

ASKED = (Label("PER", "a person, real: or not"), *map(Label, LABELS[1:]))


@pytest.mark.parametrize("format", FORMATS)
def test_an_instruction_names_its_labels_with_their_definitions(format: str) -> None:
    assert labels_of(instruction(format, ASKED)) == list(ASKED)


def test_the_name_of_a_tag_may_stand_in_brackets() -> None:
    text = "Do it.\nLabel Set:\nPER(person): people\nORG (organization)\n[x]: no label\nGo:"
    assert labels_of(text) == [Label("PER", "people"), Label("ORG")]


def unescaped(text: str, entities: list[Entity], format: str) -> str:
    """As the paper's data has it: markup of another meaning in the text is not marked as such."""
    pieces = []
    for place in range(len(text) + 1):
        pieces += [
            f" | {e.label}]" if format == "bracketed" else f"</{e.label}>" for e in reversed(entities) if e.end == place
        ]
        pieces += ["[" if format == "bracketed" else f"<{e.label}>" for e in entities if e.start == place]
        pieces.append(text[place : place + 1])
    return "".join(pieces)


@st.composite
def unescaped_cases(draw: st.DrawFn, markup: bool) -> tuple[str, list[Entity]]:
    text = draw(hostile_text())
    if not markup:
        text = "".join(c for c in text if c not in MARKUP)
    return text, list(draw(entities_in(text)))


@pytest.mark.parametrize("format", ["bracketed", "xml"])
@given(case=unescaped_cases(markup=False))
@examples(60)
def test_unescaped_completions_say_the_entities_where_the_text_has_no_markup(
    format: str, case: tuple[str, list[Entity]]
) -> None:
    text, entities = case
    output = unescaped(text, entities, format)
    assert plain(entities_of(text, output, instruction(format, ASKED), format)) == plain(entities)


@pytest.mark.parametrize("format", ["bracketed", "xml"])
@given(case=unescaped_cases(markup=True))
@examples(60)
def test_unescaped_completions_are_read_in_a_way_that_would_write_them(
    format: str, case: tuple[str, list[Entity]]
) -> None:
    text, entities = case
    output = unescaped(text, entities, format)
    found = entities_of(text, output, instruction(format, ASKED), format)
    assert output in (unescaped(text, found, format), completed(text, found, ASKED, format).completion)


def test_a_listing_names_the_occurrence_also_inside_words() -> None:
    output = json.dumps([{"text": "Ann", "label": "PER", "occurrence_index": 2}])
    assert [e.start for e in entities_of("Annie Annette", output, instruction("occurrence", ASKED))] == [6]
    output = json.dumps([{"text": "Ann", "label": "PER", "start": 6, "end": 9}])
    assert [e.start for e in entities_of("Annie Annette", output, instruction("offset", ASKED))] == [6]
    output = json.dumps({"PER": ["Ann", "Ann"]})
    assert [e.start for e in entities_of("Annie Annette", output, instruction("category", ASKED))] == [0, 6]


@pytest.mark.parametrize(
    "output",
    [
        "[Bob | PER] left.",
        '{"PER": ["Bob"]}',
        '[{"text": "Ann"}]',
        '[{"text": "Ann", "label": "PER", "start": 1}]',
        "[",
    ],
)
def test_a_completion_of_another_text_is_refused(output: str) -> None:
    with pytest.raises(DataError, match="input"):
        entities_of("Ann left.", output, instruction("bracketed", ASKED))


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("output", ["[", "7", '[["Ann"]]', '{"PER": [["Ann"]]}', '{"PER": 7}x'])
def test_output_that_is_not_of_the_named_format_is_refused(format: str, output: str) -> None:
    with pytest.raises(DataError):
        entities_of("Ann left.", output, instruction(format, ASKED), format)


def test_tags_of_two_labels_do_not_make_an_entity() -> None:
    with pytest.raises(DataError, match="xml"):
        entities_of("Ann left.", "<PER>Ann</PERSON> left.", instruction("xml", ASKED), "xml")


def test_many_brackets_do_not_take_for_ever() -> None:
    text = "[" * 400 + "Ann" + "]" * 400
    with pytest.raises(DataError):
        entities_of(text, "[" * 300 + "Ann | PER" + "]" * 299 + "x", instruction("bracketed", ASKED), "bracketed")
