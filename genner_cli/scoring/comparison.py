"""Two predictions of the same documents -> whether they differ by more than chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from genner_cli.scoring.figures import MACRO, MICRO, RESAMPLES, DocumentCounts, Estimate, Key, Rates, Sums, rates
from genner_cli.scoring.resampling import bootstrap, interval, randomized

_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class Difference:
    """F1 of the first and the second, first minus second with its 95 % interval, and the p-value.

    `p`: how often a difference as large in either direction comes about if the two are the same, in (0, 1].
    """

    first: float
    second: float
    difference: Estimate
    p: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """By strict F1 over all labels, and by its mean over the labels. `oracle`: the micro F1 of the better of both for
    each document: what a selection between the two could reach."""

    micro: Difference
    macro: Difference
    oracle: float

    def value(self) -> dict[str, Any]:
        """As a JSON value."""
        differences = {
            name: {"first": each.first, "second": each.second, "difference": each.difference._asdict(), "p": each.p}
            for name, each in (("micro", self.micro), ("macro", self.macro))
        }
        return {**differences, "oracle": self.oracle}


def compare(
    first: Sequence[DocumentCounts], second: Sequence[DocumentCounts], *, resamples: int = RESAMPLES, seed: int = 0
) -> Comparison:
    """Compares two systems by the counts of the same documents, in the same order.

    The interval is that of a paired bootstrap over documents, the p-value that of approximate randomization over
    documents, two-sided (`resampling.randomized`), with one added to both of its counts (Noreen 1989).
    """
    sums = Sums([*first, *second])
    ours, theirs = ([sums.vector(document) for document in side] for side in (first, second))
    width = 3 * len(sums.keys)
    drawn = bootstrap([[*one, *other] for one, other in zip(ours, theirs, strict=True)], times=resamples, seed=seed)
    paired = [(_f1(sums, both[:width]), _f1(sums, both[width:])) for both in drawn]
    thrown = randomized(ours, theirs, times=resamples, seed=seed)
    by_chance = [(_f1(sums, one), _f1(sums, other)) for one, other in thrown]
    total = tuple(
        _f1(sums, [sum(column) for column in zip(*side, strict=True)] or [0] * width) for side in (ours, theirs)
    )

    def difference(key: Key) -> Difference:
        one, other = (side[key] for side in total)
        low, high = interval(a[key] - b[key] for a, b in paired) if len(paired) > 1 else (one - other,) * 2
        as_large = sum(abs(a[key] - b[key]) >= abs(one - other) - _ROUNDING for a, b in by_chance)
        return Difference(one, other, Estimate(one - other, low, high), (as_large + 1) / (len(by_chance) + 1))

    return Comparison(difference(MICRO), difference(MACRO), _oracle(sums, ours, theirs))


def _oracle(sums: Sums, ours: Sequence[list[int]], theirs: Sequence[list[int]]) -> float:
    """Documents with equal F1 are taken from the first."""
    better = [
        two if _f1(sums, two)[MICRO] > _f1(sums, one)[MICRO] else one for one, two in zip(ours, theirs, strict=True)
    ]
    return _f1(sums, [sum(column) for column in zip(*better, strict=True)] or [0] * 3 * len(sums.keys))[MICRO]


def rate_differences(
    first: Sequence[DocumentCounts], second: Sequence[DocumentCounts], *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Estimate]:
    """First minus second of micro precision, recall and F1, each with the interval of a paired bootstrap."""
    sums = Sums([*first, *second])
    pairs = [[*sums.vector(one), *sums.vector(other)] for one, other in zip(first, second, strict=True)]
    width = 3 * len(sums.keys)

    def change(both: Sequence[int]) -> list[float]:
        ours, theirs = (rates(sums.counts(side))[MICRO] for side in (both[:width], both[width:]))
        return [one - other for one, other in zip(ours, theirs, strict=True)]

    found = change([sum(column) for column in zip(*pairs, strict=True)] or [0] * 2 * width)
    drawn = [change(both) for both in bootstrap(pairs, times=resamples, seed=seed)] or [found]
    intervals = (interval(column) for column in zip(*drawn, strict=True))
    estimates = (Estimate(value, *ends) for value, ends in zip(found, intervals, strict=True))
    return dict(zip(Rates._fields, estimates, strict=True))


def _f1(sums: Sums, vector: Sequence[int]) -> dict[Key, float]:
    found = rates(sums.counts(vector))
    return {key: found[key].f1 for key in (MICRO, MACRO)}
