"""Patterns and lists beside a model: what they find in a text, and how that meets what the model found.

Knows nothing of files and models.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace

from genner_cli.data.characters import inner_offsets
from genner_cli.expressions import finder
from genner_cli.types import Entity, Pattern, Patterns, Range, canonical_order
from genner_cli.wordlists import WordList, key_of

SOURCE = "pattern"
"""What `Entity.source` is of an entity that a pattern found."""


class PatternFinder:
    """Patterns that are ready for use. Raises UsageError for one that is wrong (`expressions.finder`)."""

    def __init__(self, patterns: Patterns) -> None:
        self._finders = [(pattern.label, find) for pattern in patterns.patterns for find in _finders(pattern)]
        self._allowed = frozenset(key_of(mention, fold=False) for mention in patterns.allowed)

    def find(self, text: str) -> list[Entity]:
        """The entities in a text, from left to right, whole visible characters each. Of two that overlap the longer
        stays; of equals that of the first pattern. Raises DataError where an expression takes too long."""
        inside = inner_offsets(text)
        matches = [
            (start - end, number, start, end, label)
            for number, (label, find) in enumerate(self._finders)
            for start, end in (_grown(match, inside) for match in find(text))
        ]
        chosen: list[Entity] = []
        for _, _, start, end, label in sorted(matches):
            entity = Entity(start, end, label, text[start:end], source=SOURCE)
            if not self._is_allowed(entity) and not _overlapping(chosen, entity):
                insort(chosen, entity, key=_start)
        return chosen

    def merged(self, text: str, entities: Iterable[Entity], depth: int) -> tuple[Entity, ...]:
        """The model's entities and those of the patterns, in canonical order.

        Every match is an entity, and nothing that the model covers is uncovered, save what the allow list names: what
        a match does not cover of a model's entity stays. Only a match inside a longer entity of the same label is that
        entity; and where entities may nest, of two of which one contains the other both stay.
        """
        given = [entity for entity in entities if not self._is_allowed(entity)]
        matches = self.find(text)
        inside = {match for entity in given for match in _overlapping(matches, entity) if _is_part(match, entity)}
        matches = [match for match in matches if match not in inside]
        nested, cut = depth > 1, inner_offsets(text)
        rest = (
            part for entity in given for part in _cut(text, cut, entity, _overlapping(matches, entity), nested=nested)
        )
        return tuple(sorted(dict.fromkeys([*matches, *rest]), key=canonical_order))

    def _is_allowed(self, entity: Entity) -> bool:
        return bool(self._allowed) and key_of(entity.text, fold=False) in self._allowed


def _finders(pattern: Pattern) -> Iterator[Callable[[str], Iterator[Range]]]:
    if pattern.expression is not None or pattern.check is not None:
        yield finder(pattern)
    if pattern.words:
        words = WordList(pattern.words, fold=pattern.ignore_case)
        yield lambda text: (Range(start, end) for start, end, _ in words.find(text))


def _grown(match: Range, inside: Collection[int]) -> Range:
    """The match with the visible characters that it cuts; `inside`: the `inner_offsets` of the text."""
    start, end = match
    while start in inside:
        start -= 1
    while end in inside:
        end += 1
    return Range(start, end)


def _is_outer(character: str, nested: bool) -> bool:
    """Whether a character that is next to a match is left out with it: white space, and punctuation; but no entity
    inside may end in the latter."""
    return character.isspace() or (not nested and unicodedata.category(character)[0] == "P")


def _start(entity: Entity) -> int:
    return entity.start


def _overlapping(ordered: Sequence[Entity], entity: Entity) -> Sequence[Entity]:
    """Those of entities in order, which do not overlap each other, that overlap another one."""
    first = bisect_right(ordered, entity.start, key=_start)
    first -= first > 0 and ordered[first - 1].end > entity.start
    return ordered[first : bisect_left(ordered, entity.end, key=_start)]


def _contains(outer: Entity, inner: Entity) -> bool:
    """Whether one is longer and has the other in it."""
    longer = outer.end - outer.start > inner.end - inner.start
    return longer and outer.start <= inner.start and inner.end <= outer.end


def _is_part(match: Entity, entity: Entity) -> bool:
    return match.label == entity.label and _contains(entity, match)


def _cut(
    text: str, inside: Collection[int], entity: Entity, matches: Sequence[Entity], *, nested: bool
) -> Iterator[Entity]:
    """What matches leave of a model's entity: all of it, or its parts with a letter or a digit."""
    cutting = [each for each in matches if not (nested and (_contains(entity, each) or _contains(each, entity)))]
    if not cutting:
        yield entity
        return
    starts = [entity.start, *(each.end for each in cutting)]
    ends = [*(each.start for each in cutting), entity.end]
    for rest in map(Range, starts, ends):
        start, end = rest
        while entity.start < start < end and _is_outer(text[start], nested):
            start += 1
        while start < end < entity.end and _is_outer(text[end - 1], nested):
            end -= 1
        whole = _grown(Range(start, end), inside)
        start, end = max(whole.start, rest.start), min(whole.end, rest.end)
        if any(map(str.isalnum, text[start:end])):
            yield replace(entity, start=start, end=end, text=text[start:end])
