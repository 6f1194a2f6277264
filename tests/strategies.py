"""Hostile text, labels and planted entities for the property tests; one way to say how many examples."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from hypothesis import settings
from hypothesis import strategies as st

from genner_cli.types import Entity

LABELS = ("PER", "PERSON", "A/B c", "事件")
"""One is a prefix of another, one has a blank and a slash, one is not ASCII."""

MARKUP = list('[]|<>&"\\⟦⦂⟧⧵/{}:,')
TRAPS = [
    "\\[",
    "\\\\",
    "\\u0041",
    "&lt;",
    "&amp;",
    "⧵o",
    "⧵⧵",
    " | PER]",
    "<PER>",
    "</PER>",
    "⟦a⦂PER⟧",
    '", "label": "PER"',
    '"]}',
    "<|im_start|>",
]
WORDS = ["a", "b", "a", "Bob", "Bob's", "New York", "U.S.", "x1", "O'Neill-Smith", "_"]
BLANKS = [" ", " ", "  ", "\n", "\t", "\r\n", "\u00a0", "\u3000", "\u2028", "\x1c", "\x85"]
FOREIGN = [
    "👩‍👩‍👧",
    "❤️",
    "🏳️‍🌈",
    "👍🏽",
    "e\u0301",
    "\u0301",
    "n\u0303\u0323",
    "שלום",
    "مرحبا",
    "\u202eabc\u202c",
    "北京",
    "東京都",
    "カナ",
    "กรุงเทพ",
    "नमस्ते",
    "İ",
    "ß",
]
ODD = ["\x01", "\x08", "\x0b", "\x1b", "\x7f", "\ufeff", "\ufffe", "\uffff", "\U0010ffff", "\U0001fffe", "\u200b"]

characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")


def hostile_text(*, most: int = 14) -> st.SearchStrategy[str]:
    """Text of up to `most` parts: words, blanks, markup of every format, traps and the rest of Unicode."""
    common = st.sampled_from(WORDS + BLANKS + MARKUP)
    part = st.one_of(common, common, st.sampled_from(TRAPS + FOREIGN + ODD), characters)
    long = st.lists(part, min_size=most // 2, max_size=most)
    return st.one_of(long, long, long, st.lists(part, max_size=2)).map("".join)


class Case(NamedTuple):
    """A text, entities that somebody claims to stand in it, and the labels asked for."""

    text: str
    entities: list[Entity]
    labels: tuple[str, ...]


@st.composite
def cases(draw: st.DrawFn, *, most: int = 14) -> Case:
    """Mostly entities made of whole words, nested, crossing and repeated ones among them; some broken."""
    text = draw(hostile_text(most=most))
    labels = draw(st.lists(st.sampled_from(LABELS), min_size=1, max_size=3, unique=True))
    good = planted(text, labels)
    entities = draw(st.lists(good, min_size=3, max_size=6)) + draw(st.lists(broken(text), max_size=2))
    return Case(text, entities, tuple(labels))


def planted(text: str, labels: Sequence[str]) -> st.SearchStrategy[Entity]:
    """Entities from the start of one word to the end of the same or a later one."""
    words = [match.span() for match in re.finditer(r"\w+|[^\w\s]", text)]
    if not words:
        return broken(text)

    def entity(ends: tuple[int, int], label: str) -> Entity:
        first, last = sorted(ends)
        start, end = words[first][0], words[last][1]
        return Entity(start, end, label, text[start:end])

    index = st.integers(0, len(words) - 1)
    near = index.flatmap(lambda i: st.tuples(st.just(i), st.integers(i, min(i + 3, len(words) - 1))))
    return st.builds(entity, near, st.sampled_from(labels))


def broken(text: str) -> st.SearchStrategy[Entity]:
    """Entities with any borders and any label; a few whose text does not stand there."""
    border = st.integers(-1, len(text) + 1)

    def entity(start: int, end: int, label: str, wrong: bool) -> Entity:
        return Entity(start, end, label, text[max(0, start) : max(0, end)] + "?" * wrong)

    return st.builds(entity, border, border, st.sampled_from(LABELS), st.sampled_from([False, False, False, True]))


def segmentation(seed: int) -> Callable[[str], list[bytes]]:
    """A tokenizer that cuts bytes anywhere, inside characters and escapes too, but always the same way."""

    def segment(text: str) -> list[bytes]:
        data, pieces = text.encode(), []
        rng = random.Random(f"{seed} {text}")
        while data:
            size = rng.choice((1, 1, 2, 3, 5, 8))
            pieces.append(data[:size])
            data = data[size:]
        return pieces

    return segment


def examples(number: int) -> settings:
    """Examples per run of a property test."""
    return settings(max_examples=number)
