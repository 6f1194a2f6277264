"""A long text -> chunks of the length that the model knows, at sentence borders, with offsets.

Knows nothing of tokens, models or labels: sizes are UTF-8 bytes, offsets are code points.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from genner_cli.types import Chunk, Range

_BORDER = re.compile(
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
    """Chunks of at most `size` UTF-8 bytes, or of one character where that has more.

    A chunk owns whole sentences; sentences of up to `overlap` bytes (default: size / 8, always less than
    size / 2) stand on either side of them as context, which the neighbours own. A sentence has one owner;
    one that is too long is cut at blanks, into parts that are short enough to be context. A blank text has
    no chunks.
    """
    overlap = max(0, min(size // 8 if overlap is None else overlap, (size - _LONGEST_CHARACTER) // 2))
    own = size - 2 * overlap
    parts = [part for sentence in sentences(text) for part in _at_most(text, sentence, own, min(own, overlap or own))]
    spans = list(_in_bytes(text, parts))
    for first, last in _pack(spans, own):
        left, right = _context(spans, first, last, overlap)
        start, end = parts[left].start, parts[right - 1].end
        own_start = parts[first].start if first else 0
        own_end = parts[last].start if last < len(parts) else len(text)
        yield Chunk(text[start:end], start, own_start, own_end)


def _at_most(text: str, sentence: Range, size: int, part: int) -> Iterator[Range]:
    """The sentence if it has at most `size` bytes, else parts of at most `part`, cut at blanks if it has any."""
    start, end = sentence
    if end - start <= size and len(text[start:end].encode()) <= size:
        yield sentence
        return
    while (reach := start + _fitting(text[start : min(start + part, end)], part)) < end:
        cut = next((at for at in range(reach, start, -1) if text[at].isspace()), reach)
        yield Range(start, start + len(text[start:cut].rstrip()))
        start = next(at for at in range(cut, end) if not text[at].isspace())
    yield Range(start, end)


def _fitting(text: str, size: int) -> int:
    """How many characters fit into `size` bytes; at least one."""
    return max(1, len(text.encode()[:size].decode(errors="ignore")))


def _in_bytes(text: str, parts: Iterable[Range]) -> Iterator[Range]:
    """The same ranges, counted in UTF-8 bytes."""
    done = behind = 0
    for start, end in parts:
        begin = behind + len(text[done:start].encode())
        done, behind = end, begin + len(text[start:end].encode())
        yield Range(begin, behind)


def _pack(spans: Sequence[Range], size: int) -> Iterator[tuple[int, int]]:
    """Runs (first, behind the last) of spans that fit into `size` together."""
    first = 0
    for number, span in enumerate(spans):
        if span.end - spans[first].start > size and number > first:
            yield first, number
            first = number
    if first < len(spans):
        yield first, len(spans)


def _context(spans: Sequence[Range], first: int, last: int, overlap: int) -> tuple[int, int]:
    """The run [first, last), widened on either side by what fits into `overlap`."""
    left, right = first, last
    while left > 0 and spans[first].start - spans[left - 1].start <= overlap:
        left -= 1
    while right < len(spans) and spans[right].end - spans[last - 1].end <= overlap:
        right += 1
    return left, right
