"""A completion, well-formed or not -> the entities that it claims, and which of them are invented.

Invented is a mention that the text does not have, or not where it is said to stand: at its offsets, as its k-th
occurrence. A strict parser refuses the whole completion there; here the rest of it still counts.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from genner_cli.formats import bracketed, inserted, xml
from genner_cli.formats.borders import Mentions
from genner_cli.formats.inline import Style


class Claim(NamedTuple):
    """A mention, as claimed; `start` and `end`, or the number of its occurrence from 1, where the format says so."""

    mention: str
    start: int | None = None
    end: int | None = None
    occurrence: int | None = None


def claims(completion: str, format: str) -> list[Claim]:
    """All that are whole, in order of their ends."""
    return list(_READERS[format](completion))


def is_invented(claim: Claim, text: str) -> bool:
    """Whether the text does not have it, or not there."""
    if not claim.mention:
        return True
    if claim.start is not None and claim.end is not None:
        return claim.start < 0 or text[claim.start : claim.end] != claim.mention
    if claim.occurrence is not None:
        return not 1 <= claim.occurrence <= len(Mentions(text).occurrences(claim.mention))
    return claim.mention not in text


def _inline(style: Style) -> Callable[[str], Iterator[Claim]]:
    unescape = {escaped: char for char, escaped in style.escapes.items()}

    def read(completion: str) -> Iterator[Claim]:
        frames: list[list[str]] = []
        at = 0
        while at < len(completion):
            match = style.scan.match(completion, at)
            if match is None or match["char"] is not None or match["escaped"] is not None:
                char = completion[at] if match is None else match["char"] or unescape[match["escaped"]]
                for frame in frames:
                    frame.append(char)
            elif match["open"] is not None:
                frames.append([])
            elif frames:
                yield Claim("".join(frames.pop()).removeprefix(" " if style.blank_inside else ""))
            at = match.end() if match else at + 1

    return read


def _items(completion: str) -> Iterator[Mapping[str, Any]]:
    """The JSON objects that are whole, whatever stands around them."""
    decoder = json.JSONDecoder()
    at = completion.find("{")
    while at >= 0:
        try:
            value, end = decoder.raw_decode(completion, at)
        except (ValueError, RecursionError):
            value, end = None, at + 1
        if isinstance(value, dict):
            yield value
        at = completion.find("{", end)


def _number(value: Any) -> int:
    """A place that nothing stands at for what is no number."""
    return value if type(value) is int else -1


def _offset(completion: str) -> Iterator[Claim]:
    for item in _items(completion):
        if isinstance(item.get("text"), str):
            yield Claim(item["text"], start=_number(item.get("start")), end=_number(item.get("end")))


def _occurrence(completion: str) -> Iterator[Claim]:
    for item in _items(completion):
        if isinstance(item.get("text"), str):
            yield Claim(item["text"], occurrence=_number(item.get("occurrence_index")))


_STRING = r'"(?:[^"\\\x00-\x1f]|\\.)*"'
_CATEGORY = re.compile(rf"(?P<key>{_STRING})\s*:\s*\[|(?P<mention>{_STRING})")


def _category(completion: str) -> Iterator[Claim]:
    """The k-th listing of a mention is its k-th occurrence."""
    listed: Counter[str] = Counter()
    for match in _CATEGORY.finditer(completion):
        if match["mention"]:
            mention = _text(match["mention"])
            listed[mention] += 1
            yield Claim(mention, occurrence=listed[mention])


def _text(quoted: str) -> str:
    try:
        return str(json.loads(quoted))
    except ValueError:
        return quoted[1:-1]


_READERS: Mapping[str, Callable[[str], Iterator[Claim]]] = {
    "bracketed": _inline(bracketed.STYLE),
    "xml": _inline(xml.STYLE),
    "inserted": _inline(inserted.STYLE),
    "category": _category,
    "occurrence": _occurrence,
    "offset": _offset,
}
