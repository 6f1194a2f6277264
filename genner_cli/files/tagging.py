"""Documents <-> tokens with a tag each, or tokens as spaCy has them, for the annotation formats made of those.

Tags carry flat entities of whole tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from genner_cli.data.tags import Scheme, Span, decode, encode, is_tag
from genner_cli.data.tokens import cut, tokenize, without_spaces
from genner_cli.errors import DataError
from genner_cli.files.annotations import Dropped, place, shown
from genner_cli.types import Document, Entity, Range

_GLUED = ("SpaceAfter=No", "NoSpaceAfter")


class Tagged(NamedTuple):
    """The tokens of a text, and the tag of each."""

    ranges: list[Range]
    tags: list[str]


def tagged(document: Document, scheme: Scheme, dropped: Dropped) -> Tagged:
    """The document's own tokens, or those of `tokenize`; drops the entities and scores that tags cannot carry."""
    ranges = without_spaces(document.text, own_tokens(document, dropped) or tokenize(document.text))
    dropped.drop_scores(document)
    return Tagged(ranges, encode(len(ranges), _spans(document, ranges, dropped), scheme))


def own_tokens(document: Document, dropped: Dropped) -> list[Range] | None:
    """The ranges in the field "tokens"; None, and counted as dropped, where they are not of this text in order."""
    given = document.fields.get("tokens")
    if given is None:
        return None
    ranges = _ranges(given, len(document.text))
    if ranges is None:
        dropped('fields "tokens" that are not ranges of the text', place(document))
    return ranges


def _ranges(given: Any, length: int) -> list[Range] | None:
    reach = 0
    ranges = []
    for item in given if isinstance(given, list) else [None]:
        if not (isinstance(item, list) and len(item) == 2 and all(type(number) is int for number in item)):
            return None
        if not reach <= item[0] < item[1] <= length:
            return None
        reach = item[1]
        ranges.append(Range(*item))
    return ranges


def _spans(document: Document, ranges: Sequence[Range], dropped: Dropped) -> Iterator[Span]:
    first = {start: number for number, (start, _) in enumerate(ranges)}
    end = {end: number + 1 for number, (_, end) in enumerate(ranges)}
    around: Entity | None = None
    for entity in document.entities:
        if around and entity.start < around.end:
            how = "nested" if entity.end <= around.end else "crossing"
            dropped(f"{how} entities", f"{shown(document, entity)}, {around.text[:40]!r} ({around.label}) is kept")
        elif entity.start in first and entity.end in end:
            around = entity
            label = entity.label.strip()
            if label != entity.label:
                dropped("spaces around labels", shown(document, entity))
            yield Span(first[entity.start], end[entity.end], label)
        else:
            dropped("entities with a boundary inside a token", shown(document, entity))


def entities_of(ranges: Sequence[Range], tags: Sequence[str], places: Sequence[str]) -> list[dict[str, Any]]:
    """The entities of the tags, as records have them; `places` name file and line of each token.

    Raises DataError for what is not a tag.
    """
    bad = next((number for number, tag in enumerate(tags) if not is_tag(tag)), 0)
    try:
        spans = decode(tags)
    except DataError as error:
        raise DataError(f"{places[bad]}: {error}; see --tag-column") from error
    return [{"start": ranges[span.first].start, "end": ranges[span.end - 1].end, "label": span.label} for span in spans]


def is_glued(cells: Iterable[str]) -> bool:
    """Whether a column says that no space follows the token, as in CoNLL-U and HIPE."""
    return any(mark in cell.split("|") for cell in cells for mark in _GLUED if mark in cell)


def spaced(words: Sequence[str], glued: Sequence[bool]) -> tuple[str, list[Range]]:
    """A text of these words with a space behind each that is not glued, and where each word stands in it."""
    ranges = []
    at = 0
    for word, tight in zip(words, glued, strict=True):
        ranges.append(Range(at, at + len(word)))
        at += len(word) + (not tight)
    parts = [word + " " * (not tight) for word, tight in zip(words, glued, strict=True)]
    return "".join(parts).rstrip(" "), ranges


class SpacyToken(NamedTuple):
    """`text[start:end]`; `ws`: whether a space belongs to it that follows."""

    start: int
    end: int
    ws: bool


def spacy_tokens(document: Document, dropped: Dropped) -> list[SpacyToken]:
    """The document's own tokens or those of `tokenize`, divided at the boundaries of entities; other white space
    than one space behind a token is a token too: together they are the text."""
    text = document.text
    ranges = own_tokens(document, dropped) or tokenize(text)
    boundaries = [offset for entity in document.entities for offset in (entity.start, entity.end)]
    ranges = cut(ranges, boundaries)
    tokens: list[SpacyToken] = []
    at = 0
    for start, end in [*ranges, Range(len(text), len(text))]:
        ws = bool(tokens) and text.startswith(" ", at) and at < start
        if ws:
            tokens[-1] = tokens[-1]._replace(ws=True)
        if at + ws < start:
            tokens += [SpacyToken(*gap, False) for gap in cut([Range(at + ws, start)], boundaries)]
        if start < end:
            tokens.append(SpacyToken(start, end, False))
        at = end
    return tokens
