"""A row of the table of methods: what is measured with a method, without it, and with a control that must not help."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

from genner_cli.scoring import compare
from genner_cli.scoring.figures import DocumentCounts, Estimate

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


def outcome(row: Row, seeds: Sequence[int] = SEEDS) -> Outcome:
    """Measures a row."""
    measured = [row.measure(seed) for seed in seeds]
    by_seed = [[compare(side, side, resamples=1).micro.first for side in each] for each in measured]
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
