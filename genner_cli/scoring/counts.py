"""Gold and predicted entities -> precision, recall, F1 by strict match.

Strict: same start, end and label (SemEval 2013 task 9). Knows nothing of files and models.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass

from genner_cli.types import Entity


@dataclass(frozen=True, slots=True)
class Counts:
    """Entities in both, in gold only, in the prediction only. Half a hit is half missed and half spurious."""

    hit: float = 0
    missed: float = 0
    spurious: float = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.hit + other.hit, self.missed + other.missed, self.spurious + other.spurious)

    @property
    def gold(self) -> float:
        """How many entities gold has."""
        return self.hit + self.missed

    @property
    def predicted(self) -> float:
        """How many entities the prediction has."""
        return self.hit + self.spurious

    @property
    def precision(self) -> float:
        """Hits among all predicted, in [0, 1]; 0 where nothing is predicted."""
        return self.hit / max(1, self.hit + self.spurious)

    @property
    def recall(self) -> float:
        """Hits among all gold, in [0, 1]; 0 where there is no gold."""
        return self.hit / max(1, self.hit + self.missed)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall, in [0, 1]."""
        return 2 * self.hit / max(1, 2 * self.hit + self.missed + self.spurious)


@dataclass(frozen=True, slots=True)
class Scores:
    """`micro` over all labels, and each label's own counts."""

    micro: Counts
    labels: dict[str, Counts]


def score(documents: Iterable[tuple[Sequence[Entity], Sequence[Entity]]]) -> Scores:
    """Strict scores of (gold, predicted) pairs, one for each document; repeated entities count once."""
    labels: dict[str, Counts] = {}
    for gold, predicted in documents:
        for label, counts in counts_by_label(set(gold), set(predicted)).items():
            labels[label] = labels.get(label, Counts()) + counts
    return Scores(sum(labels.values(), Counts()), {label: labels[label] for label in sorted(labels)})


def counts_by_label(gold: Set[Entity], predicted: Set[Entity]) -> dict[str, Counts]:
    """Strict counts of one document, for each label on either side."""
    hit = Counter(entity.label for entity in gold & predicted)
    missed = Counter(entity.label for entity in gold - predicted)
    spurious = Counter(entity.label for entity in predicted - gold)
    labels = hit.keys() | missed.keys() | spurious.keys()
    return {label: Counts(hit[label], missed[label], spurious[label]) for label in labels}
