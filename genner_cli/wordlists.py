"""A list of names -> where they stand in a text, at word boundaries, whatever white space, line ends and hyphens are in
them there, and in any case if asked. Knows nothing of labels.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

from genner_cli.data.characters import inner_offsets
from genner_cli.formats.shared.boundaries import is_boundary

_PIECES = re.compile(r"[^\W_]+|\s+|.", re.DOTALL)
_HYPHENS = frozenset("-\u2010\u2011")
_LINE_ENDS = frozenset("\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029")


class Occurrence(NamedTuple):
    """A half-open range of code points in which a name stands, and the name's `WordList.key`."""

    start: int
    end: int
    key: str


class _Atom(NamedTuple):
    """What stands between two boundaries of words, and what it counts as in a name."""

    start: int
    end: int
    key: str


class WordList:
    """Names to search for. Two of them are alike if their words are: a line end counts as a space, and a hyphen or an
    invisible character between two words as nothing, perhaps with the line end behind it.

    `fold`: upper and lower case are alike too. Memory grows with the names, time with the logarithm of their number.
    """

    def __init__(self, names: Iterable[str], *, fold: bool = False) -> None:
        self._fold = fold
        self._keys = sorted({key for name in names if (key := self.key(name))})
        self._known = frozenset(self._keys)
        self._firsts = frozenset(key[0] for key in self._keys)
        self._longest = max(map(len, self._keys), default=0)

    def key(self, name: str) -> str:
        """What is alike in names that are alike; empty for white space."""
        return key_of(name, fold=self._fold)

    def find(self, text: str) -> Iterator[Occurrence]:
        """The names in a text, from left to right, the longest at each place, without overlaps."""
        if not self._keys:
            return
        atoms = list(_atoms(text, self._fold))
        at = 0
        while at < len(atoms):
            last, key = self._longest_from(atoms, at)
            if key:
                yield Occurrence(atoms[at].start, atoms[last].end, key)
            at = last + 1

    def _longest_from(self, atoms: list[_Atom], first: int) -> tuple[int, str]:
        """The last atom and the key of the longest name that begins with an atom; no key if none does."""
        last, longest, key = first, "", ""
        if atoms[first].key[:1] not in self._firsts:
            return first, ""
        for number in range(first, len(atoms)):
            part = atoms[number].key
            key += part
            if len(key) > self._longest or not self._begins(key):
                break
            if part.strip() and key in self._known:
                last, longest = number, key
        return last, longest

    def _begins(self, key: str) -> bool:
        """Whether a name begins so."""
        at = bisect_left(self._keys, key)
        return at < len(self._keys) and self._keys[at].startswith(key)


def key_of(name: str, *, fold: bool) -> str:
    """What is alike in names that are alike (see `WordList`); empty for white space."""
    return "".join(atom.key for atom in _atoms(name.strip(), fold))


def _atoms(text: str, fold: bool) -> Iterator[_Atom]:
    ranges = _ranges(text)
    for number, (start, end) in enumerate(ranges):
        piece = text[start:end]
        if piece[0].isalnum():
            plain = piece if piece.isascii() else unicodedata.normalize("NFC", piece)
            yield _Atom(start, end, plain.casefold() if fold else plain)
        elif piece.isspace():
            hyphen = not _LINE_ENDS.isdisjoint(piece) and number > 0 and _joins(text, ranges, number - 1)
            yield _Atom(start, end, "" if hyphen else " ")
        else:
            yield _Atom(start, end, "" if _joins(text, ranges, number) else piece)


def _ranges(text: str) -> list[tuple[int, int]]:
    """The text, cut at all word boundaries."""
    cuts, inside = [0], inner_offsets(text)
    for match in _PIECES.finditer(text):
        start, end = match.span()
        if start and (text[start - 1 : start + 1].isascii() or is_boundary(text, start, inside)):
            cuts.append(start)
        if not match.group().isascii():
            cuts += [at for at in range(start + 1, end) if is_boundary(text, at, inside)]
    cuts = [at for at in cuts if at < len(text)]
    return list(pairwise([*cuts, len(text)]))


def _joins(text: str, ranges: list[tuple[int, int]], number: int) -> bool:
    """Whether a range is a hyphen, or cannot be seen, and stands between two words, perhaps of two lines."""
    start, end = ranges[number]
    if end - start > 1 or not (text[start] in _HYPHENS or unicodedata.category(text[start]) == "Cf"):
        return False
    if not start or not text[start - 1].isalnum():
        return False
    behind = end
    if number + 1 < len(ranges) and not _LINE_ENDS.isdisjoint(text[end : ranges[number + 1][1]]):
        behind = ranges[number + 1][1]
    return text[behind : behind + 1].isalnum()
