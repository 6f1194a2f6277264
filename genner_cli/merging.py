"""Entities of chunks -> entities of the document. Knows nothing of models and formats."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from genner_cli.types import Chunk, Entity, canonical_order


def merge(parts: Iterable[tuple[Chunk, Iterable[Entity]]], depth: int) -> tuple[Entity, ...]:
    """The entities of a document, in canonical order, offsets into its text.

    A chunk reports the entities that begin in the range it owns. Where two of them still overlap in a
    way that `depth` does not allow (1: at all; else: crossing or nesting deeper), the better scored stays.
    """
    found: dict[Entity, None] = {}
    for chunk, entities in parts:
        for entity in _own(chunk, entities):
            found.setdefault(entity)
    return tuple(_without_conflicts(sorted(found, key=canonical_order), depth))


def _own(chunk: Chunk, entities: Iterable[Entity]) -> Iterator[Entity]:
    for entity in entities:
        start = entity.start + chunk.start
        if chunk.own_start <= start < chunk.own_end:
            yield replace(entity, start=start, end=entity.end + chunk.start)


def _without_conflicts(entities: Iterable[Entity], depth: int) -> list[Entity]:
    kept: list[Entity] = []
    around: list[Entity] = []
    for entity in entities:
        while around and around[-1].end <= entity.start:
            around.pop()
        rivals = [other for other in around if other.end < entity.end] or around[depth - 1 :]
        if any((entity.score or 0.0) <= (other.score or 0.0) for other in rivals):
            continue
        for rival in rivals:
            kept.remove(rival)
            around.remove(rival)
        kept.append(entity)
        around.append(entity)
    return kept
