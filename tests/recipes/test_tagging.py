"""benchmarks/tagging.py: entities to tags of words and back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from made_sets import entity
from strategies import examples, hostile_text
from tagging import entities_of, tags, words

from genner_cli.types import Entity, Range


def test_words_are_runs_of_letters_and_digits_and_single_marks() -> None:
    text = "@ann-lee: 22-oxa_x!"
    assert [text[start:end] for start, end in words(text)] == ["@", "ann", "-", "lee", ":", "22", "-", "oxa_x", "!"]


def test_words_of_a_part_keep_their_places_in_the_text() -> None:
    assert words("Ann met Bob.", Range(4, 11)) == [Range(4, 7), Range(8, 11)]


def test_neighbouring_entities_of_one_label_stay_apart() -> None:
    text = "Ann Bob Lee"
    given = [entity(text, "Ann", "PER"), entity(text, "Bob Lee", "PER")]
    assert tags(words(text), given) == ["B-PER", "B-PER", "I-PER"]
    assert entities_of(text, words(text), tags(words(text), given)) == given


def test_an_entity_inside_a_word_gets_the_whole_word() -> None:
    text = "500g of flour"
    found = tags(words(text), [Entity(0, 3, "QUANTITY", "500"), Entity(3, 4, "UNIT", "g")])
    assert entities_of(text, words(text), found) == [Entity(0, 4, "QUANTITY", "500g")]


def test_a_tag_that_continues_nothing_begins_an_entity() -> None:
    text = "Ann Bob Acme"
    found = entities_of(text, words(text), ["I-PER", "I-ORG", "I-ORG"])
    assert found == [Entity(0, 3, "PER", "Ann"), Entity(4, 12, "ORG", "Bob Acme")]


@examples(100)
@given(hostile_text(), st.data())
def test_entities_of_whole_words_survive_in_any_text(text: str, data: st.DataObject) -> None:
    places = words(text)
    borders = data.draw(st.lists(st.integers(0, len(places)), unique=True).map(sorted))
    labels = st.sampled_from(["PER", "I-B", "O"])
    given = [
        Entity(start := places[a].start, end := places[b - 1].end, data.draw(labels), text[start:end])
        for a, b in zip(borders[::2], borders[1::2], strict=False)
    ]
    assert entities_of(text, places, tags(places, given)) == given
