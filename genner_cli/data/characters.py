"""What characters are to readers: white space, scripts without spaces, and where a text may be cut between two.

Offsets count code points. A visible character (grapheme) may be several of them: a letter and its accents, an emoji
with its skin tone, a flag. The rules are those of Unicode's extended grapheme clusters (UAX 29), without the rarer ones
for prepended marks and conjuncts, and stricter at zero-width joiners: nothing is cut next to one.
"""

from __future__ import annotations

import unicodedata
from enum import Enum
from functools import cache

_UNSPACED = (
    (0x0E00, 0x0FFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x1950, 0x19FF), (0x1A20, 0x1AAF), (0x2E80, 0x312F),
    (0x31A0, 0x9FFF), (0xA9E0, 0xA9FF), (0xAA60, 0xAADF), (0xF900, 0xFAFF), (0xFF66, 0xFF9F), (0x20000, 0x3FFFF),
)  # fmt: skip
"""Thai, Lao, Tibetan; Myanmar; Khmer; Tai Le, New Tai Lue, Khmer symbols; Tai Tham; Han, Kana, Bopomofo; Myanmar and
Tai Viet; half-width Katakana; Han of the other planes."""

_FIRST_COMBINING = "\u0300"
_EXTENDING = "\u200c\uff9e\uff9f\u0e33\u0eb3"  # the non-joiner, half-width voicing marks, the vowel am of Thai and Lao


class _Role(Enum):
    """What a character is to its neighbours; JAMO are the letters of Hangul behind a leading one."""

    OTHER = 0
    EXTENDS = 1
    JOINER = 2
    FLAG = 3
    LEADING = 4
    JAMO = 5
    SYLLABLE = 6


_RANGES = {
    _Role.EXTENDS: ((0x1F3FB, 0x1F3FF), (0xE0020, 0xE007F)),  # skin tones and tags
    _Role.JOINER: ((0x200D, 0x200D),),
    _Role.FLAG: ((0x1F1E6, 0x1F1FF),),
    _Role.LEADING: ((0x1100, 0x115F), (0xA960, 0xA97C)),
    _Role.JAMO: ((0x1160, 0x11FF), (0xD7B0, 0xD7FB)),
    _Role.SYLLABLE: ((0xAC00, 0xD7A3),),
}
_SYLLABLES = frozenset(
    (before, after)
    for before, afters in {
        _Role.LEADING: (_Role.LEADING, _Role.JAMO, _Role.SYLLABLE),
        _Role.JAMO: (_Role.JAMO,),
        _Role.SYLLABLE: (_Role.JAMO,),
    }.items()
    for after in afters
)
"""Neighbours that are of one syllable."""


def is_space(char: str) -> bool:
    """Whether the character is white space, or U+FEFF, which files may begin with."""
    return char.isspace() or char == "\ufeff"


def stripped(text: str) -> str:
    """The text without white space, or U+FEFF, around it."""
    return text.strip().strip("\ufeff").strip()


@cache
def unspaced(char: str) -> bool:
    """Whether the character is of a script written without spaces between words; False for ""."""
    return char > "\u0dff" and _in(char, *_UNSPACED)


def inner_offsets(text: str) -> frozenset[int]:
    """The offsets that lie inside a visible character."""
    if text.isascii():
        return frozenset()
    inside = set()
    before, flags = _Role.OTHER, 0  # the letters of flags right before `at`
    for at, char in enumerate(text):
        role = _role(char)
        if role is not _Role.OTHER or before is _Role.JOINER:
            extends = role in (_Role.EXTENDS, _Role.JOINER) or before is _Role.JOINER
            if at and (extends or (before, role) in _SYLLABLES or (role is _Role.FLAG and flags % 2)):
                inside.add(at)
        flags = flags + 1 if role is _Role.FLAG else 0
        before = role
    return frozenset(inside)


def is_combining(char: str) -> bool:
    """Whether the character is a mark on the one before it."""
    return unicodedata.category(char).startswith("M")


@cache
def _role(char: str) -> _Role:
    if char < _FIRST_COMBINING:
        return _Role.OTHER
    for role, ranges in _RANGES.items():
        if _in(char, *ranges):
            return role
    return _Role.EXTENDS if is_combining(char) or char in _EXTENDING else _Role.OTHER


def _in(char: str, *ranges: tuple[int, int]) -> bool:
    return len(char) == 1 and any(first <= ord(char) <= last for first, last in ranges)
