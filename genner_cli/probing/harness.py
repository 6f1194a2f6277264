"""What a model still knows after an adapter, by tasks of lm-evaluation-harness, question by question."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genner_cli.probing.folder import ProbeFolder
from genner_cli.probing.making import Told
from genner_cli.probing.retention import Retained, both_sides
from genner_cli.scoring import Estimate
from genner_cli.scoring.figures import RESAMPLES
from genner_cli.scoring.resampling import interval

if TYPE_CHECKING:
    from genner_cli.training.harness import Counted, Harness

Aggregation = Callable[[Sequence[Any]], float]


def run(
    before: str, after: Path, harness: Harness, folder: ProbeFolder, told: Told, *, download: bool = False
) -> list[Retained]:
    """As `retention.run`: asks both models what is not asked yet. A row for each measure of each task."""

    def ask(model: Path) -> dict[str, Any]:
        return {"counted": harness.ask(model)}

    old, new = (side["counted"] for side in both_sides(before, after, ask, folder, told, download=download))
    return list(_compared(harness, old, new))


def _compared(harness: Harness, before: Counted, after: Counted) -> Iterator[Retained]:
    for task, measures in before.items():
        for measure, old in measures.items():
            estimates = estimated(harness.aggregation(task, measure), old, after[task][measure])
            figures = [each for estimate in estimates[:2] for each in estimate]
            share = harness.higher_is_better(task, measure) and all(0 <= figure <= 1 for figure in figures)
            yield Retained(f"{task}/{measure}", measure, share, len(old), *estimates)


def estimated(
    aggregate: Aggregation, before: Sequence[Any], after: Sequence[Any]
) -> tuple[Estimate, Estimate, Estimate]:
    """Before, after and the difference, with the intervals of a bootstrap over the questions, the same on both sides.

    An aggregation need not be a mean, so each set that is drawn goes through it.
    """
    draw = random.Random(0)

    def figures(chosen: Sequence[int]) -> tuple[float, float, float]:
        old, new = (float(aggregate([side[at] for at in chosen])) for side in (before, after))
        return old, new, new - old

    questions = range(len(before))
    found = figures(questions)
    drawn = [figures(draw.choices(questions, k=len(questions))) for _ in range(RESAMPLES)]
    first, second, change = (Estimate(value, *interval(e[at] for e in drawn)) for at, value in enumerate(found))
    return first, second, change
