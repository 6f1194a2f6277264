"""Where a mention may start and end in a text, and where it stands. For the JSON formats, and locks of whole words."""

from __future__ import annotations

import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from functools import cached_property

# Han, Kana, Bopomofo, Thai, Lao, Tibetan, Myanmar, Khmer: scripts written without spaces.
_UNSPACED = ((0x0E00, 0x0FFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x2E80, 0x312F), (0x31A0, 0x9FFF),
             (0xF900, 0xFAFF), (0xFF66, 0xFF9F), (0x20000, 0x3FFFF))  # fmt: skip


def _unspaced(char: str) -> bool:
    return any(first <= ord(char) <= last for first, last in _UNSPACED)


def _combining(char: str) -> bool:
    return unicodedata.category(char).startswith("M")


def _in_word(char: str) -> bool:
    return char.isalnum() or _combining(char)


def is_boundary(text: str, at: int) -> bool:
    """Whether a mention may start or end at this offset: a word boundary; between any two characters
    of a script without spaces; never before a combining mark."""
    if at <= 0 or at >= len(text):
        return 0 <= at <= len(text)
    before, after = text[at - 1], text[at]
    if _combining(after):
        return False
    return not (_in_word(before) and _in_word(after)) or _unspaced(before) or _unspaced(after)


class Mentions:
    """The mentions that a text could have: `starts` and `ends` are sorted offsets."""

    def __init__(self, text: str) -> None:
        self.text = text
        boundaries = [at for at in range(len(text) + 1) if is_boundary(text, at)]
        self.starts = [at for at in boundaries if at < len(text) and not text[at].isspace()]
        self.ends = [at for at in boundaries if at > 0 and not text[at - 1].isspace()]
        self._known: dict[str, tuple[int, ...]] = {}

    def ends_between(self, first: int, last: int) -> Iterator[int]:
        """All ends from `first` to `last`, both included."""
        for number in range(bisect_left(self.ends, first), bisect_right(self.ends, last)):
            yield self.ends[number]

    def occurrences(self, mention: str) -> tuple[int, ...]:
        """Every start at which this mention stands between boundaries, in order; overlaps count."""
        if mention not in self._known:
            self._known[mention] = tuple(self._find(mention))
        return self._known[mention]

    def _find(self, mention: str) -> list[int]:
        starts, at = [], self.text.find(mention)
        while at >= 0:
            if at in self._start_set and at + len(mention) in self._end_set:
                starts.append(at)
            at = self.text.find(mention, at + 1)
        return starts

    @cached_property
    def _start_set(self) -> frozenset[int]:
        return frozenset(self.starts)

    @cached_property
    def _end_set(self) -> frozenset[int]:
        return frozenset(self.ends)
