"""Labelled documents -> the same with every entity replaced by an unseen one of its label, its offsets rebuilt."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

from genner_cli.types import Document, Entity

Inner = tuple[tuple[int, int, str], ...]


@dataclass(frozen=True, slots=True, order=True)
class Mention:
    """A text and, for nested data, the entities within it: offsets into it, and labels."""

    text: str
    inner: Inner = ()


Pool = Mapping[str, Sequence[Mention]]
"""By label, sorted."""


@dataclass(frozen=True, slots=True)
class Swapped:
    """`replaced` and `kept` count entities that lie in no other; kept are those whose label has no other mention."""

    documents: tuple[Document, ...]
    replaced: int
    kept: Mapping[str, int]


def unseen_pool(documents: Iterable[Document], seen: Iterable[Document]) -> Pool:
    """The mentions of documents, by label, that `seen` has under no label, whatever their case; nor any within them."""
    known = {entity.text.casefold() for document in seen for entity in document.entities}
    pool: dict[str, set[Mention]] = defaultdict(set)
    for document in documents:
        for outer, inner in _outermost(document.entities):
            if not any(entity.text.casefold() in known for entity in (outer, *inner)):
                pool[outer.label].add(Mention(outer.text, _relative(outer, inner)))
    return {label: sorted(mentions) for label, mentions in pool.items()}


def swap(documents: Sequence[Document], pool: Pool, *, seed: int = 0) -> Swapped:
    """Replaces each outermost entity, and what lies in it, by another mention; the same for the same seed."""
    done = []
    replaced = 0
    kept: dict[str, int] = defaultdict(int)
    for number, document in enumerate(documents):
        draw = Random(f"{seed} {number}")
        changes: list[tuple[Entity, Mention]] = []
        for outer, inner in _outermost(document.entities):
            choices = [each for each in pool.get(outer.label, ()) if each.text.casefold() != outer.text.casefold()]
            kept[outer.label] += not choices
            replaced += bool(choices)
            mention = draw.choice(choices) if choices else Mention(outer.text, _relative(outer, inner))
            changes.append((outer, mention))
        done.append(_rebuilt(document, changes))
    return Swapped(tuple(done), replaced, {label: count for label, count in sorted(kept.items()) if count})


def _outermost(entities: Sequence[Entity]) -> Iterator[tuple[Entity, list[Entity]]]:
    """The entities that lie in no other, in canonical order, each with those that lie in it."""
    rest = list(entities)
    while rest:
        outer = rest.pop(0)
        inner = []
        while rest and rest[0].end <= outer.end:
            inner.append(rest.pop(0))
        yield outer, inner


def _relative(outer: Entity, inner: Sequence[Entity]) -> Inner:
    return tuple((each.start - outer.start, each.end - outer.start, each.label) for each in inner)


def _rebuilt(document: Document, changes: Sequence[tuple[Entity, Mention]]) -> Document:
    text, at = "", 0
    places: list[tuple[int, int, str]] = []
    for outer, mention in changes:
        text += document.text[at : outer.start]
        places.append((len(text), len(text) + len(mention.text), outer.label))
        places += [(len(text) + start, len(text) + end, label) for start, end, label in mention.inner]
        text += mention.text
        at = outer.end
    text += document.text[at:]
    entities = tuple(Entity(start, end, label, text[start:end]) for start, end, label in places)
    return replace(document, text=text, entities=entities)
