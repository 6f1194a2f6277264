"""genner_cli.data: offsets, tokens, tags and runs of words."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples, hostile_text

from genner_cli.data import runs as runs_module
from genner_cli.data.characters import inner_offsets
from genner_cli.data.offsets import Offsets, Unit
from genner_cli.data.runs import links, runs, words_of
from genner_cli.data.tags import Scheme, Span, decode, encode
from genner_cli.data.tokens import cut, detokenize, tokenize, without_spaces
from genner_cli.errors import DataError
from genner_cli.types import Range

ENCODING = {Unit.CODEPOINT: ("utf-32-le", 4), Unit.UTF16: ("utf-16-le", 2), Unit.BYTE: ("utf-8", 1)}


# offsets


@pytest.mark.parametrize("unit", ENCODING)
@given(text=hostile_text())
@examples(60)
def test_offsets_are_those_of_the_encoded_text(unit: Unit, text: str) -> None:
    offsets = Offsets(text, unit)
    encoding, width = ENCODING[unit]
    for place in range(len(text) + 1):
        there = len(text[:place].encode(encoding)) // width
        assert offsets.of(place) == there
        assert offsets.place(there) == place


@pytest.mark.parametrize("unit", [Unit.CODEPOINT, Unit.UTF16])
@given(text=hostile_text())
@examples(60)
def test_offsets_may_count_a_line_end_of_two_characters_as_one(unit: Unit, text: str) -> None:
    offsets, plain = Offsets(text, unit.crlf), Offsets(text.replace("\r\n", "\n"), unit)
    for place in range(len(text) + 1):
        between = text[:place].endswith("\r") and text[place:].startswith("\n")
        there = plain.of(len(text[:place].replace("\r\n", "\n")) - between)
        assert offsets.of(place) == there
        assert offsets.place(there) == place - between


@pytest.mark.parametrize(("unit", "offset"), [(Unit.UTF16, 2), (Unit.BYTE, 3), (Unit.UTF16, 9), (Unit.BYTE, -1)])
def test_an_offset_inside_a_character_is_refused(unit: Unit, offset: int) -> None:
    with pytest.raises(DataError, match=f"offset {offset} .*--offsets"):
        Offsets("a👩b", unit).place(offset)


# tokens


def words(text: str) -> list[str]:
    return [text[start:end] for start, end in tokenize(text)]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Ann's U.S.-based x_1", ["Ann", "'s", "U", ".", "S", ".", "-", "based", "x_1"]),
        ("we're 'seen'", ["we", "'re", "'", "seen", "'"]),
        ("e\u0301te\u0301 नमस्ते", ["e\u0301te\u0301", "नमस्ते"]),
        ("北京 カナ a東b", ["北", "京", "カ", "ナ", "a", "東", "b"]),
        ("👍🏽!\u00a0?\r\n", ["👍🏽", "!", "?"]),
        ("1️⃣a 👩‍🚀 🇳🇴🇸🇪❤️b", ["1️⃣a", "👩‍🚀", "🇳🇴", "🇸🇪", "❤️", "b"]),
        ("สมชายไป", ["ส", "ม", "ช", "า", "ย", "ไ", "ป"]),
        ("น้ำ ကို ភាសា བོད་", ["น้ำ", "ကို", "ភា", "សា", "བོ", "ད", "་"]),
    ],
)
def test_tokens_are_words_clitics_signs_and_ideographs(text: str, tokens: list[str]) -> None:
    assert words(text) == tokens


@given(hostile_text())
@examples(150)
def test_tokens_hold_all_of_a_text_but_its_white_space(text: str) -> None:
    found = tokenize(text)
    assert all(one.end <= other.start for one, other in pairwise(found))
    assert "".join(words(text)) == "".join(c for c in text if not c.isspace() and c != "\ufeff")
    whole = without_spaces(text, [Range(0, len(text))])
    assert {start for start, _ in whole} <= {start for start, _ in found}
    assert "".join(text[start:end] for start, end in whole) == "".join(words(text))
    made, ranges = detokenize(words(text))
    assert [made[start:end] for start, end in ranges] == words(text)
    assert "".join(made.split()) == "".join("".join(words(text)).split())


@pytest.mark.parametrize(
    "text",
    [
        'He said: "Rome (Italy) isn\'t [far]", and left.',
        "Ann's $5, 3%; we're at #1!",
        "北京大学。",
        "สมชายไปกรุงเทพ",
        "ລາວ",
        "ភ្នំពេញ ABC",
        "မြန်မာ",
        "བོད་",
        "“Yes,” she said.",
        "",
    ],
)
def test_detokenizing_puts_blanks_where_they_were(text: str) -> None:
    assert detokenize(words(text))[0] == text


@given(hostile_text(), st.lists(st.integers(0, 30)))
@examples(60)
def test_ranges_are_divided_at_borders_and_nowhere_else(text: str, borders: list[int]) -> None:
    ranges = tokenize(text)
    found = cut(ranges, borders)
    starts = {start for start, _ in ranges} | {b for b in borders if any(s < b < e for s, e in ranges)}
    assert {start for start, _ in found} == starts
    assert [place for s, e in found for place in range(s, e)] == [place for s, e in ranges for place in range(s, e)]


# tags


@st.composite
def spans(draw: st.DrawFn) -> tuple[int, list[Span]]:
    found: list[Span] = []
    at = 0
    for gap, length, label in draw(
        st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3), st.sampled_from(["A", "B-x"])))
    ):
        found.append(Span(at + gap, at + gap + length, label))
        at += gap + length
    return at + draw(st.integers(0, 2)), found


@pytest.mark.parametrize("scheme", Scheme)
@given(case=spans())
@examples(100)
def test_tags_of_every_scheme_say_the_spans(scheme: Scheme, case: tuple[int, list[Span]]) -> None:
    count, found = case
    tags = encode(count, found, scheme)
    assert len(tags) == count
    assert decode(tags) == found


@pytest.mark.parametrize(
    ("scheme", "tags"),
    [
        (Scheme.IOB1, "I-A I-A B-A I-B O I-A"),
        (Scheme.IOB2, "B-A I-A B-A B-B O B-A"),
        (Scheme.BILOU, "B-A L-A U-A U-B O U-A"),
    ],
)
def test_schemes_tag_as_their_names_say(scheme: Scheme, tags: str) -> None:
    found = [Span(0, 2, "A"), Span(2, 3, "A"), Span(3, 4, "B"), Span(5, 6, "A")]
    assert encode(6, found, scheme) == tags.split()


@pytest.mark.parametrize("tag", ["", "B", "B-", "X-A", "o", "BI-A", "O-A", "-A"])
def test_what_is_no_tag_is_refused(tag: str) -> None:
    with pytest.raises(DataError, match=f"^{re.escape(repr(tag))} is not a tag"):
        decode(["O", tag])


# runs

EIGHT = "one two three four five six seven eight"


def test_texts_that_share_eight_words_are_linked_whatever_case_and_punctuation() -> None:
    texts = [f"zero {EIGHT}", "nothing else", f"{EIGHT.upper().replace(' ', ', ')}! nine", EIGHT[4:], "Nothing, else?"]
    assert list(links(texts)) == [(0, 2), (1, 4)]


def test_seven_words_of_a_longer_text_are_no_link() -> None:
    assert not list(links([f"{EIGHT[4:]} nine", f"{EIGHT[4:]} ten"]))


@pytest.mark.parametrize("text", ["甲乙丙丁戊己庚辛壬癸子丑寅卯辰巳午", "กขคงจฉชซญดตถทธนบป", "ກຂຄງຈຊຍດຕຖທນບປຜຝພ"])
def test_sixteen_characters_of_a_script_without_spaces_are_a_run(text: str) -> None:
    assert list(links([text, f"北{text[:16]}"])) == [(0, 1)]
    assert not list(links([text, f"北{text[:15]}南"]))


@given(st.lists(st.text("ab .", max_size=30), max_size=6))
@examples(100)
def test_links_are_those_of_a_comparison_of_all_runs(texts: list[str]) -> None:
    found: dict[tuple[str, ...], int] = {}
    expected = set()
    for number, text in enumerate(texts):
        tokens = words_of(text)
        for start in range(max(min(1, len(tokens)), len(tokens) - 7)):
            first = found.setdefault(tuple(tokens[start : start + 8]), number)
            expected |= {(first, number)} if first != number else set()
    assert set(links(texts)) == expected


def test_many_runs_are_compared_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"{number} {EIGHT} {number}" for number in range(50)]
    whole = list(links(texts))
    monkeypatch.setattr(runs_module, "_AT_ONCE", 7)
    assert list(links(texts)) == whole == [(0, number) for number in range(1, 50)]
    assert len(runs(EIGHT + " nine")) == 2


# characters


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Bob 1️⃣ Oslo", ["B", "o", "b", " ", "1️⃣", " ", "O", "s", "l", "o"]),
        ("👩‍🚀 A", ["👩‍🚀", " ", "A"]),
        ("👍🏽👍", ["👍🏽", "👍"]),
        ("🇳🇴🇸🇪🇫", ["🇳🇴", "🇸🇪", "🇫"]),
        ("🏴󠁧󠁢󠁥󠁮󠁧󠁿e\u0301", ["🏴󠁧󠁢󠁥󠁮󠁧󠁿", "e\u0301"]),
        ("\u1112\u1161\u11ab\u1100\u1173\u11af", ["\u1112\u1161\u11ab", "\u1100\u1173\u11af"]),
        ("\uac00\u11a8\u1100", ["\uac00\u11a8", "\u1100"]),
        ("น้ำ ｶﾞｶ", ["น้ำ", " ", "ｶﾞ", "ｶ"]),
        ("", []),
    ],
)
def test_visible_characters_are_whole(text: str, parts: list[str]) -> None:
    boundaries = [at for at in range(len(text) + 1) if at not in inner_offsets(text)]
    assert [text[start:end] for start, end in pairwise(boundaries)] == parts
