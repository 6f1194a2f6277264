"""What characters are to readers: white space, scripts without spaces, and where a text may be cut between two.

Offsets count code points. A visible character (grapheme) may be several of them: a letter and its accents, an emoji
with its skin tone, a flag. The rules are those of Unicode's extended grapheme clusters (UAX 29), without the rarer ones
for prepended marks and conjuncts, and stricter at zero-width joiners: nothing is cut next to one.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from itertools import pairwise

from genner_cli.types import Range

_UNSPACED = (
    (0x0E00, 0x0FFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x1950, 0x19FF), (0x1A20, 0x1AAF), (0x2E80, 0x312F),
    (0x31A0, 0x9FFF), (0xA9E0, 0xA9FF), (0xAA60, 0xAADF), (0xF900, 0xFAFF), (0xFF66, 0xFF9F), (0x20000, 0x3FFFF),
)  # fmt: skip
"""Thai, Lao, Tibetan; Myanmar; Khmer; Tai Le, New Tai Lue, Khmer symbols; Tai Tham; Han, Kana, Bopomofo; Myanmar and
Tai Viet; half-width Katakana; Han of the other planes."""

_JOINER, _NON_JOINER = "\u200d", "\u200c"
_SOUND_MARKS = "\uff9e\uff9f\u0e33\u0eb3"  # half-width voicing marks, and the vowel am of Thai and Lao
_SKIN_TONES, _TAGS, _FLAG_LETTERS = (0x1F3FB, 0x1F3FF), (0xE0020, 0xE007F), (0x1F1E6, 0x1F1FF)
_FIRST_COMBINING = "\u0300"
_LEADING_JAMO, _OTHER_JAMO = ((0x1100, 0x115F), (0xA960, 0xA97C)), ((0x1160, 0x11FF), (0xD7B0, 0xD7FB))
_SYLLABLES = (0xAC00, 0xD7A3)


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
    flag_letters = 0  # those right before `at`
    for at in range(1, len(text)):
        flag_letters = flag_letters + 1 if _is_flag_letter(text[at - 1]) else 0
        before, after = text[at - 1], text[at]
        if (after >= _FIRST_COMBINING or before == _JOINER) and _joined(before, after, flag_letters):
            inside.add(at)
    return frozenset(inside)


def graphemes(text: str) -> list[Range]:
    """The visible characters of a text, in order."""
    inside = inner_offsets(text)
    boundaries = [at for at in range(len(text) + 1) if at not in inside]
    return [Range(start, end) for start, end in pairwise(boundaries)]


def is_combining(char: str) -> bool:
    """Whether the character is a mark on the one before it."""
    return unicodedata.category(char).startswith("M")


def _joined(before: str, after: str, flag_letters: int) -> bool:
    """Whether two neighbours are one visible character; `flag_letters`: how many end with `before`."""
    if _extends(after) or before == _JOINER:
        return True
    if _is_flag_letter(after):
        return flag_letters % 2 == 1
    return _makes_syllable(before, after)


@cache
def _extends(char: str) -> bool:
    """Whether the character is never the first of a visible one."""
    marks = is_combining(char) or char in (_JOINER, _NON_JOINER) or char in _SOUND_MARKS
    return marks or _in(char, _SKIN_TONES, _TAGS)


def _is_flag_letter(char: str) -> bool:
    return char > "\uffff" and _in(char, _FLAG_LETTERS)


def _makes_syllable(before: str, after: str) -> bool:
    """Whether two Hangul characters are of one syllable."""
    if _in(after, *_OTHER_JAMO):
        return _in(before, *_LEADING_JAMO, *_OTHER_JAMO, _SYLLABLES)
    return _in(before, *_LEADING_JAMO) and _in(after, *_LEADING_JAMO, _SYLLABLES)


def _in(char: str, *ranges: tuple[int, int]) -> bool:
    return len(char) == 1 and any(first <= ord(char) <= last for first, last in ranges)
