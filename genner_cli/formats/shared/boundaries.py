"""Where a mention may start and end in a text, and where it stands. For the JSON formats, and locks of whole words."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator
from functools import cached_property

from genner_cli.data.characters import inner_offsets, is_combining, unspaced


def _in_word(char: str) -> bool:
    return char.isalnum() or is_combining(char)


def is_boundary(text: str, at: int, inside: Collection[int]) -> bool:
    """Whether a mention may start or end at this offset: a word boundary; between any two characters of a script
    without spaces; never at one of the `inner_offsets` of the text, which are `inside`."""
    if at <= 0 or at >= len(text):
        return 0 <= at <= len(text)
    if at in inside:
        return False
    before, after = text[at - 1], text[at]
    return not (_in_word(before) and _in_word(after)) or unspaced(before) or unspaced(after)


class Mentions:
    """The mentions that a text could have: `starts` and `ends` are sorted offsets."""

    def __init__(self, text: str) -> None:
        self.text = text
        inside = inner_offsets(text)
        boundaries = [at for at in range(len(text) + 1) if is_boundary(text, at, inside)]
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
