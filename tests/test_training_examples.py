"""Examples as a model is trained on them: every format, checked against the lock."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from genner_cli.engine.model import Model
from genner_cli.errors import DataError
from genner_cli.formats import FORMATS, output_format
from genner_cli.prompting import Prompt
from genner_cli.training.examples import Sample, encode
from genner_cli.training.tokens import Tokens
from genner_cli.types import Entity, Label

TOKENIZER = Path(__file__).parent.parent / "examples" / "bundled_model" / "tokenizer"
PROMPT = Prompt("<|labels|>", "<|text|>", "<|entities|>")
LABELS = (Label("PER", "named people"), Label("LOC"))
TEXT = "John Smith went to New York, said <|text|> Ann⟦."
SAMPLE = Sample(
    TEXT, (Entity(0, 10, "PER", "John Smith"), Entity(19, 27, "LOC", "New York"), Entity(43, 46, "PER", "Ann")), LABELS
)


@pytest.fixture(scope="module")
def tokens() -> Tokens:
    return Tokens(AutoTokenizer.from_pretrained(TOKENIZER))


@pytest.mark.parametrize("depth", [1, 4])
@pytest.mark.parametrize("format", FORMATS)
def test_a_completion_of_any_format_reads_back_as_the_gold_entities(tokens: Tokens, format: str, depth: int) -> None:
    example = encode(SAMPLE, tokens, PROMPT, format, depth)
    pieces = {id: text for text, id in tokens.vocabulary.added.items()}
    written = [tokens.vocabulary.pieces[id] or pieces.get(id, b"") for id in example.ids[example.completion_start :]]
    assert output_format(format).parse(b"".join(written).decode(), TEXT) == list(SAMPLE.entities)


@pytest.mark.parametrize("format", FORMATS)
def test_every_decision_has_the_gold_token_first_and_several_legal_ones(tokens: Tokens, format: str) -> None:
    example = encode(SAMPLE, tokens, PROMPT, format, 1)
    assert example.decisions
    for decision in example.decisions:
        assert decision.position >= example.completion_start
        assert decision.legal[0] == example.ids[decision.position]
        assert len(set(decision.legal)) == len(decision.legal) > 1


def test_inserted_keeps_the_tokens_of_the_source(tokens: Tokens) -> None:
    example = encode(SAMPLE, tokens, PROMPT, "inserted", 1)
    without = encode(replace(SAMPLE, entities=()), tokens, PROMPT, "inserted", 1)
    marks = set(tokens.vocabulary.added.values())
    rest = list(example.ids[example.completion_start :])
    for mark in [id for id in rest if id in marks]:
        rest.remove(mark)
    for label in ("PER", "LOC", "PER"):
        for id in tokens.plain(label):
            rest.remove(id)
    assert rest == list(without.ids[without.completion_start :])


def test_a_border_inside_a_token_of_inserted_is_an_error_not_a_wrong_example(tokens: Tokens) -> None:
    text = "went to London"
    assert tokens.pieces(text)[-1] == b" London"
    with pytest.raises(DataError, match="refuses"):
        encode(Sample(text, (Entity(8, 11, "LOC", "Lon"),), LABELS), tokens, PROMPT, "inserted", 1)


@pytest.mark.parametrize("format", FORMATS)
def test_without_decisions_an_example_has_the_same_tokens(tokens: Tokens, format: str) -> None:
    with_them = encode(SAMPLE, tokens, PROMPT, format, 1)
    assert encode(SAMPLE, tokens, PROMPT, format, 1, decisions=False) == replace(with_them, decisions=())


def test_an_example_is_the_prompt_of_extraction_and_ends_with_the_end_token(tokens: Tokens, bundled: Model) -> None:
    example = encode(SAMPLE, tokens, PROMPT, "xml", 1)
    prefix = bundled.begin_ids + bundled.prompt(PROMPT.prefix(LABELS))
    assert example.ids[: example.prefix] == tuple(prefix)
    assert example.ids[: example.completion_start] == tuple(prefix + bundled.prompt(PROMPT.rest(TEXT)))
    completion = output_format("xml").render(TEXT, SAMPLE.entities, ["PER", "LOC"]).completion
    assert example.ids[example.completion_start : -1] == tuple(bundled.plain(completion))
    assert bundled.ends(example.ids[-1])


def test_a_decision_opens_where_its_right_token_begins_an_entity(tokens: Tokens) -> None:
    example = encode(SAMPLE, tokens, PROMPT, "inserted", 1)
    mark = tokens.vocabulary.added["⟦".encode()]
    assert [decision.opens for decision in example.decisions] == [d.legal[0] == mark for d in example.decisions]
    assert sum(decision.opens for decision in example.decisions) == 3
