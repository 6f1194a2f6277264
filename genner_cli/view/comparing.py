"""Gold and predicted entities of a document -> what became of each. Pure; knows nothing of pages.

A predicted entity is judged by gold alone, whatever else is predicted and whatever its score: so a page can hide
entities of low scores without judging the others anew. Its gold is then missed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from genner_cli.types import Entity, canonical_order


class Verdict(StrEnum):
    """What became of an entity; the last is for gold entities, the others are for predicted ones."""

    HIT = "hit"
    WRONG_LABEL = "wrong label"
    WRONG_BORDER = "wrong border"
    SPURIOUS = "spurious"
    MISSED = "missed"


@dataclass(frozen=True, slots=True)
class Judged:
    """A predicted entity, its verdict, and the gold entity that it was meant for, None for a spurious one."""

    entity: Entity
    verdict: Verdict
    gold: Entity | None


def compare(gold: Sequence[Entity], predicted: Sequence[Entity]) -> list[Judged]:
    """Each predicted entity, in order, judged by gold.

    Hit: gold has start, end and label. Wrong label: gold that nothing hits has its start and end. Wrong border: gold of
    its label that nothing hits overlaps it; of several, the one most like it. Gold that no result names is missed.
    """
    hits = set(gold) & set(predicted)
    unhit = sorted(set(gold) - hits, key=canonical_order)
    spans = {(entity.start, entity.end): entity for entity in reversed(unhit)}
    overlapping = _most_alike(unhit, [entity for entity in predicted if entity not in hits])

    def judge(entity: Entity) -> Judged:
        if entity in hits:
            return Judged(entity, Verdict.HIT, entity)
        if same := spans.get((entity.start, entity.end)):
            return Judged(entity, Verdict.WRONG_LABEL, same)
        near = overlapping.get(entity)
        return Judged(entity, Verdict.WRONG_BORDER if near else Verdict.SPURIOUS, near)

    return [judge(entity) for entity in predicted]


def missed(gold: Sequence[Entity], judged: Sequence[Judged]) -> list[Entity]:
    """The gold entities that no predicted one was meant for, in order."""
    named = {result.gold for result in judged}
    return [entity for entity in gold if entity not in named]


def _most_alike(gold: Sequence[Entity], predicted: Sequence[Entity]) -> dict[Entity, Entity]:
    """For each predicted entity that overlaps gold of its label, the gold that shares most of their common range."""
    found: dict[Entity, list[Entity]] = defaultdict(list)
    for theirs, mine in _overlaps(gold, predicted):
        found[mine].append(theirs)
    return {mine: max(theirs, key=lambda entity: _likeness(entity, mine)) for mine, theirs in found.items()}


def _overlaps(gold: Sequence[Entity], predicted: Sequence[Entity]) -> Iterator[tuple[Entity, Entity]]:
    """All pairs of one label that overlap, found in one pass from left to right."""
    both = [(entity, True) for entity in gold] + [(entity, False) for entity in predicted]
    running: list[tuple[Entity, bool]] = []
    for entity, is_gold in sorted(both, key=lambda pair: canonical_order(pair[0])):
        running = [pair for pair in running if pair[0].end > entity.start]
        for other, other_is_gold in running:
            if is_gold != other_is_gold and entity.label == other.label:
                yield (entity, other) if is_gold else (other, entity)
        running.append((entity, is_gold))


def _likeness(one: Entity, other: Entity) -> float:
    """Intersection over union, in (0, 1]."""
    shared = min(one.end, other.end) - max(one.start, other.start)
    return shared / (max(one.end, other.end) - min(one.start, other.start))
