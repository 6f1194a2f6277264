"""Documents <-> tokens with a tag each, for the forms made of those, which carry flat entities of whole tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from genner_cli.data.tags import Scheme, Span, decode, encode
from genner_cli.data.tokens import tokenize, without_blanks
from genner_cli.errors import DataError
from genner_cli.files.forms.options import Lost, lose_scores, place, shown
from genner_cli.types import Document, Entity, Range


class Tagged(NamedTuple):
    """The tokens of a text, and the tag of each."""

    ranges: list[Range]
    tags: list[str]


def tagged(document: Document, scheme: Scheme, lost: Lost) -> Tagged:
    """The document's own tokens, or those of `tokenize`; tells the entities and scores that tags cannot say."""
    ranges = without_blanks(document.text, own_tokens(document, lost) or tokenize(document.text))
    lose_scores(document, lost)
    return Tagged(ranges, encode(len(ranges), _spans(document, ranges, lost), scheme))


def own_tokens(document: Document, lost: Lost) -> list[Range] | None:
    """The ranges in the field "tokens"; None, and told, where they are none of this text in order."""
    given = document.fields.get("tokens")
    if given is None:
        return None
    ranges = _ranges(given, len(document.text))
    if ranges is None:
        lost('fields "tokens" that are no ranges of the text', place(document))
    return ranges


def _ranges(given: Any, length: int) -> list[Range] | None:
    reach = 0
    found = []
    for item in given if isinstance(given, list) else [None]:
        if not (isinstance(item, list) and len(item) == 2 and all(type(number) is int for number in item)):
            return None
        if not reach <= item[0] < item[1] <= length:
            return None
        reach = item[1]
        found.append(Range(*item))
    return found


def _spans(document: Document, ranges: Sequence[Range], lost: Lost) -> Iterator[Span]:
    first = {start: number for number, (start, _) in enumerate(ranges)}
    end = {end: number + 1 for number, (_, end) in enumerate(ranges)}
    around: Entity | None = None
    for entity in document.entities:
        if around and entity.start < around.end:
            how = "nested" if entity.end <= around.end else "crossing"
            lost(f"{how} entities", f"{shown(document, entity)}, {around.text[:40]!r} ({around.label}) is kept")
        elif entity.start in first and entity.end in end:
            around = entity
            yield Span(first[entity.start], end[entity.end], entity.label)
        else:
            lost("entities with a border inside a token", shown(document, entity))


def entities_of(ranges: Sequence[Range], tags: Sequence[str], source: str) -> list[dict[str, Any]]:
    """The entities that the tags say, as records have them. Raises DataError for what is no tag."""
    try:
        spans = decode(tags)
    except DataError as error:
        raise DataError(f"{source}: {error}") from error
    return [{"start": ranges[span.first].start, "end": ranges[span.end - 1].end, "label": span.label} for span in spans]
