"""A document -> tokens as spaCy has them: together with single blanks behind them they are the text."""

from __future__ import annotations

from typing import NamedTuple

from genner_cli.data.tokens import cut, tokenize
from genner_cli.files.forms.options import Lost
from genner_cli.files.forms.tagged import own_tokens
from genner_cli.types import Document, Range


class SpacyToken(NamedTuple):
    """`text[start:end]`; `ws`: a blank follows that belongs to it."""

    start: int
    end: int
    ws: bool


def spacy_tokens(document: Document, lost: Lost) -> list[SpacyToken]:
    """The document's own tokens or those of `tokenize`, divided at the borders of entities; other white space than
    one blank behind a token is a token too."""
    text = document.text
    ranges = own_tokens(document, lost) or tokenize(text)
    borders = [border for entity in document.entities for border in (entity.start, entity.end)]
    ranges = cut(ranges, borders)
    found: list[SpacyToken] = []
    at = 0
    for start, end in [*ranges, Range(len(text), len(text))]:
        ws = bool(found) and text.startswith(" ", at) and at < start
        if ws:
            found[-1] = found[-1]._replace(ws=True)
        if at + ws < start:
            found += [SpacyToken(*gap, False) for gap in cut([Range(at + ws, start)], borders)]
        if start < end:
            found.append(SpacyToken(start, end, False))
        at = end
    return found
