"""Gold documents -> samples and examples, and what cannot be learnt."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer

from genner_cli.chunking import split
from genner_cli.formats import FORMATS
from genner_cli.prompting import Instructions, Prompt
from genner_cli.training.examples import Sample, encode
from genner_cli.training.gold import label_set
from genner_cli.training.samples import Encoded, encode_samples, make_samples
from genner_cli.training.tokens import Tokens
from genner_cli.types import Document, Entity, Label

TOKENIZER = Path(__file__).parent.parent / "examples" / "bundled_model" / "tokenizer"
LABELS = (Label("PER", "named people"), Label("LOC"))
PROMPT = Prompt("<|labels|>", "<|text|>", "<|entities|>")
SENTENCES = [f"Ann number {number} went to New York with Bob." for number in range(12)]


def document(text: str, *entities: tuple[str, str], source: str = "train.jsonl:3") -> Document:
    """A document whose entities stand at the first occurrence of their texts."""
    found = tuple(Entity(text.index(m), text.index(m) + len(m), label, m) for m, label in entities)
    return Document(text, entities=found, source=source)


def story() -> Document:
    """A document of several chunks, with three entities in each sentence."""
    text, entities = "", []
    for sentence in SENTENCES:
        for mention, label in (("Ann", "PER"), ("New York", "LOC"), ("Bob", "PER")):
            start = len(text) + sentence.index(mention)
            entities.append(Entity(start, start + len(mention), label, mention))
        text += sentence + " "
    return Document(text, entities=tuple(entities), source="train.jsonl:3")


@pytest.fixture(scope="module")
def tokens() -> Tokens:
    return Tokens(AutoTokenizer.from_pretrained(TOKENIZER))


def encoded(tokens: Tokens, *documents: Document, format: str = "xml", depth: int = 1, longest: int = 500) -> Encoded:
    instructions = Instructions(PROMPT, format, depth, LABELS, (), 200)
    made = make_samples(documents, labels=LABELS, chunk_bytes=200)
    assert made.problems == ()
    return encode_samples(made.samples, tokens, instructions, longest=longest)


def test_the_label_set_is_in_order_of_frequency_then_of_name() -> None:
    documents = [document("Ann, Bob: Ely", ("Ann", "PER"), ("Bob", "PER"), ("Ely", "LOC")), document("Oz", ("Oz", "A"))]
    assert label_set(documents) == (Label("PER"), Label("A"), Label("LOC"))
    assert label_set([]) == ()


def test_samples_are_the_chunks_of_extraction_with_the_entities_that_they_hold() -> None:
    whole = story()
    made = make_samples([whole, Document(" \n"), Document("No names.", source="b:1")], labels=LABELS, chunk_bytes=200)
    chunks = list(split(whole.text, 200))
    assert len(chunks) > 2
    assert [sample.text for sample in made.samples] == [*(chunk.text for chunk in chunks), "No names."]
    assert made.samples[-1] == Sample("No names.", (), LABELS, "b:1")
    for sample, chunk in zip(made.samples, chunks, strict=False):
        assert (sample.start, sample.source, sample.labels) == (chunk.start, "train.jsonl:3", LABELS)
        assert [sample.text[e.start : e.end] for e in sample.entities] == [e.text for e in sample.entities]
        held = [e for e in whole.entities if chunk.start <= e.start and e.end <= chunk.start + len(chunk.text)]
        assert len(sample.entities) == len(held) >= 3
    assert made.problems == ()


def test_an_entity_cut_by_a_border_is_only_in_the_chunks_that_hold_it_whole() -> None:
    whole = story()
    first, second = split(whole.text, 400)
    assert second.start < first.start + len(first.text) - 12, "they overlap"
    start, end = second.start - 5, second.start + 12  # from a sentence into the next, which the first chunk sees too
    entity = Entity(start, end, "LOC", whole.text[start:end])
    made = make_samples([replace(whole, entities=(entity,))], labels=LABELS, chunk_bytes=400)
    assert [len(sample.entities) for sample in made.samples] == [1, 0]
    assert made.problems == ()


def test_an_entity_that_no_chunk_holds_is_a_problem_and_its_chunks_are_left_out() -> None:
    whole = story()
    start, end = whole.text.index("Ann number 4"), whole.text.index("number 9")
    long = replace(whole, entities=(Entity(start, end, "LOC", whole.text[start:end]), *whole.entities))
    made = make_samples([long, document("Ann", ("Ann", "PER"))], labels=LABELS, chunk_bytes=200)
    (problem,) = made.problems
    assert problem.source == "train.jsonl:3"
    assert problem.message.startswith("train.jsonl:3: 'Ann number 4")
    assert f"at {start}:{end} (LOC): no chunk of 200 bytes" in problem.message
    assert made.samples[-1].text == "Ann"
    assert 0 < len(made.samples) - 1 < len(list(split(whole.text, 200)))
    for sample in made.samples[:-1]:
        assert sample.start >= end or sample.start + len(sample.text) <= start


@pytest.mark.parametrize("format", FORMATS)
def test_every_good_sample_has_its_example(tokens: Tokens, format: str) -> None:
    done: list[int] = []
    made = make_samples([document(SENTENCES[0], ("Ann", "PER")), document("Ely.")], labels=LABELS, chunk_bytes=200)
    instructions = Instructions(PROMPT, format, 1, LABELS, (), 200)
    found = encode_samples(made.samples, tokens, instructions, longest=500, progress=done.append)
    assert found.problems == ()
    assert found.samples == made.samples
    assert found.examples == tuple(encode(sample, tokens, PROMPT, format, 1) for sample in made.samples)
    assert done == [1, 1]


def test_what_a_format_cannot_say_is_a_problem_in_the_documents_offsets(tokens: Tokens) -> None:
    inside = document("Chunk one is here. Ann is Annabel.")
    entities = (Entity(19, 22, "PER", "Ann"), Entity(26, 29, "PER", "Ann"), Entity(26, 33, "ORG", "Annabel"))
    inside = replace(inside, entities=entities)
    samples = make_samples([inside, document("Bob.", ("Bob", "PER"))], labels=LABELS, chunk_bytes=24).samples
    assert [sample.start for sample in samples] == [0, 19, 0]
    instructions = Instructions(PROMPT, "occurrence", 1, LABELS, (), 200)
    found = encode_samples(samples, tokens, instructions, longest=500)
    messages = [problem.message for problem in found.problems]
    assert len(messages) == 2
    for message, what in zip(sorted(messages), ["'Ann' at 26:29 (PER)", "'Annabel' at 26:33 (ORG)"], strict=True):
        assert message.startswith(f"train.jsonl:3: {what}: the format occurrence ")
        assert "--format" in message
    assert "word boundaries" in min(messages)
    assert "label 'ORG' " in max(messages)
    assert [sample.text for sample in found.samples] == ["Chunk one is here.", "Bob."]


def test_nested_entities_are_problems_in_a_flat_format_only(tokens: Tokens) -> None:
    nested = document("The Duke of Ely came.", ("The Duke of Ely", "PER"), ("Ely", "LOC"))
    (problem,) = encoded(tokens, nested).problems
    assert re.search(r"'Ely' at 12:15 \(LOC\): the format xml .*within", problem.message)
    assert encoded(tokens, nested, depth=2).problems == ()


def test_a_border_inside_a_token_is_a_problem_of_that_entity(tokens: Tokens) -> None:
    text = "Ann went to London."
    assert b" London" in tokens.pieces(text)
    inside = document(text, ("Ann", "PER"), ("Lon", "LOC"))
    (problem,) = encoded(tokens, inside, document(text, ("Ann", "PER")), format="inserted").problems
    assert re.match(
        r"train\.jsonl:3: 'Lon' at 12:15 \(LOC\): in the format inserted .* inside a token .*--format", problem.message
    )
    assert encoded(tokens, inside, format="xml").problems == ()


def test_an_example_longer_than_the_cut_off_is_a_problem(tokens: Tokens) -> None:
    one = document(SENTENCES[0], ("Ann", "PER"))
    length = len(encoded(tokens, one).examples[0].ids)
    assert encoded(tokens, one, longest=length).problems == ()
    found = encoded(tokens, document("x"), one, longest=length - 1)
    assert [sample.text for sample in found.samples] == ["x"]
    (problem,) = found.problems
    assert re.match(
        rf"train\.jsonl:3: {length} tokens from character 0 .*at most {length - 1} .*--chunk-bytes", problem.message
    )


def test_bos_stands_before_the_prompt_where_the_tokenizer_puts_it_before_texts(tokens: Tokens) -> None:
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER, bos_token="<|labels|>")
    bos = ("<|labels|>", tokenizer.bos_token_id)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing("<|labels|> $A", None, [bos])
    sample = make_samples([document(SENTENCES[0], ("Ann", "PER"))], labels=LABELS, chunk_bytes=200).samples[0]
    without = encode(sample, tokens, PROMPT, "xml", 1)
    example = encode(sample, Tokens(tokenizer), PROMPT, "xml", 1)
    assert example.ids == (tokenizer.bos_token_id, *without.ids)
    assert example.completion_start == without.completion_start + 1
    assert [d.position - 1 for d in example.decisions] == [d.position for d in without.decisions]


def test_a_text_that_the_tokenizer_refuses_is_a_problem_of_the_whole(tokens: Tokens) -> None:
    samples = make_samples([document("Ann " + "x" * 9000, ("Ann", "PER"))], labels=LABELS, chunk_bytes=100_000).samples
    (problem,) = encode_samples(
        samples, tokens, Instructions(PROMPT, "xml", 1, LABELS, (), 200), longest=10_000
    ).problems
    assert problem.source == "train.jsonl:3"
    assert problem.message.startswith("train.jsonl:3: 9000 characters ")
