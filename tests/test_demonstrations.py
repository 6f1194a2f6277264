"""Which demonstrations a model is shown, and how they are written."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genner_cli.demonstrations import Demonstrations, Nearest, Sized, covering, invented, rendered
from genner_cli.formats import FORMATS
from genner_cli.prompting import Demonstration, Prompt, Turn
from genner_cli.types import Document, Entity, Label

LABELS = [Label("PER"), Label("LOC")]
PROMPTS = tuple(Prompt("<", ":", ">", (Turn("=", ";"),) * count) for count in range(5))


def document(text: str, **mentions: str) -> Document:
    """A text with one entity for each label."""
    spans = ((label, mention, text.index(mention)) for label, mention in mentions.items())
    return Document(text, entities=tuple(Entity(at, at + len(m), label, m) for label, m, at in spans))


def sized(*texts: str, tokens: int = 1) -> tuple[Sized, ...]:
    return tuple(Sized(Demonstration(text, text.upper()), tokens) for text in texts)


def texts(chosen: list[Sized]) -> list[str]:
    return [each.demonstration.text for each in chosen]


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
    assert covering([], 3, ["PER"]) == []


@given(count=st.integers(1, 6), seed=st.integers(0, 3))
def test_covering_documents_are_few_and_each_once(count: int, seed: int) -> None:
    chosen = covering(POOL, count, ["PER"], seed=seed)
    assert len(chosen) <= count
    assert len({each.text for each in chosen}) == len(chosen)
    assert chosen == covering(POOL, count, ["PER"], seed=seed)


def test_the_nearest_share_rare_words_and_stand_last() -> None:
    pool = sized("the cat sat", "the dog ran", "the zebra sat", "the rain")
    nearest = Nearest(pool, shots=2, budget=100)
    assert texts(nearest.chosen("", "The zebra, THE zebra sat!")) == ["the cat sat", "the zebra sat"]
    assert texts(nearest.chosen("", "no word shared")) == []
    assert texts(nearest.chosen("", "no word shared", others=pool[:2])) == ["the dog ran", "the cat sat"]


def test_the_document_itself_is_never_shown() -> None:
    pool = sized("the cat sat", "the dog ran")
    nearest = Nearest(pool, shots=2, budget=100)
    assert texts(nearest.chosen("the  cat\nsat", "the cat")) == ["the dog ran"]
    assert texts(nearest.chosen("a long text: the cat sat", " the cat sat ")) == ["the dog ran"]
    fixed = Demonstrations(PROMPTS, Demonstration("i", "I"), pool)
    prefix, rest = fixed.pieces(LABELS, "the cat sat", "the cat sat")
    assert [piece.text for piece in prefix] == ["<", "PER\nLOC\n", ":", "the dog ran", "=", "THE DOG RAN", ";"]
    assert [piece.text for piece in rest] == ["the cat sat", ">"]


def test_what_does_not_fit_the_budget_is_passed_over() -> None:
    pool = sized("a b c d", tokens=9) + sized("a b c", "a b", "a", tokens=4)
    assert texts(Nearest(pool, shots=4, budget=8).chosen("", "a b c d e")) == ["a b", "a b c"]
    assert texts(Nearest(pool, shots=4, budget=100).chosen("", "a b c d e"))[-1] == "a b c d"
    assert texts(Nearest(pool, shots=4, budget=3).chosen("", "a b c d e")) == []


def test_fixed_ones_are_in_the_prefix_and_nearest_ones_are_not() -> None:
    fixed = sized("the cat sat", "the dog ran")
    made = Demonstration("i", "I")
    prefix, rest = Demonstrations(PROMPTS, made, fixed).pieces(LABELS, "x", "x")
    assert [piece.text for piece in prefix[3:]] == ["the cat sat", "=", "THE CAT SAT", ";", "the dog ran", "=",
                                                    "THE DOG RAN", ";"]  # fmt: skip
    assert len(rest) == 2
    nearest = Demonstrations(PROMPTS, made, fixed[:1], Nearest(fixed, shots=1, budget=9))
    prefix, rest = nearest.pieces(LABELS, "dog", "dog")
    assert [piece.text for piece in prefix] == ["<", "PER\nLOC\n", ":"]
    assert [piece.text for piece in rest] == ["the dog ran", "=", "THE DOG RAN", ";", "dog", ">"]
    assert [piece.literal for piece in rest] == [False, True, False, True, False, True]


def test_without_any_the_invented_one_is_shown() -> None:
    made = Demonstration("i", "I")
    for shown in (Demonstrations(PROMPTS, made), Demonstrations(PROMPTS, made, (), Nearest(sized("y"), 1, 9))):
        prefix, rest = shown.pieces(LABELS, "x", "x")
        assert "".join(piece.text for piece in prefix + rest) == "<PER\nLOC\n:i=I;x>"


def test_what_a_resumed_run_compares_is_all_that_may_be_shown() -> None:
    made, pool = Demonstration("i", "I"), sized("the cat sat", "the dog ran")
    values = [
        Demonstrations(PROMPTS, made),
        Demonstrations(PROMPTS, Demonstration("i", "J")),
        Demonstrations(PROMPTS, made, pool),
        Demonstrations(PROMPTS, made, pool[:1]),
        Demonstrations(PROMPTS[:2], made, pool[:1]),
        Demonstrations(PROMPTS, made, pool, Nearest(pool, 2, 9)),
        Demonstrations(PROMPTS, made, pool, Nearest(pool, 2, 8)),
        Demonstrations(PROMPTS, made, pool, Nearest(pool[::-1], 2, 9)),
    ]
    assert len({str(each.content()) for each in values}) == len(values)
    used = values[5]
    used.pieces(LABELS, "the", "the")
    assert pickle.loads(pickle.dumps(used)).content() == used.content()


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("labels", [["PER"], ["PER", "LOC", "事件"], ["a b/c", "PER"]])
def test_the_invented_answer_is_one_of_the_format(name: str, labels: list[str]) -> None:
    output = FORMATS[name]
    text, answer = invented(output, labels)
    entities = output.parse(answer, text)
    assert [entity.label for entity in entities] == labels[:2]
    assert all(text[entity.start : entity.end] == entity.text for entity in entities)


def test_entities_that_are_not_asked_for_are_left_out_of_an_answer() -> None:
    shown = rendered(POOL[1], FORMATS["xml"], ["LOC", "ORG"])
    assert shown == Demonstration("Eve saw Rome.", "Eve saw <LOC>Rome</LOC>.")


def test_nested_entities_are_flattened_and_a_document_that_cannot_be_shown_whole_is_left_out() -> None:
    nested = document("Bank of Rome", ORG="Bank of Rome", LOC="Rome")
    assert rendered(nested, FORMATS["xml"], ["ORG", "LOC"]) == Demonstration("Bank of Rome", "<ORG>Bank of Rome</ORG>")
    deep = rendered(nested, FORMATS["xml"], ["ORG", "LOC"], depth=2)
    assert deep == Demonstration("Bank of Rome", "<ORG>Bank of <LOC>Rome</LOC></ORG>")
    assert rendered(document("unhappy", PER="happy"), FORMATS["category"], ["PER"]) is None
