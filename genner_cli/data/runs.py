"""Texts -> which of them share a run of eight words, for some hundred thousand texts in bounded memory.

Words are compared without case and punctuation. A text of fewer words is one run. Two characters of a script
without spaces count as one word.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence

from genner_cli.data.characters import unspaced
from genner_cli.data.tokens import tokenize

WORDS = 8
_AT_ONCE = 4_000_000  # runs held in a dictionary, some 100 bytes each
_MASK = 2**64 - 1


def words_of(text: str) -> list[str]:
    """The words of a text as they are compared; all its tokens where it has no word."""
    tokens = [text[start:end].casefold() for start, end in tokenize(text)]
    return [token for token in tokens if any(map(str.isalnum, token))] or tokens


def runs(text: str) -> array[int]:
    """A 64-bit hash of each run of the text, in order; the same in one process only."""
    words = words_of(text)
    hashes = array("Q")
    end = weight = 0
    for start, word in enumerate(words):
        while weight < 2 * WORDS and end < len(words):
            weight += _weight(words[end])
            end += 1
        if weight < 2 * WORDS and hashes:
            break
        hashes.append(hash(tuple(words[start:end])) & _MASK)
        weight -= _weight(word)
    return hashes


def _weight(word: str) -> int:
    return 1 if unspaced(word[0]) else 2


def links(texts: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Pairs (first text with a run, a later text with it), by number, each pair once.

    A text that shares a run with any before it is in a pair; two later ones are paired with the first.
    """
    hashed = [runs(text) for text in texts]
    parts = 1 + sum(map(len, hashed)) // _AT_ONCE
    pairs: set[tuple[int, int]] = set()
    for part in range(parts):
        pairs.update(_links_of(hashed, part, parts))
    yield from sorted(pairs)


def _links_of(hashed: Sequence[array[int]], part: int, parts: int) -> Iterator[tuple[int, int]]:
    """The pairs of the runs whose hash falls into this part."""
    first: dict[int, int] = {}
    for number, hashes in enumerate(hashed):
        for run in hashes:
            if run % parts == part and first.setdefault(run, number) != number:
                yield first[run], number
