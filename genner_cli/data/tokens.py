"""A text -> the ranges of its tokens; tokens without their text -> a text they could have come from.

A token here is a word, an English clitic such as 's, a sign, or one character of a script that is written without
spaces; it never holds white space, and never a part of a visible character (`characters`). Nothing to do with the
tokens of a language model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from genner_cli.data.characters import inner_offsets, is_combining, is_space, unspaced
from genner_cli.types import Range

_JOINERS = "_\u200c\u200d"

_NO_SPACE_BEFORE = frozenset(".,;:!?%)]}»”’…") | {"''", "-RRB-", "-RSB-", "-RCB-", "n't", "N'T"}
_CLITICS = frozenset(sign + letters for sign in "'’" for letters in ("s", "S", "t", "T", "re", "ve", "m", "ll", "d"))
_NO_SPACE_AFTER = frozenset("([{«“‘¿¡$£€#@") | {"``", "-LRB-", "-LSB-", "-LCB-"}


def tokenize(text: str) -> list[Range]:
    """The tokens of a text, in order."""
    ranges: list[Range] = []
    inside = inner_offsets(text)
    before = "space"
    for at, char in enumerate(text):
        kind = before if before != "space" and at in inside else _kind(char)
        if before != "space" and (at in inside or kind == before == "word"):
            ranges[-1] = Range(ranges[-1].start, at + 1)
        elif kind != "space":
            ranges.append(Range(at, at + 1))
        before = kind
    return _with_clitics(text, ranges)


def _with_clitics(text: str, ranges: Sequence[Range]) -> list[Range]:
    """An apostrophe behind a word and the letters after it are one token, if that is a clitic."""
    joined: list[Range] = []
    for start, end in ranges:
        sign = joined[-1] if joined else Range(0, 0)
        behind_word = len(joined) > 1 and joined[-2].end == sign.start and text[sign.start - 1].isalnum()
        if behind_word and sign.end == start and text[sign.start : end] in _CLITICS:
            joined[-1] = Range(sign.start, end)
        else:
            joined.append(Range(start, end))
    return joined


def _kind(char: str) -> str:
    if is_space(char):
        return "space"
    if unspaced(char):
        return "single"
    return "word" if char.isalnum() or char in _JOINERS or is_combining(char) else "single"


def cut(ranges: Iterable[Range], boundaries: Iterable[int]) -> list[Range]:
    """The ranges, divided wherever one of the boundaries falls inside one."""
    waiting = sorted(set(boundaries), reverse=True)
    pieces = []
    for start, end in ranges:
        while waiting and waiting[-1] <= start:
            waiting.pop()
        while waiting and waiting[-1] < end:
            pieces.append(Range(start, waiting[-1]))
            start = waiting.pop()
        pieces.append(Range(start, end))
    return pieces


def without_spaces(text: str, ranges: Iterable[Range]) -> list[Range]:
    """The ranges without the white space in them, each divided where it stands."""
    pieces = []
    for start, end in ranges:
        at = start
        for space, group in groupby(text[start:end], is_space):
            length = sum(1 for _ in group)
            pieces += [] if space else [Range(at, at + length)]
            at += length
    return pieces


def detokenize(words: Sequence[str]) -> tuple[str, list[Range]]:
    """A text of these words, with spaces where English punctuation has them, and where each word stands in it.

    The words are not changed: `text[start:end]` is the word. Between two characters of a script without spaces
    there is none.
    """
    parts: list[str] = []
    ranges = []
    at = 0
    for word, space in zip(words, _spaces(words), strict=True):
        parts += [" ", word] if space else [word]
        at += space
        ranges.append(Range(at, at + len(word)))
        at += len(word)
    return "".join(parts), ranges


def _spaces(words: Sequence[str]) -> Iterator[bool]:
    """Whether a space stands before each word."""
    quoted = False
    before = ""
    for word in words:
        closes = word == '"' and quoted
        glued = word in _NO_SPACE_BEFORE or word in _CLITICS or closes
        opened = before in _NO_SPACE_AFTER or (before == '"' and quoted)
        dense = bool(before) and unspaced(before[-1]) and unspaced(word[:1])
        yield bool(before) and not (glued or opened or dense)
        quoted ^= word == '"'
        before = word
