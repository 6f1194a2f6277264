"""A row of the table of methods: what is measured with a method, without it, and with a control that must not help."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

from genner_cli.scoring import compare
from genner_cli.scoring.counts import Counts
from genner_cli.scoring.figures import DocumentCounts, Estimate, Key

SEEDS = (0, 1, 2)


class Measured(NamedTuple):
    """Strict counts of the same documents, in the same order."""

    without: Sequence[DocumentCounts]
    with_: Sequence[DocumentCounts]
    control: Sequence[DocumentCounts]


@dataclass(frozen=True, slots=True)
class Row:
    """`what`: of the method; `baseline` and `control`: what stands in its place; `measure`: of a seed."""

    method: str
    what: str
    baseline: str
    control: str
    measure: Callable[[int], Measured]


class Outcome(NamedTuple):
    """Micro F1, in [0, 1], the mean over seeds; `gain`: with the method minus without it, and `of_control`: the same of
    the control, each with the 95 % interval of a paired bootstrap over the documents of all seeds."""

    without: float
    with_: float
    control: float
    gain: Estimate
    of_control: Estimate


def counted(gold: Iterable[Collection[object]], found: Iterable[Collection[object]]) -> list[DocumentCounts]:
    """Strict counts of what was found in each document."""
    sides = ((set(right), set(said)) for right, said in zip(gold, found, strict=True))
    return [
        {Key("label", "all"): Counts(len(right & said), len(right - said), len(said - right))} for right, said in sides
    ]


def f1(documents: Sequence[DocumentCounts]) -> float:
    """Micro F1 in [0, 1]."""
    labels = (counts for each in documents for key, counts in each.items() if key.kind == "label")
    return sum(labels, Counts()).f1


def outcome(row: Row, seeds: Sequence[int] = SEEDS) -> Outcome:
    """Measures a row."""
    measured = [row.measure(seed) for seed in seeds]
    by_seed = [[f1(side) for side in each] for each in measured]
    without, with_, control = (
        [document for each in measured for document in each[at]] for at in range(len(Measured._fields))
    )
    return Outcome(
        *(fmean(column) for column in zip(*by_seed, strict=True)),
        compare(with_, without).micro.difference,
        compare(control, without).micro.difference,
    )


def table(rows: Sequence[Row], seeds: Sequence[int] = SEEDS) -> str:
    """The rows in Markdown, in percent."""
    lines = [
        "| method | what | without | with | gain (95 %) | control | its gain (95 %) |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        found = outcome(row, seeds)
        lines.append(
            f"| {row.method} | {row.what} | {100 * found.without:.1f} ({row.baseline}) | {100 * found.with_:.1f} |"
            f" {_interval(found.gain)} | {100 * found.control:.1f} ({row.control}) | {_interval(found.of_control)} |"
        )
    return "\n".join(lines) + "\n"


def _interval(estimate: Estimate) -> str:
    return f"{100 * estimate.value:+.1f} ({100 * estimate.low:+.1f} to {100 * estimate.high:+.1f})"
