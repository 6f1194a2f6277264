"""Sentences end where they should; chunks keep to their size, tile the text and own every sentence once."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples, hostile_text

from genner_cli.chunking import sentences, split
from genner_cli.types import Chunk

prose = st.lists(
    st.sampled_from(
        ["Bob saw it.", "Mr. Smith left!", "北京很大。", "over\nnight", "Why?", "x" * 30, "e.g.", " ", "\n\n"]
    ),
    max_size=30,
).map(" ".join)
texts = st.one_of(hostile_text(most=40), prose)
sizes = st.integers(1, 80)


def said(text: str) -> list[str]:
    return [text[start:end] for start, end in sentences(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \n ", []),
        ("One", ["One"]),
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("  One.  Two.  ", ["One.", "Two."]),
        ("He left... She stayed… Yes", ["He left...", "She stayed…", "Yes"]),
        ('"No!" He left. (Really?) "Yes."', ['"No!"', "He left.", "(Really?)", '"Yes."']),
        ("It cost 3.5 dollars at example.com today.", ["It cost 3.5 dollars at example.com today."]),
        ("He said: what? no.", ["He said: what? no."]),
        ("Born in 1900. 20 years later", ["Born in 1900.", "20 years later"]),
        ("a line\nanother line", ["a line", "another line"]),
        ("a line \r\n\n \tanother line", ["a line", "another line"]),
        ("Dr.\nSmith", ["Dr.", "Smith"]),
        ("北京很大。上海也大！对吗？好", ["北京很大。", "上海也大！", "对吗？", "好"]),
        ("「好。」他说。", ["「好。」", "他说。"]),
        ("Él vive. ¿Dónde? Aquí.", ["Él vive.", "¿Dónde?", "Aquí."]),
        ("قال نعم. ثم ذهب.", ["قال نعم.", "ثم ذهب."]),
    ],
)
def test_sentences_end_at_full_stops_and_lines(text: str, expected: list[str]) -> None:
    assert said(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "Mr. Smith met Dr. Jones and Mrs. Ng.",
        "The U.S. Army left.",
        "J. K. Rowling wrote it.",
        "Books by (J. Doe) and “A. Roe”.",
        "Acme Inc. Holdings vs. Widget Co. Ltd. Partners",
        "On Jan. 5 and Sept. 6 in St. Louis, No. 7",
        "See Fig. 3, e.g. Table 4",
        "Gen. Lee and Sen. Roe of Mt. Hood",
    ],
)
def test_an_abbreviation_ends_no_sentence(text: str) -> None:
    assert said(text) == [text]


def test_a_word_that_ends_like_an_abbreviation_does_end_a_sentence() -> None:
    assert said("He called the ministers. Then the xMr. Then none.") == [
        "He called the ministers.",
        "Then the xMr.",
        "Then none.",
    ]


@examples(80)
@given(text=texts)
def test_sentences_come_in_order_and_leave_out_nothing_but_blanks(text: str) -> None:
    done = 0
    for start, end in sentences(text):
        assert done <= start < end
        assert text[done:start].strip() == ""
        assert text[start:end] == text[start:end].strip()
        done = end
    assert text[done:].strip() == ""


@examples(150)
@given(text=texts, size=sizes, overlap=st.one_of(st.none(), st.integers(0, 80)))
def test_chunks_tile_the_text_with_what_they_own_and_keep_to_their_size(
    text: str, size: int, overlap: int | None
) -> None:
    chunks = list(split(text, size, overlap))
    assert bool(chunks) == bool(text.strip())
    for chunk in chunks:
        assert chunk.text == text[chunk.start : chunk.start + len(chunk.text)]
        assert len(chunk.text.encode()) <= size or len(chunk.text) == 1
        assert chunk.text == chunk.text.strip() != ""
        assert _owned(chunk, text).strip() in chunk.text
    borders = [chunk.own_start for chunk in chunks] + [chunks[-1].own_end] if chunks else []
    assert borders == sorted(set(borders))
    if chunks:
        assert (borders[0], borders[-1]) == (0, len(text))
        assert [chunk.own_end for chunk in chunks] == borders[1:]


def _owned(chunk: Chunk, text: str) -> str:
    return text[chunk.own_start : chunk.own_end]


@examples(80)
@given(text=texts, size=st.integers(20, 120))
def test_every_sentence_that_fits_stands_whole_in_the_one_chunk_that_owns_it(text: str, size: int) -> None:
    chunks = list(split(text, size))
    for start, end in sentences(text):
        owners = [chunk for chunk in chunks if chunk.own_start <= start < chunk.own_end]
        assert len(owners) == 1
        if len(text[start:end].encode()) <= size - 2 * (size // 8):
            assert text[start:end] in owners[0].text
            assert owners[0].start <= start
            assert end <= owners[0].start + len(owners[0].text)


def test_sentences_are_packed_as_long_as_they_fit() -> None:
    text = "One two. Three four. Five six. Seven."
    chunks = list(split(text, 20, 0))
    assert [chunk.text for chunk in chunks] == ["One two. Three four.", "Five six. Seven."]
    assert [(chunk.start, chunk.own_start, chunk.own_end) for chunk in chunks] == [(0, 0, 21), (21, 21, 37)]


def test_context_stands_on_either_side_and_is_owned_by_the_neighbours() -> None:
    text = "One two. Three four. Five six."
    chunks = list(split(text, 32, 10))
    assert [chunk.text for chunk in chunks] == ["One two.", "One two. Three four. Five six.", "Five six."]
    assert [_owned(chunk, text) for chunk in chunks] == ["One two. ", "Three four. ", "Five six."]


@pytest.mark.parametrize(("overlap", "second"), [(9, "One two. Three four."), (8, "Three four.")])
def test_context_on_the_left_may_fill_the_overlap_to_the_last_byte(overlap: int, second: str) -> None:
    """`One two. ` has 9 bytes."""
    chunks = list(split("One two. Three four. Five six.", 12 + 2 * overlap, overlap))
    assert [chunk.text for chunk in chunks] == ["One two.", second, "Five six."]


def test_a_text_that_fits_is_one_chunk() -> None:
    text = " One two. Three four.\n"
    assert list(split(text, 100)) == [Chunk("One two. Three four.", 1, 0, len(text))]


def test_a_sentence_that_is_too_long_is_cut_at_blanks() -> None:
    text = "one two three four five six"
    assert [chunk.text for chunk in split(text, 10, 0)] == ["one two", "three four", "five six"]


def test_a_mention_on_the_cut_of_a_too_long_sentence_stands_whole_in_the_chunk_that_owns_it() -> None:
    text = "word " * 60 + "New York City " + "word " * 60
    for shift in range(200):
        moved = "x" * shift + " " + text
        at = moved.index("New York City")
        (owner,) = [chunk for chunk in split(moved, 160) if chunk.own_start <= at < chunk.own_end]
        assert "New York City" in owner.text


def test_a_word_that_is_too_long_is_cut_anywhere() -> None:
    assert [chunk.text for chunk in split("abcdefgh ij", 3, 0)] == ["abc", "def", "gh", "ij"]


def test_size_is_counted_in_bytes_and_characters_stay_whole() -> None:
    assert [chunk.text for chunk in split("北京上海", 7, 0)] == ["北京", "上海"]
    assert [chunk.text for chunk in split("éé. Éé.", 5, 0)] == ["éé.", "Éé."]
    assert [chunk.text for chunk in split("👩a", 2, 0)] == ["👩", "a"]


@pytest.mark.parametrize("overlap", [5, 10, 1000])
def test_an_overlap_of_half_the_size_and_more_leaves_room_for_progress(overlap: int) -> None:
    chunks = list(split("One. Two. Three. Four.", 10, overlap))
    assert all(len(chunk.text) <= 10 for chunk in chunks)
    assert chunks[-1].own_end == 22


@pytest.mark.parametrize(
    "text",
    [
        "." * 100_000,
        "a" + " " * 100_000 + "b",
        ". " * 50_000,
        "." + '"' * 100_000,
        "a" * 300_000,
        "Hello you. " * 40_000,
    ],
    ids=["dots", "blanks", "dots and blanks", "quotes", "one word", "sentences"],
)
def test_time_grows_with_the_length_of_the_text_only(text: str) -> None:
    started = time.process_time()
    assert sum(1 for _ in split(text, 1000)) > 0
    assert time.process_time() - started < 5  # quadratic: minutes
