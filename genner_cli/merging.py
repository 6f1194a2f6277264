"""Entities of chunks, and of passes over them -> entities of the document. Knows nothing of models and formats."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import groupby

from genner_cli.types import Chunk, Entity, canonical_order


def owned(chunk: Chunk, entities: Iterable[Entity]) -> Iterator[Entity]:
    """Those that begin in the range which the chunk owns, and so are its to report, with offsets into the document."""
    for entity in entities:
        start = entity.start + chunk.start
        if chunk.own_start <= start < chunk.own_end:
            yield replace(entity, start=start, end=entity.end + chunk.start, rendering=())


def merge(entities: Iterable[Entity], depth: int) -> tuple[Entity, ...]:
    """The entities of a document, in canonical order, each once; they come from all its chunks and passes.

    Where two of them overlap in a way that `depth` does not allow (1: at all; else: crossing or nesting deeper), the
    better scored stays; of equals the first in canonical order.
    """
    ordered = sorted(entities, key=canonical_order)
    each_once = (next(same) for _, same in groupby(ordered))
    return tuple(_without_conflicts(each_once, depth))


def _without_conflicts(entities: Iterable[Entity], depth: int) -> Iterator[Entity]:
    kept: dict[Entity, None] = {}  # since no entity was around; the others are settled
    around: list[Entity] = []
    for entity in entities:
        while around and around[-1].end <= entity.start:
            around.pop()
        if not around:
            yield from kept
            kept.clear()
        rivals = [other for other in around if other.end < entity.end] or around[depth - 1 :]
        if any((entity.score or 0.0) <= (other.score or 0.0) for other in rivals):
            continue
        for rival in rivals:
            del kept[rival]
            around.remove(rival)
        kept[entity] = None
        around.append(entity)
    yield from kept
