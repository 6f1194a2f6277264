"""A long text -> chunks of the length that the model knows, at sentence boundaries, with offsets.

Knows nothing of tokens, models or labels: sizes are UTF-8 bytes, offsets are code points.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from genner_cli.types import Chunk, Range

_BOUNDARY = re.compile(
    r"""(?: (?<![.!?…]) [.!?…]++ ["'”’»)\]]* (?=\s+["'“‘«(\[¿¡]*[^\W_a-z]) \s+   # sentence, no lower-case letter next
          | [。！？]+ ["”’』」）]* \s*                                               # CJK full stops need no blank
          | (?<!\s) \s* \n \s*                                                   # a line of its own
        )""",  # the two look-behinds keep long runs of dots and of blanks linear
    re.VERBOSE,
)
_NO_END = re.compile(
    r"(?:^|[\s(\"'“‘])(?:[^\W\d_]|Mr|Mrs|Ms|Dr|Prof|Rev|Gen|Col|Lt|Capt|Sgt|Sen|Rep|Gov|St|Mt|No|vs|Inc|Ltd|Co|Corp|Jr|Sr"
    r"|U\.S|U\.K|e\.g|i\.e|cf|Fig|al|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sep|Sept|Oct|Nov|Dec)\.$"
)
_LOOK_BACK = 12
_LONGEST_CHARACTER = 4


def sentences(text: str) -> Iterator[Range]:
    """The sentences of a text, blanks between them left out; each line ends a sentence."""
    start, last = _first_character(text, 0, len(text)), len(text)
    while last > start and text[last - 1].isspace():
        last -= 1
    for boundary in _BOUNDARY.finditer(text):
        end = boundary.start() + len(boundary[0].rstrip())
        if end <= start or _is_abbreviation(text, boundary, end):
            continue
        yield Range(start, end)
        start = boundary.end()
    if start < last:
        yield Range(start, last)


def _first_character(text: str, start: int, end: int) -> int:
    """The offset of the first character that is not white space, `end` if there is none."""
    return next((at for at in range(start, end) if not text[at].isspace()), end)


def _is_abbreviation(text: str, boundary: re.Match[str], end: int) -> bool:
    return "\n" not in boundary[0] and bool(_NO_END.search(text[max(0, end - _LOOK_BACK) : end]))


def split(text: str, size: int, overlap: int | None = None) -> Iterator[Chunk]:
    """Chunks of at most `size` UTF-8 bytes, or of one character where that has more; a few sentences in memory.

    A chunk owns whole sentences; sentences of up to `overlap` bytes (default: size / 8, always less than
    size / 2) stand on either side of them as context, which the neighbours own. A sentence has one owner;
    one that is too long is cut at blanks, into parts that are short enough to be context. A blank text has
    no chunks.
    """
    overlap = max(0, min(size // 8 if overlap is None else overlap, (size - _LONGEST_CHARACTER) // 2))
    own = size - 2 * overlap
    parts = (part for sentence in sentences(text) for part in _at_most(text, sentence, own, min(own, overlap or own)))
    known = _Known(_in_bytes(text, parts))
    first = own_start = 0
    while known.has(first):
        last = first + 1
        while known.has(last) and known[last].bytes.end - known[first].bytes.start <= own:
            last += 1
        left, right = _context(known, first, last, overlap)
        own_end = known[last].range.start if known.has(last) else len(text)
        start, end = known[left].range.start, known[right - 1].range.end
        yield Chunk(text[start:end], start, own_start, own_end)
        known.forget(left)
        first, own_start = last - left, own_end


class _Part(NamedTuple):
    """A part of a text, in characters and in UTF-8 bytes."""

    range: Range
    bytes: Range


class _Known:
    """The parts that are under way, drawn as they are asked for, and forgotten from the front."""

    def __init__(self, parts: Iterator[_Part]) -> None:
        self._source = parts
        self._parts: list[_Part] = []

    def __getitem__(self, at: int) -> _Part:
        return self._parts[at]

    def has(self, at: int) -> bool:
        """Whether there are that many."""
        while len(self._parts) <= at and (part := next(self._source, None)):
            self._parts.append(part)
        return at < len(self._parts)

    def forget(self, count: int) -> None:
        """The first that remains is number 0 from now on."""
        del self._parts[:count]


def _at_most(text: str, sentence: Range, size: int, part: int) -> Iterator[Range]:
    """The sentence if it has at most `size` bytes, else parts of at most `part`, cut at blanks if it has any."""
    start, end = sentence
    if end - start <= size and len(text[start:end].encode()) <= size:
        yield sentence
        return
    while (reach := start + _fitting(text[start : min(start + part, end)], part)) < end:
        cut = next((at for at in range(reach, start, -1) if text[at].isspace()), reach)
        yield Range(start, start + len(text[start:cut].rstrip()))
        start = _first_character(text, cut, end)
    yield Range(start, end)


def _fitting(text: str, size: int) -> int:
    """How many characters fit into `size` bytes; at least one."""
    return max(1, len(text.encode()[:size].decode(errors="ignore")))


def _in_bytes(text: str, parts: Iterable[Range]) -> Iterator[_Part]:
    """The same ranges, counted in UTF-8 bytes as well."""
    done = behind = 0
    for part in parts:
        begin = behind + len(text[done : part.start].encode())
        done, behind = part.end, begin + len(text[part.start : part.end].encode())
        yield _Part(part, Range(begin, behind))


def _context(known: _Known, first: int, last: int, overlap: int) -> tuple[int, int]:
    """The run [first, last), widened on either side by what fits into `overlap`."""
    left, right = first, last
    while left > 0 and known[first].bytes.start - known[left - 1].bytes.start <= overlap:
        left -= 1
    while known.has(right) and known[right].bytes.end - known[last - 1].bytes.end <= overlap:
        right += 1
    return left, right
