"""Which demonstrations a model is shown, and how they are written."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genner_cli.demonstrations import Demonstrations, Nearest, Query, Rendered, Way, covering
from genner_cli.formats import FORMATS
from genner_cli.prompting import Demonstration, Prompt, Turn
from genner_cli.types import Document, Entity, Label, Piece

LABELS = [Label("PER"), Label("LOC")]
PROMPTS = tuple(Prompt("<", ":", ">", (Turn("=", ";"),) * count) for count in range(5))


def document(text: str, **mentions: str) -> Document:
    """A text with one entity for each label."""
    spans = ((label, mention, text.index(mention)) for label, mention in mentions.items())
    return Document(text, entities=tuple(Entity(at, at + len(m), label, m) for label, m, at in spans))


def shown(*texts: str) -> tuple[Demonstration, ...]:
    return tuple(Demonstration(text, text) for text in texts)


def nearest(*texts: str, shots: int = 2, budget: int = 1000) -> Nearest:
    """Among documents without entities, whose answers in this format are their texts."""
    return Nearest(tuple(map(Document, texts)), Rendered("xml", ("PER",)), shots, budget)


def prompted(demonstrations: Demonstrations, query: Query) -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
    """Prefix and rest of a query's prompt."""
    prefix, shown, prompt = demonstrations.pieces(LABELS, query)
    return prefix, shown + prompt.rest(query.text)


def texts(chosen: list[Demonstration]) -> list[str]:
    return [each.text for each in chosen]


POOL = [
    document("Ann saw Bob and Cid.", PER="Ann"),
    document("Eve saw Rome.", PER="Eve", LOC="Rome"),
    document("It rained all day.", TIME="all day"),
    document("Acme sold it.", ORG="Acme"),
]


def test_few_documents_cover_the_labels_and_one_has_no_entity_asked_for() -> None:
    three = covering(POOL, 3, ["PER", "LOC", "ORG"])
    assert [each.text for each in three] == ["Eve saw Rome.", "It rained all day.", "Acme sold it."]
    (one,) = covering(POOL, 1, ["PER", "LOC", "ORG"])
    assert one.text == "Eve saw Rome."
    assert len(covering(POOL, 9, ["PER", "LOC", "ORG"])) == 4
    assert [each.text for each in covering(POOL, 9, ["ORG"])] == [
        "It rained all day.", "Ann saw Bob and Cid.", "Eve saw Rome.", "Acme sold it.",
    ]  # fmt: skip
    assert covering(POOL, 0, ["PER"]) == covering(POOL[2:3], 0, ["PER"]) == []
    assert covering([], 3, ["PER"]) == []


@given(count=st.integers(1, 6), seed=st.integers(0, 3))
def test_covering_documents_are_few_and_each_once(count: int, seed: int) -> None:
    chosen = covering(POOL, count, ["PER"], seed=seed)
    assert len(chosen) == min(count, len(POOL))
    assert len({each.text for each in chosen}) == len(chosen)
    assert chosen == covering(POOL, count, ["PER"], seed=seed)


def test_the_nearest_share_rare_words_and_stand_last() -> None:
    near = nearest("the cat sat", "the dog ran", "the zebra sat", "the rain")
    assert texts(near.chosen(Query("", "The zebra, THE zebra sat!"))) == ["the cat sat", "the zebra sat"]
    assert texts(near.chosen(Query("", "no word shared"))) == []
    others = shown("the cat sat", "the dog ran")
    assert texts(near.chosen(Query("", "no word shared"), others)) == ["the dog ran", "the cat sat"]
    assert texts(near.chosen(Query("", "a cat"), others)) == ["the dog ran", "the cat sat"]


def test_the_document_itself_is_never_shown() -> None:
    near = nearest("the cat sat", "the dog ran")
    assert texts(near.chosen(Query("the  cat\nsat", "the cat"))) == ["the dog ran"]
    assert texts(near.chosen(Query("a long text: the cat sat", " the cat sat "))) == ["the dog ran"]
    fixed = Demonstrations(PROMPTS, Demonstration("i", "I"), shown("the cat sat", "the dog ran"))
    prefix, rest = prompted(fixed, Query("the cat sat", "the cat sat"))
    assert [piece.text for piece in prefix] == ["<", "PER\nLOC\n", ":", "the dog ran", "=", "the dog ran", ";"]
    assert [piece.text for piece in rest] == ["the cat sat", ">"]


