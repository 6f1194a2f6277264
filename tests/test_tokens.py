"""Training and extraction see the same ids, and text never yields a token that is more than its characters."""

from __future__ import annotations

import json

import pytest
from asking import CORPORA, HOSTILE, ROOT, default_labels, instructions_of, news, request
from hypothesis import given
from hypothesis import strategies as st
from strategies import characters, examples, hostile_text
from transformers import AutoTokenizer

from genner_cli.engine import llama as llama_cpp
from genner_cli.engine.model import Model
from genner_cli.formats import FORMATS, output_format
from genner_cli.training.examples import Sample, encode
from genner_cli.training.tokens import Tokens
from genner_cli.types import Entity, Piece

TOKENIZER = ROOT / "examples" / "bundled_model" / "tokenizer"
ADDED = {
    token["content"]: token["id"]
    for token in json.loads((TOKENIZER / "tokenizer.json").read_text(encoding="utf-8"))["added_tokens"]
}


@pytest.fixture(scope="module")
def tokens() -> Tokens:
    return Tokens(AutoTokenizer.from_pretrained(TOKENIZER, local_files_only=True))


def written(model: Model, ids: list[int]) -> bytes:
    """The bytes of ordinary tokens; an added one would be None and raise."""
    return b"".join(model.vocabulary.pieces[id] or b"<none>" for id in ids)


def test_the_added_tokens_of_tokenizer_and_gguf_are_the_same(bundled: Model, tokens: Tokens) -> None:
    vocabulary = llama_cpp.llama_model_get_vocab(bundled.handle)
    special = llama_cpp.LLAMA_TOKEN_ATTR_CONTROL | llama_cpp.LLAMA_TOKEN_ATTR_USER_DEFINED
    found = {id for id in range(bundled.size) if llama_cpp.llama_vocab_get_attr(vocabulary, id) & special}
    assert {bundled.piece(id).decode(): id for id in found} == ADDED
    assert len(ADDED) >= 7
    assert bundled.vocabulary.added == tokens.vocabulary.added
    assert bundled.vocabulary.pieces == tokens.vocabulary.pieces


@pytest.mark.parametrize("token", ADDED)
@pytest.mark.parametrize("around", ["{}", "a {} b", "a{}b", "x{0}{0}", " {}\n", "<{}|", "東{}é"])
def test_the_text_of_an_added_token_is_read_as_plain_characters(
    bundled: Model, tokens: Tokens, token: str, around: str
) -> None:
    text = around.format(token)
    ids = bundled.plain(text)
    assert not set(ids) & set(ADDED.values())
    assert written(bundled, ids) == text.encode()
    assert tokens.plain(text) == ids


@pytest.mark.parametrize("token", ADDED)
def test_an_added_token_is_read_as_such_in_literal_pieces_only(bundled: Model, tokens: Tokens, token: str) -> None:
    literal, plain = (Piece(token, literal=True),), (Piece(token),)
    assert bundled.prompt(literal) == tokens.prompt(literal) == [ADDED[token]]
    assert ADDED[token] not in bundled.prompt(plain)
    assert bundled.prompt(plain) == tokens.prompt(plain)


@given(st.lists(st.one_of(st.sampled_from(sorted(ADDED)), st.sampled_from(["<|", "|>", "e", " "]), characters)))
@examples(60)
def test_no_text_yields_an_added_token_and_bytes_are_preserved(
    bundled: Model, tokens: Tokens, parts: list[str]
) -> None:
    text = "".join(parts)
    ids = bundled.plain(text)
    assert not set(ids) & set(ADDED.values())
    assert written(bundled, ids) == text.encode()
    assert tokens.plain(text) == ids


@given(hostile_text())
@examples(60)
def test_hostile_text_has_the_same_ids_in_training_and_extraction(bundled: Model, tokens: Tokens, text: str) -> None:
    assert bundled.plain(text) == tokens.plain(text)
    assert bundled.pieces(text) == tokens.pieces(text)


@pytest.mark.parametrize("corpus", [*CORPORA, "stories"])
def test_prompts_have_the_same_ids_in_training_and_extraction(bundled: Model, tokens: Tokens, corpus: str) -> None:
    prompt, labels = instructions_of(bundled).prompt, default_labels(bundled)
    for text in CORPORA.get(corpus, news(1, 1000)):
        pieces = prompt.prefix(labels) + prompt.rest(text)
        assert bundled.prompt(pieces) == tokens.prompt(pieces)


@pytest.mark.parametrize("format", FORMATS)
def test_completions_have_the_same_ids_in_training_and_extraction(bundled: Model, tokens: Tokens, format: str) -> None:
    """What training teaches is, token by token, what decoding would allow and write."""
    labels = default_labels(bundled)
    for text in [*news()[:5], *HOSTILE]:
        words = [word for word in text.split(" ") if word.isalpha()][:2]
        entities = tuple(Entity(text.index(w), text.index(w) + len(w), labels[0].name, w) for w in words)
        example = encode(Sample(text, entities, tuple(labels)), tokens, instructions_of(bundled).prompt, format, 1)
        asked = request(bundled, text, format=format)
        assert list(example.ids[: example.completion_start]) == bundled.prompt(asked.prefix + asked.rest)
        rendering = output_format(format).render(text, entities, [label.name for label in labels])
        lock = asked.lock.segmented(bundled.pieces)
        ids = example.ids[example.completion_start : -1]
        assert b"".join(bundled.vocabulary.bytes_of(id, lock) or b"" for id in ids) == rendering.completion.encode()
        if not lock.by_token:
            assert list(ids) == bundled.plain(rendering.completion)
