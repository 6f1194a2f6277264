"""Open JSON: `[{"John Smith": "person"}, {"New York": "city"}]`: mentions with labels of any name.

After NuNER's annotation (arXiv 2402.15343, section 3), where a model names what it finds. Without labels, a label is
one to four words of the letters a to z, with hyphens; with labels, it is one of them. Canonical: items by position; the
k-th listing of a text is its k-th occurrence between word boundaries, so an entity whose earlier occurrences are not
entities cannot be carried.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from genner_cli.errors import DataError
from genner_cli.formats import Claim, Rendering, select
from genner_cli.formats.shared import gbnf, json_text, listing, listing_lock
from genner_cli.formats.shared.boundaries import Mentions
from genner_cli.formats.shared.free_labels import (
    BYTES,
    FREE_LABEL,
    GBNF_LABEL,
    GBNF_WORD,
    MOST_WORDS,
    Progress,
    is_free_label,
)
from genner_cli.formats.shared.listing import ListingFormat
from genner_cli.formats.shared.listing_lock import Done, ItemsLock, Naming, Opening, Reading, Span, Taken
from genner_cli.locking import Edge, Free, State
from genner_cli.types import Entity, Range, canonical_order


def _unless_free(entity: Entity) -> str | None:
    """Why an entity cannot be carried without a list of labels."""
    wanted = f"one to {MOST_WORDS} words of lower-case letters"
    return None if is_free_label(entity.label) else f"label {entity.label!r} is not {wanted}"


class Open(ListingFormat):
    """A list of objects, each with a mention as its key and the label as its value."""

    task = "List the named entities of the text as a JSON list of objects: the mention as key, its label as value."
    free_labels = True

    def render(self, text: str, entities: Sequence[Entity], labels: Sequence[str], *, depth: int = 1) -> Rendering:
        names = labels or [entity.label for entity in entities]
        kept, left_out = select(text, entities, names, depth, None if labels else _unless_free)
        counted = listing.counted(Mentions(text), kept)
        items = [{entity.text: entity.label} for entity in counted.entities]
        return Rendering(json.dumps(items, ensure_ascii=False), left_out + counted.left_out)

    def grammar(self, labels: Sequence[str], *, depth: int = 1) -> str:
        """The same for any depth."""
        label = gbnf.one_of(json.dumps(label, ensure_ascii=False) for label in labels)
        return gbnf.rules(
            root='"[]" | "[" item (", " item)* "]"',
            item=r'"{\"" char+ "\": " label "}"',
            label=label or rf'"\"" {GBNF_LABEL} "\""',
            word=GBNF_WORD,
            char=json_text.CHARACTER,
        )

    def lock(self, text: str, labels: Sequence[str], *, depth: int = 1, whole_words: bool = True) -> ItemsLock:
        return _Lock(text, tuple(labels), depth)

    def parse(self, completion: str, text: str) -> list[Entity]:
        scanner, occurrences = json_text.Scanner(completion), listing.Occurrences(text)
        entities = []
        scanner.take("[")
        more = scanner.take("{", "]") == "{"
        while more:
            entities.append(_item(scanner, occurrences, text))
            more = scanner.take(",", "]") == ","
            if more:
                scanner.take("{")
        scanner.end()
        return sorted(entities, key=canonical_order)

    def items(self, value: list[Any] | dict[str, Any]) -> Iterable[Any]:
        if not isinstance(value, list):
            return super().items(value)
        if not all(isinstance(item, dict) for item in value):
            raise DataError("the completion lists something else than objects")
        return listing.counted_items(_pairs(value))

    def claims(self, completion: str) -> Iterator[Claim]:
        """The k-th listing of a mention is its k-th occurrence."""
        listed: Counter[str] = Counter()
        for match in _KEYS.finditer(completion):
            mention = json_text.unquoted(match[1])
            listed[mention] += 1
            yield Claim(mention, occurrence=listed[mention])

    def official_tuples(self, value: Any) -> Iterable[tuple[Any, ...]]:
        """The paper has no such format; each pair of key and value is an entity."""
        return ((str(label), mention) for mention, label in _pairs(value))


_KEYS = re.compile(rf"({json_text.STRING})\s*:")


def _pairs(value: Any) -> Iterator[tuple[Any, Any]]:
    """Mentions with their labels."""
    for item in value if isinstance(value, list) else ():
        yield from item.items() if isinstance(item, dict) else ()


def _item(scanner: json_text.Scanner, occurrences: listing.Occurrences, text: str) -> Entity:
    """The entity of an object whose brace is read."""
    began = scanner.began
    mention = scanner.string()
    scanner.take(":")
    label = scanner.string()
    scanner.take("}")
    return listing.located(text, occurrences.next(mention), mention, label, Range(began, scanner.at))


@dataclass(frozen=True, eq=False)
class _Lock(ItemsLock):
    """The spans that are taken have no labels where these are free."""

    item = b'{"'

    def spans(self, place: Any, taken: Taken, mention: str) -> Iterator[Span]:
        start = self._next(taken, mention)
        if start is not None:
            spans = (Span(start, start + len(mention), label) for label in self.labels or ("",))
            yield from (span for span in spans if listing_lock.fits(taken, span, self.depth))

    def listable(self, place: Any, taken: Taken, start: int, end: int) -> bool:
        return any(span.start == start for span in self.spans(place, taken, self.text[start:end]))

    def closing(self, state: Reading, mention: str) -> Iterator[Edge]:
        for span in self.spans(True, state.taken, mention):
            if self.labels:
                yield Edge(_named(span.label), Opening(True, state.taken | {span}))
            else:
                yield Edge(b'": "', Free(FREE_LABEL, Progress(), state.taken | {span}))

    def naming(self, state: Naming) -> Iterator[Edge]:
        raise AssertionError("open JSON names nothing behind the label")

    def _find_edges(self, state: State) -> Iterator[Edge]:
        if not isinstance(state, Free):
            yield from super()._find_edges(state)
            return
        for byte in BYTES:
            after = FREE_LABEL.after(state.at, byte)
            if after:
                yield Edge(byte, state._replace(at=after))
        if not _needs_letter(state):
            yield Edge(b'"}', Opening(True, state.outer))

    def inside(self, state: State) -> bool:
        return isinstance(state, Free) or super().inside(state)

    def tail(self, state: State) -> int:
        if isinstance(state, Done):
            return 0
        if isinstance(state, Opening):
            return len("]") if state.place else len("[]")
        if isinstance(state, Free):
            return _needs_letter(state) + len('"}]')
        return self._shortest_name + len("]")

    @cached_property
    def _shortest_name(self) -> int:
        return min((len(_named(label)) for label in self.labels), default=len('": "a"}'))


def _needs_letter(state: Free) -> bool:
    assert isinstance(state.at, Progress)
    return state.at.needs_letter


def _named(label: str) -> bytes:
    return b'": ' + json.dumps(label, ensure_ascii=False).encode() + b"}"


FORMAT = Open()
