"""Flat entities over tokens <-> a tag for each token, in the schemes IOB1, IOB2 and BILOU.

    IOB2   every entity begins with B-          B-PER I-PER O     B-LOC
    IOB1   only one that follows its like does  I-PER I-PER O     I-LOC
    BILOU  also marks the last and the only one B-PER L-PER O     U-LOC

Read are also BIOES, BMES and BMEWO, which have other letters for the same, and the brackets of CoNLL-2012: `(PER*`,
`*`, `*)`, `(LOC)`. Knows nothing of texts and files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple

from genner_cli.errors import DataError

OUTSIDE = "O"
_BEGINS, _ENDS = "BUSW", "LEUSW"
_LETTERS = frozenset("BILUESMW")
_BRACKETS = re.compile(r"(?:\((?P<label>[^()*\s]+))?\*?(?P<close>\))?")


class Scheme(StrEnum):
    """A way to tag."""

    IOB1 = "iob1"
    IOB2 = "iob2"
    BILOU = "bilou"


class Span(NamedTuple):
    """Tokens `[first, end)` that make an entity."""

    first: int
    end: int
    label: str


def encode(count: int, spans: Iterable[Span], scheme: Scheme) -> list[str]:
    """The tags of `count` tokens; the spans are in order and do not overlap."""
    tags = [OUTSIDE] * count
    before = Span(0, 0, "")
    for span in spans:
        follows_its_like = before.end == span.first and before.label == span.label
        for at in range(span.first, span.end):
            tags[at] = f"{_letter(span, at, follows_its_like, scheme)}-{span.label}"
        before = span
    return tags


def _letter(span: Span, at: int, follows_its_like: bool, scheme: Scheme) -> str:
    first, last = at == span.first, at == span.end - 1
    if scheme is Scheme.BILOU:
        return "U" if first and last else "B" if first else "L" if last else "I"
    return "B" if first and (scheme is Scheme.IOB2 or follows_its_like) else "I"


def decode(tags: Sequence[str]) -> list[Span]:
    """The spans of tags in any of the schemes that are read.

    An I- where no entity of its label is open begins one, as IOB1 has it. Raises DataError for what is not a tag.
    """
    if any(tag[:1] in ("(", "*") and _is_bracket(tag) for tag in tags):
        return _bracketed(tags)
    spans: list[Span] = []
    first, label = 0, ""
    for at, tag in enumerate([*tags, OUTSIDE]):
        letter, its_label = _parts(tag)
        if label and (letter in "O" + _BEGINS or its_label != label):
            spans.append(Span(first, at, label))
            label = ""
        if letter != OUTSIDE and not label:
            first, label = at, its_label
        if letter in _ENDS:
            spans.append(Span(first, at + 1, label))
            label = ""
    return spans


def is_tag(text: str) -> bool:
    """Whether this is a tag in any of the schemes that are read."""
    letter, separator, label = text[:1], text[1:2], text[2:]
    return text == OUTSIDE or (letter in _LETTERS and separator in ("-", "_") and bool(label)) or _is_bracket(text)


def _parts(tag: str) -> tuple[str, str]:
    """The letter and the label."""
    if not is_tag(tag) or _is_bracket(tag):
        raise DataError(f"{tag!r} is not a tag; write O, or B-, I-, L- or U- and a label")
    return tag[0], tag[2:]


def _is_bracket(text: str) -> bool:
    return bool(text) and text != ")" and bool(_BRACKETS.fullmatch(text))


def _bracketed(tags: Sequence[str]) -> list[Span]:
    """The spans of brackets. Raises DataError where they do not match."""
    spans = []
    first, label = 0, ""
    for at, tag in enumerate(tags):
        match = _BRACKETS.fullmatch(tag) if _is_bracket(tag) else None
        if match is None or (match["label"] and label) or (match["close"] and not (match["label"] or label)):
            raise DataError(f"{tag!r} is not a bracket that may stand here; write *, (LABEL*, *) or (LABEL)")
        if match["label"]:
            first, label = at, match["label"]
        if match["close"]:
            spans.append(Span(first, at + 1, label))
            label = ""
    if label:
        raise DataError(f"the bracket of {label!r} is not closed; write *) at its last token")
    return spans
