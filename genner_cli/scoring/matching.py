"""Gold and predicted entities of one document -> which stand for each other, by mode and as classes of errors.

The modes are those of SemEval 2013 task 9 (Segura-Bedmar et al. 2013, section 5): strict (boundaries and label),
exact (boundaries), partial (boundaries, half credit where they only overlap) and type (some overlap and the label). The
task does not say which of several overlapping entities stand for each other. Here each stands for at most one, and
a mode's credit is the largest that such a pairing can reach, so it does not depend on the order of entities.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from genner_cli.scoring.counts import Counts
from genner_cli.types import Entity, canonical_order

Fits = Callable[[Entity, Entity], bool]


class Mode(StrEnum):
    """When a predicted entity counts as a gold one."""

    STRICT = "strict"
    EXACT = "exact"
    PARTIAL = "partial"
    TYPE = "type"


class ErrorClass(StrEnum):
    """What is wrong with a predicted entity; the last one: a gold entity that no predicted one stands for."""

    LABEL = "wrong label"
    BOUNDARY = "wrong boundary"
    BOTH = "wrong label and boundary"
    SPURIOUS = "spurious"
    MISSED = "missed"


class Aligned(NamedTuple):
    """A gold and a predicted entity that stand for each other, or one that stands alone; `error` None: a hit."""

    gold: Entity | None
    predicted: Entity | None
    error: ErrorClass | None


def _same(gold: Entity, predicted: Entity) -> bool:
    return gold == predicted


def _same_boundaries(gold: Entity, predicted: Entity) -> bool:
    return (gold.start, gold.end) == (predicted.start, predicted.end)


def _overlap(gold: Entity, predicted: Entity) -> bool:
    return gold.start < predicted.end and predicted.start < gold.end


def _overlap_with_label(gold: Entity, predicted: Entity) -> bool:
    return gold.label == predicted.label and _overlap(gold, predicted)


def counts_by_mode(gold: Iterable[Entity], predicted: Iterable[Entity]) -> dict[Mode, Counts]:
    """The counts of one document in each mode; a repeated entity counts once."""
    credit = dict.fromkeys(Mode, 0.0)
    gold, predicted = set(gold), set(predicted)
    for near in _clusters(gold, predicted):
        exact, overlapping = map(len, _paired_by(*near, (_same_boundaries, _overlap)))
        credit[Mode.STRICT] += len(set(near[0]) & set(near[1]))
        credit[Mode.EXACT] += exact
        credit[Mode.PARTIAL] += exact + overlapping / 2  # no exact pair need be given up for a larger credit
        credit[Mode.TYPE] += len(_largest_pairing(*near, _overlap_with_label))
    return {mode: Counts(hit, len(gold) - hit, len(predicted) - hit) for mode, hit in credit.items()}


_CLASSES: dict[ErrorClass | None, Fits] = {
    None: _same,
    ErrorClass.LABEL: _same_boundaries,
    ErrorClass.BOUNDARY: _overlap_with_label,
    ErrorClass.BOTH: _overlap,
}


def align(gold: Iterable[Entity], predicted: Iterable[Entity]) -> Iterator[Aligned]:
    """Each entity of a document once: hits, then pairs of the same boundaries, then of one label, then that overlap."""
    for near in _clusters(set(gold), set(predicted)):
        alone = set(near[0]), set(near[1])
        for error, pairs in zip(_CLASSES, _paired_by(*near, _CLASSES.values()), strict=True):
            yield from (Aligned(one, other, error) for one, other in pairs.items())
            alone = alone[0] - pairs.keys(), alone[1] - set(pairs.values())
        yield from (Aligned(entity, None, ErrorClass.MISSED) for entity in sorted(alone[0], key=canonical_order))
        yield from (Aligned(None, entity, ErrorClass.SPURIOUS) for entity in sorted(alone[1], key=canonical_order))


def _clusters(gold: Iterable[Entity], predicted: Iterable[Entity]) -> Iterator[tuple[list[Entity], list[Entity]]]:
    """Entities that overlap, directly or by way of others, of both sides."""
    sided = [(entity, 0) for entity in gold] + [(entity, 1) for entity in predicted]
    cluster: tuple[list[Entity], list[Entity]] = ([], [])
    end = 0
    for entity, side in sorted(sided, key=lambda pair: canonical_order(pair[0])):
        if entity.start >= end and any(cluster):
            yield cluster
            cluster = ([], [])
        cluster[side].append(entity)
        end = max(end, entity.end)
    if any(cluster):
        yield cluster


def _paired_by(
    gold: Sequence[Entity], predicted: Sequence[Entity], rules: Iterable[Fits]
) -> Iterator[dict[Entity, Entity]]:
    """For each rule the largest pairing of what the rules before it have left."""
    left_gold, left_predicted = list(gold), list(predicted)
    for fits in rules:
        pairs = _largest_pairing(left_gold, left_predicted, fits)
        taken = set(pairs.values())
        left_gold = [entity for entity in left_gold if entity not in pairs]
        left_predicted = [entity for entity in left_predicted if entity not in taken]
        yield pairs


def _largest_pairing(gold: Sequence[Entity], predicted: Sequence[Entity], fits: Fits) -> dict[Entity, Entity]:
    """The most pairs of those that fit, each entity in one at most, as gold -> predicted (Berge 1957)."""
    fitting = {one: [other for other in predicted if fits(one, other)] for one in gold}
    partner: dict[Entity, Entity] = {}
    holder: dict[Entity, Entity] = {}
    # Taking the first that fits could spend a prediction that a later gold entity needs. So each one looks for a free
    # prediction along a path on which the gold entities before it change their partners (an augmenting path).
    for first in gold:
        reached = _reached(first, fitting, holder)
        free = next((other for other in reversed(reached) if other not in holder), None)
        while free is not None:  # along the way back to `first`, each gold entity changes its partner
            one = reached[free]
            holder[free] = one
            partner[one], free = free, partner.get(one)
    return partner


def _reached(
    first: Entity, fitting: Mapping[Entity, Sequence[Entity]], holder: Mapping[Entity, Entity]
) -> dict[Entity, Entity]:
    """Predicted entities that `first` could have if others changed theirs, as predicted -> gold one before it on the
    way; the search ends at one that nobody holds, which is then the last."""
    reached: dict[Entity, Entity] = {}
    tried = [first]
    for one in tried:
        for other in fitting[one]:
            if other in reached:
                continue
            reached[other] = one
            if other not in holder:
                return reached
            tried.append(holder[other])
    return reached