def test_what_does_not_fit_the_budget_is_passed_over() -> None:
    pool, text = ("a b c d e f g", "a b c", "a b", "a"), "a b c d e f g h"
    assert texts(nearest(*pool, shots=4, budget=16).chosen(Query("", text))) == ["a b", "a b c"]
    assert texts(nearest(*pool, shots=4).chosen(Query("", text))) == ["a", "a b", "a b c", "a b c d e f g"]
    assert texts(nearest(*pool, shots=4, budget=1).chosen(Query("", text))) == []


def test_fixed_ones_are_in_the_prefix_and_nearest_ones_are_not() -> None:
    fixed = shown("the cat sat", "the dog ran")
    made = Demonstration("i", "I")
    prefix, rest = prompted(Demonstrations(PROMPTS, made, fixed), Query("x", "x"))
    assert [piece.text for piece in prefix[3::2]] == ["the cat sat"] * 2 + ["the dog ran"] * 2
    assert len(rest) == 2
    near = Demonstrations(PROMPTS, made, fixed[:1], nearest("the cat sat", "the dog ran", shots=1))
    prefix, rest = prompted(near, Query("dog", "dog"))
    assert [piece.text for piece in prefix] == ["<", "PER\nLOC\n", ":"]
    assert [piece.text for piece in rest] == ["the dog ran", "=", "the dog ran", ";", "dog", ">"]
    assert [piece.literal for piece in rest] == [False, True, False, True, False, True]


def test_without_any_the_invented_one_is_shown() -> None:
    made = Demonstration("i", "I")
    for each in (Demonstrations(PROMPTS, made), Demonstrations(PROMPTS, made, (), nearest("y"))):
        prefix, rest = prompted(each, Query("x", "x"))
        assert "".join(piece.text for piece in prefix + rest) == "<PER\nLOC\n:i=I;x>"


def test_what_a_resumed_run_compares_is_all_that_may_be_shown() -> None:
    made, fixed = Demonstration("i", "I"), shown("the cat sat", "the dog ran")
    values = [
        Demonstrations(PROMPTS, made),
        Demonstrations(PROMPTS, Demonstration("i", "J")),
        Demonstrations(PROMPTS, made, fixed),
        Demonstrations(PROMPTS, made, fixed[:1]),
        Demonstrations(PROMPTS[:2], made, fixed[:1]),
        Demonstrations(PROMPTS, made, fixed, nearest("a", "b")),
        Demonstrations(PROMPTS, made, fixed, nearest("a", "b", budget=8)),
        Demonstrations(PROMPTS, made, fixed, nearest("b", "a")),
        Demonstrations(PROMPTS, made, fixed, replace(nearest("b", "a"), way=Way.SPAN)),
    ]
    assert len({str(each.content()) for each in values}) == len(values)
    used = values[5]
    prompted(used, Query("a", "a"))
    assert pickle.loads(pickle.dumps(used)).content() == used.content() == values[5].content()


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("labels", [["PER"], ["PER", "LOC", "事件"], ["a b/c", "PER"]])
def test_the_invented_answer_is_one_of_the_format(name: str, labels: list[str]) -> None:
    text, answer, _ = Rendered(name, tuple(labels)).invented()
    entities = FORMATS[name].parse(answer, text)
    assert [entity.label for entity in entities] == labels[:2]
    assert all(text[entity.start : entity.end] == entity.text for entity in entities)


def test_entities_that_are_not_asked_for_are_left_out_of_an_answer() -> None:
    assert Rendered("xml", ("LOC", "ORG")).of(POOL[1]) == Demonstration("Eve saw Rome.", "Eve saw <LOC>Rome</LOC>.")


def test_nested_entities_are_flattened_and_a_document_that_cannot_be_shown_whole_is_left_out() -> None:
    nested, labels = document("Bank of Rome", ORG="Bank of Rome", LOC="Rome"), ("ORG", "LOC")
    assert Rendered("xml", labels).of(nested) == Demonstration("Bank of Rome", "<ORG>Bank of Rome</ORG>")
    deep = Demonstration("Bank of Rome", "<ORG>Bank of <LOC>Rome</LOC></ORG>")
    assert Rendered("xml", labels, depth=2).of(nested) == deep
    inside = document("unhappy", PER="happy")
    assert Rendered("category", ("PER",)).of(inside) is None
    near = Nearest((inside, document("happy", PER="happy")), Rendered("category", ("PER",)), 2, 1000)
    assert texts(near.chosen(Query("", "unhappy or happy"))) == ["happy"]
