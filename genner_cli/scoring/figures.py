"""Counts of each document -> precision, recall and F1 of all, with 95 % intervals.

A document's counts have keys: `Key("label", "PER")` for each of its labels, `Key("mode", "type")` for each mode.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from genner_cli.scoring.counts import Counts
from genner_cli.scoring.matching import Mode
from genner_cli.scoring.resampling import bootstrap, interval

RESAMPLES = 1000


class Key(NamedTuple):
    """What is counted: `kind` is "label", "mode", "macro" or "part"."""

    kind: str
    name: str


MICRO = Key("mode", Mode.STRICT)
"""All labels together: the headline."""

MACRO = Key("macro", Mode.STRICT)
"""The mean over the labels that occur, in gold or predicted."""

DocumentCounts = Mapping[Key, Counts]


class Rates(NamedTuple):
    """Precision, recall and F1, in [0, 1]."""

    precision: float
    recall: float
    f1: float


class Estimate(NamedTuple):
    """A figure and its 95 % interval: what it would be on other documents like these."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Figures:
    """What one key comes to; `counts` is None for a mean."""

    counts: Counts | None
    precision: Estimate
    recall: Estimate
    f1: Estimate

    def value(self) -> dict[str, Any]:
        """As a JSON value."""
        counted = {} if self.counts is None else asdict(self.counts)
        rates = {"precision": self.precision, "recall": self.recall, "f1": self.f1}
        return {**counted, **{name: estimate._asdict() for name, estimate in rates.items()}}


class Sums:
    """Counts as vectors of whole numbers that can be added, and back."""

    def __init__(self, documents: Iterable[DocumentCounts]) -> None:
        self.keys = sorted({key for document in documents for key in document})

    def vector(self, document: DocumentCounts) -> list[int]:
        """Twice each number, for there are halves."""
        counted = (document.get(key, Counts()) for key in self.keys)
        return [round(2 * number) for each in counted for number in (each.hit, each.missed, each.spurious)]

    def counts(self, sums: Sequence[int]) -> dict[Key, Counts]:
        """The counts of a vector, with those of all labels together."""
        found = {key: Counts(*map(_half, sums[3 * at : 3 * at + 3])) for at, key in enumerate(self.keys)}
        labels = (counts for key, counts in found.items() if key.kind == "label")
        return {MICRO: sum(labels, Counts()), **found}


def rates(counts: DocumentCounts) -> dict[Key, Rates]:
    """The rates of all keys and `MACRO`."""
    found = {key: Rates(each.precision, each.recall, each.f1) for key, each in counts.items()}
    labels = [found[key] for key, each in counts.items() if key.kind == "label" and each.gold + each.predicted]
    columns = list(zip(*labels, strict=True)) or [(0.0,)] * 3
    return {**found, MACRO: Rates(*(sum(column) / len(column) for column in columns))}


def figures(documents: Sequence[DocumentCounts], *, resamples: int = RESAMPLES, seed: int = 0) -> dict[Key, Figures]:
    """Figures of all keys, of all labels together (`MICRO`) and their mean (`MACRO`).

    The intervals are percentiles of a bootstrap over documents, since entities of one document are not independent.
    """
    sums = Sums(documents)
    vectors = [sums.vector(document) for document in documents]
    counts = sums.counts([sum(column) for column in zip(*vectors, strict=True)] or [0] * 3 * len(sums.keys))
    resampled = [rates(sums.counts(drawn)) for drawn in bootstrap(vectors, times=resamples, seed=seed)]
    return {
        key: Figures(counts.get(key), *_estimates(found, [each[key] for each in resampled]))
        for key, found in rates(counts).items()
    }


def figures_value(found: Mapping[Key, Figures]) -> dict[str, Any]:
    """The figures as a JSON value: micro, macro and each label's."""
    labels = {key.name: each.value() for key, each in found.items() if key.kind == "label"}
    return {"micro": found[MICRO].value(), "macro": found[MACRO].value(), "labels": labels}


def _estimates(found: Rates, resampled: Sequence[Rates]) -> Iterator[Estimate]:
    for at, value in enumerate(found):
        low, high = interval(each[at] for each in resampled) if len(resampled) > 1 else (value, value)
        yield Estimate(value, low, high)


def _half(number: int) -> float:
    return number // 2 if number % 2 == 0 else number / 2
