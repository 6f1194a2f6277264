"""A long text -> chunks of the length that the model knows, at sentence borders, with offsets.

Knows nothing of tokens, models or labels: sizes are code points.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from genner_cli.types import Chunk, Range

_BORDER = re.compile(
    r"""(?: [.!?…]+ ["'”’»)\]]* (?=\s+["'“‘«(\[¿¡]*[^\W_a-z]) \s+   # end of sentence, then no lower-case letter
          | [。！？]+ ["”’』」）]* \s*                                # CJK full stops need no blank
          | \s* \n \s*                                              # a line of its own
        )""",
    re.VERBOSE,
)
_NO_END = re.compile(
    r"(?:^|[\s(\"'“‘])(?:[^\W\d_]|Mr|Mrs|Ms|Dr|Prof|Rev|Gen|Col|Lt|Capt|Sgt|Sen|Rep|Gov|St|Mt|No|vs|Inc|Ltd|Co|Corp|Jr|Sr"
    r"|U\.S|U\.K|e\.g|i\.e|cf|Fig|al|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sep|Sept|Oct|Nov|Dec)\.$"
)
_LOOK_BACK = 12


def sentences(text: str) -> list[Range]:
    """The sentences of a text, blanks between them left out; each line ends a sentence."""
    found = []
    start = len(text) - len(text.lstrip())
    for border in _BORDER.finditer(text):
        end = border.start() + len(border[0].rstrip())
        if end <= start or _is_abbreviation(text, border, end):
            continue
        found.append(Range(start, end))
        start = border.end()
    last = len(text.rstrip())
    return [*found, Range(start, last)] if start < last else found


def _is_abbreviation(text: str, border: re.Match[str], end: int) -> bool:
    return "\n" not in border[0] and bool(_NO_END.search(text[max(0, end - _LOOK_BACK) : end]))


def split(text: str, size: int, overlap: int | None = None) -> Iterator[Chunk]:
    """Chunks of at most `size` code points (less one for a single too long word).

    A chunk owns whole sentences; sentences of up to `overlap` code points (default: size / 8) stand
    on either side of them as context, which the neighbours own. Every sentence has one owner.
    """
    overlap = size // 8 if overlap is None else overlap
    parts = [part for sentence in sentences(text) for part in _at_most(text, sentence, size - 2 * overlap)]
    for first, last in _pack(parts, size - 2 * overlap):
        start = _context_start(parts, first, overlap)
        end = _context_end(parts, last, overlap)
        own_start = parts[first].start if first else 0
        own_end = parts[last].start if last < len(parts) else len(text)
        yield Chunk(text[start:end], start, own_start, own_end)


def _at_most(text: str, sentence: Range, size: int) -> Iterator[Range]:
    """The sentence in parts of at most `size`, cut at blanks where there are any."""
    start, end = sentence
    while end - start > size:
        blank = next((at for at in range(start + size, start, -1) if text[at].isspace()), None)
        cut = blank or start + size
        yield Range(start, len(text[:cut].rstrip()) if blank else cut)
        start = next((at for at in range(cut, end) if not text[at].isspace()), end)
    if start < end:
        yield Range(start, end)


def _pack(parts: Sequence[Range], size: int) -> Iterator[tuple[int, int]]:
    """Runs (first, behind the last) of parts that fit into `size` together."""
    first = 0
    for number, part in enumerate(parts):
        if part.end - parts[first].start > size and number > first:
            yield first, number
            first = number
    if first < len(parts):
        yield first, len(parts)


def _context_start(parts: Sequence[Range], first: int, overlap: int) -> int:
    start = parts[first].start
    for part in reversed(parts[:first]):
        if parts[first].start - part.start > overlap:
            break
        start = part.start
    return start


def _context_end(parts: Sequence[Range], last: int, overlap: int) -> int:
    end = parts[last - 1].end
    for part in parts[last:]:
        if part.end - parts[last - 1].end > overlap:
            break
        end = part.end
    return end
