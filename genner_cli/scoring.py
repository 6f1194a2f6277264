"""Gold and predicted entities -> precision, recall, F1 by strict match.

Strict: same start, end and label (SemEval 2013 task 9). Knows nothing of files and models.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from genner_cli.types import Entity


@dataclass(frozen=True, slots=True)
class Counts:
    """Entities in both, in gold only, in the prediction only."""

    hit: int = 0
    missed: int = 0
    spurious: int = 0

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
    hit: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    spurious: Counter[str] = Counter()
    for gold, predicted in documents:
        hit.update(entity.label for entity in set(gold) & set(predicted))
        missed.update(entity.label for entity in set(gold) - set(predicted))
        spurious.update(entity.label for entity in set(predicted) - set(gold))
    labels = sorted(hit.keys() | missed.keys() | spurious.keys())
    return Scores(
        micro=Counts(hit.total(), missed.total(), spurious.total()),
        labels={label: Counts(hit[label], missed[label], spurious[label]) for label in labels},
    )
