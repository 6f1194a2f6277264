"""Text is read alike from GGUF and transformers: as plain characters, or with its added tokens."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples, hostile_text

from genner_cli.errors import DataError
from genner_cli.locking import Vocabulary
from genner_cli.tokenizing import Segmenter, plain_ids
from genner_cli.types import Piece

ADDED = ["<|im_start|>", "<|im", "|>", "|", "⟦", "⟦⦂", "aa", "aba", "👩‍👩", "\n\n"]
ADDED_IDS = {token: 1000 + number for number, token in enumerate(ADDED)}
MERGES = ["New", " York", "ab", "a ", "im_", "<|", "\u0301"]
MERGE_IDS = {token: 300 + number for number, token in enumerate(MERGES)}


def encode(text: str) -> list[int]:
    """Like a real tokenizer: reads the text of an added token as that token, wherever it stands."""
    ids, at = [], 0
    known = {**ADDED_IDS, **MERGE_IDS}
    while at < len(text):
        token = max((t for t in known if text.startswith(t, at)), key=lambda t: (t in ADDED_IDS, len(t)), default="")
        ids += [known[token]] if token else text[at].encode()
        at += len(token) or 1
    return ids


def spelled(ids: Sequence[int]) -> str:
    texts = {id: token for token, id in (ADDED_IDS | MERGE_IDS).items()}
    return b"".join(texts[id].encode() if id in texts else bytes((id,)) for id in ids).decode()


def byte_id(byte: bytes) -> int:
    return byte[0]


def vocabulary(lacking: bytes = b"") -> Vocabulary:
    """Every byte but some, and the merges."""
    pieces: list[bytes | None] = [None] * (max(MERGE_IDS.values()) + 1)
    pieces[:256] = [None if byte in lacking else bytes((byte,)) for byte in range(256)]
    for text, id in MERGE_IDS.items():
        pieces[id] = text.encode()
    return Vocabulary(pieces, {})


VOCABULARY = vocabulary()


def segmenter(vocabulary: Vocabulary = VOCABULARY) -> Segmenter:
    return Segmenter(vocabulary, ADDED_IDS, encode)


@examples(150)
@given(
    text=st.one_of(
        st.lists(st.sampled_from([*ADDED, *MERGES, "a", "<", "|", "b", " "]), max_size=12).map("".join), hostile_text()
    )
)
def test_plain_text_never_yields_an_added_token_and_spells_the_same(text: str) -> None:
    ids = plain_ids(text, ADDED, encode, byte_id)
    assert not set(ids) & set(ADDED_IDS.values())
    assert spelled(ids) == text


@pytest.mark.parametrize("token", ADDED)
def test_the_text_of_an_added_token_is_read_as_plain_characters(token: str) -> None:
    assert encode(token) == [ADDED_IDS[token]]
    ids = plain_ids(f"x{token}{token}y", ADDED, encode, byte_id)
    assert not set(ids) & set(ADDED_IDS.values())
    assert spelled(ids) == f"x{token}{token}y"


def test_text_without_added_tokens_is_encoded_in_one_go() -> None:
    calls = []

    def recorded(text: str) -> list[int]:
        calls.append(text)
        return encode(text)

    assert plain_ids("New York", ADDED, recorded, byte_id) == encode("New York")
    assert plain_ids("", ADDED, recorded, byte_id) == []
    assert calls == ["New York"]


def test_a_literal_holds_the_longest_of_the_added_tokens_that_begin_first() -> None:
    ids = segmenter().prompt([Piece("x<|im_start|>aaaba|\n\n\n", literal=True), Piece("aa")])
    assert [id for id in ids if id >= 1000] == [
        ADDED_IDS[token] for token in ("<|im_start|>", "aa", "aba", "|", "\n\n")
    ]
    assert spelled(ids) == "x<|im_start|>aaaba|\n\n\naa"
    assert ids[-2:] == [ord("a")] * 2


@pytest.mark.parametrize("text", ["a|b", "a⟦b", "xé"])
def test_a_text_that_the_vocabulary_cannot_write_is_a_data_error(text: str) -> None:
    lacking = vocabulary("|⟦é".encode())
    with pytest.raises(DataError, match="vocabulary"):
        segmenter(lacking).plain(text)
    assert spelled(segmenter(lacking).plain("abc")) == "abc"


@pytest.mark.parametrize("text", ["x" * 8193, "a " + " " * 8200 + "b"])
def test_a_text_that_would_overflow_the_stack_is_a_data_error(text: str) -> None:
    with pytest.raises(DataError, match=r"8\d\d\d characters .*chunks"):
        segmenter().plain(text)
    assert len(segmenter().plain("x" * 8192 + " " + "x" * 8192)) == 2 * 8192 + 1
