"""The format contract: what render writes, parse reads back, and lock and grammar accept."""

from __future__ import annotations

from collections import Counter

import pytest
from grammar_engine import Acceptor, refused_at
from hypothesis import given
from strategies import LABELS, Case, cases, examples, hostile_text

from genner_cli import locking
from genner_cli.errors import UsageError
from genner_cli.formats import FORMATS, output_format
from genner_cli.formats.shared import gbnf
from genner_cli.types import Entity, canonical_order

ALL = pytest.mark.parametrize("name", FORMATS)
FLAT_AND_NESTED = pytest.mark.parametrize("depth", [1, 4])


@ALL
@FLAT_AND_NESTED
@examples(40)
@given(case=cases())
def test_parse_gives_back_what_render_wrote_and_render_names_the_rest(name: str, depth: int, case: Case) -> None:
    output = FORMATS[name]
    rendering = output.render(case.text, case.entities, case.labels, depth=depth)
    kept = output.parse(rendering.completion, case.text)
    assert Counter(kept) + Counter(lost.entity for lost in rendering.left_out) == Counter(case.entities)
    assert kept == sorted(set(kept), key=canonical_order)
    assert all(lost.reason for lost in rendering.left_out)


@ALL
@FLAT_AND_NESTED
@examples(20)
@given(case=cases())
def test_rendering_what_was_kept_loses_nothing_more_and_writes_the_same(name: str, depth: int, case: Case) -> None:
    output = FORMATS[name]
    completion = output.render(case.text, case.entities, case.labels, depth=depth).completion
    kept = output.parse(completion, case.text)
    assert output.render(case.text, kept[::-1], case.labels, depth=depth) == (completion, ())


@ALL
@FLAT_AND_NESTED
@examples(20)
@given(case=cases())
def test_lock_accepts_a_rendering_byte_by_byte_and_is_finished_at_its_end_only(
    name: str, depth: int, case: Case
) -> None:
    output = FORMATS[name]
    data = output.render(case.text, case.entities, case.labels, depth=depth).completion.encode()
    lock = output.lock(case.text, case.labels, depth=depth)
    places = locking.begin(lock)
    for number in range(len(data)):
        assert not locking.finished(lock, places), data[:number]
        places = locking.advance(lock, places, data[number : number + 1])
        assert places, data[: number + 1]
    assert locking.finished(lock, places)


@ALL
@FLAT_AND_NESTED
@examples(10)
@given(case=cases())
def test_grammar_accepts_a_rendering_in_llama_cpp(name: str, depth: int, case: Case) -> None:
    output = FORMATS[name]
    completion = output.render(case.text, case.entities, case.labels, depth=depth).completion
    assert refused_at(output.grammar(case.labels, depth=depth), completion) is None


@ALL
@examples(20)
@given(text=hostile_text(most=30))
def test_a_text_without_entities_survives(name: str, text: str) -> None:
    output = FORMATS[name]
    completion = output.render(text, [], LABELS).completion
    assert output.parse(completion, text) == []
    assert refused_at(output.grammar(LABELS), completion) is None


@pytest.mark.parametrize(
    ("name", "flat", "nested"),
    [
        ("bracketed", "[a | X] b", "[[a | X] b | Y]"),
        ("xml", "<X>a</X> b", "<Y><X>a</X> b</Y>"),
        ("inserted", "⟦a⦂X⟧ b", "⟦⟦a⦂X⟧ b⦂Y⟧"),
    ],
)
def test_grammar_of_an_inline_format_holds_the_depth(name: str, flat: str, nested: str) -> None:
    output = FORMATS[name]
    assert refused_at(output.grammar(["X", "Y"], depth=1), flat) is None
    assert refused_at(output.grammar(["X", "Y"], depth=1), nested) is not None
    assert refused_at(output.grammar(["X", "Y"], depth=2), nested) is None


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("bracketed", "[a | Z]"),
        ("bracketed", "[ | X]"),
        ("bracketed", "a]"),
        ("bracketed", "[a"),
        ("bracketed", r"\a"),
        ("xml", "<Z>a</Z>"),
        ("xml", "<X></X>"),
        ("xml", "<X>a</Y>"),
        ("xml", "<X>a"),
        ("xml", "a & b"),
        ("inserted", "⟦a⦂Z⟧"),
        ("inserted", "⟦⦂X⟧"),
        ("inserted", "a⟧"),
        ("inserted", "⧵a"),
        ("category", '{"X": ["a"]}'),
        ("category", '{"Y": [], "X": []}'),
        ("category", '{"X": [""], "Y": []}'),
        ("category", '{"X": ["a",], "Y": []}'),
        ("category", '{"X": ["\n"], "Y": []}'),
        ("occurrence", '[{"text": "a", "label": "Z", "occurrence_index": 1}]'),
        ("occurrence", '[{"text": "a", "label": "X"}]'),
        ("occurrence", '[{"text": "a", "label": "X", "occurrence_index": 01}]'),
        ("occurrence", '[{"text": "a\\q", "label": "X", "occurrence_index": 1}]'),
        ("occurrence", "[] "),
        ("offset", '[{"text": "a", "label": "X", "start": 0}]'),
        ("offset", '[{"text": "", "label": "X", "start": 0, "end": 0}]'),
        ("offset", '[{"text": "a", "label": "X", "start": -1, "end": 0}]'),
    ],
)
def test_grammar_refuses(name: str, broken: str) -> None:
    assert refused_at(FORMATS[name].grammar(["X", "Y"], depth=2), broken) is not None


@ALL
def test_grammar_reads_characters_that_are_cut_into_bytes(name: str) -> None:
    output = FORMATS[name]
    completion = output.render("👩‍👧", [Entity(0, 3, "X", "👩‍👧")], ["X"]).completion.encode()
    with Acceptor(output.grammar(["X"])) as acceptor:
        inside = completion.index("👩".encode()) + 1
        assert acceptor.read(completion[:inside]) == inside
        assert not acceptor.allows(ord("a"))
        assert acceptor.read(completion[inside:]) == len(completion) - inside


@ALL
def test_grammar_reads_characters_whose_first_bytes_are_those_of_markup(name: str) -> None:
    text = "".join(chr(ord(mark) + step) for mark in "⟦⦂⟧⧵" for step in range(-3, 4))
    output = FORMATS[name]
    for entities in ([], [Entity(0, len(text), "X", text)]):
        completion = output.render(text, entities, ["X"]).completion
        assert refused_at(output.grammar(["X"]), completion) is None


@pytest.mark.parametrize("chars", ["a", "ab", "\x01", "\U0010ffff", "⟦⦂⟧⧵"])
def test_a_class_of_any_other_character_has_all_but_those(chars: str) -> None:
    grammar = gbnf.rules(root=gbnf.any_but(chars))
    around = {chr(ord(char) + step) for char in chars for step in (-1, 1) if 0 < ord(char) + step < 0x110000}
    assert all(refused_at(grammar, char) is None for char in {*around, "z", "é", "👩"} - set(chars))
    assert all(refused_at(grammar, char) is not None for char in chars)


@examples(50)
@given(text=hostile_text(most=6))
def test_a_gbnf_literal_matches_its_text_and_nothing_else(text: str) -> None:
    grammar = gbnf.rules(root=gbnf.literal(text))
    assert refused_at(grammar, text) is None
    assert refused_at(grammar, text + "a") == len(text.encode())
    if text:
        assert refused_at(grammar, text[:-1]) == len(text[:-1].encode())


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_found_by_its_name(name: str) -> None:
    assert output_format(name) is FORMATS[name]


def test_an_unknown_format_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="yaml"):
        output_format("yaml")
