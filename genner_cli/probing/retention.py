"""What a model still knows after an adapter: one suite of questions, before and after, question by question."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from convert.base import base_folder
from convert.source import opened, read_adapter_source
from genner_cli.probing.folder import ProbeFolder
from genner_cli.probing.recipe import Progress
from genner_cli.probing.suite import Choice, Exact, Item, Prose
from genner_cli.scoring import Estimate
from genner_cli.scoring.figures import RESAMPLES
from genner_cli.scoring.resampling import bootstrap, interval
from genner_cli.training.likelihood import LanguageModel, open_language_model

if TYPE_CHECKING:
    from genner_cli.training.harness import Counted, Harness

MILLI = 1000
"""Losses are counted in thousandths of a nat, for resampling adds whole numbers."""
_SPARE = 8
"""Tokens that may be written beyond the number of bytes of the answer."""


class Answer(NamedTuple):
    """What a question adds: right or not of one, or the loss in thousandths of a nat over a number of tokens."""

    amount: int
    weight: int


@dataclass(frozen=True, slots=True)
class Retained:
    """A task before and after. A `share`, as accuracy, is in [0, 1], and higher is better."""

    task: str
    measure: str
    share: bool
    questions: int
    before: Estimate
    after: Estimate
    difference: Estimate

    def value(self) -> dict[str, Any]:
        """As a JSON value."""
        estimates = {"before": self.before, "after": self.after, "difference": self.difference}
        return {
            "measure": self.measure,
            "questions": self.questions,
            **{name: each._asdict() for name, each in estimates.items()},
        }


def run(
    before: str, after: Path, items: Sequence[Item], folder: ProbeFolder, progress: Progress, *, download: bool = False
) -> list[Retained]:
    """Asks both models what is not asked yet. `after`: an adapter's folder, merged into `before` for the time."""

    def ask(model: Path) -> dict[str, Any]:
        return _asked(model, items)

    sides = both_sides(before, after, ask, folder, progress, download=download)
    return compared(items, *([Answer(*each) for each in side["answers"]] for side in sides))


def both_sides(
    before: str,
    after: Path,
    ask: Callable[[Path], dict[str, Any]],
    folder: ProbeFolder,
    progress: Progress,
    *,
    download: bool = False,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `ask` gives for the folder of the base, and for that of the base with the adapter merged; each asked once.

    Raises UsageError where `after` is not an adapter, ModelError where it is one of another base.
    """
    source = read_adapter_source(after, before, download=download)

    def ask_base() -> dict[str, Any]:
        progress.step(f"asking {before}")
        with base_folder(before, download=download) as base:
            return ask(base)

    def ask_adapted() -> dict[str, Any]:
        progress.step(f"asking {after}")
        with (
            TemporaryDirectory(prefix="merged-", dir=folder.path) as merged,
            opened(source, Path(merged) / "model", base=before, download=download) as (whole, _),
        ):
            return ask(whole)

    adapted = folder.stage("after", ask_adapted)  # first, for it refuses the adapter of another base
    return folder.stage("before", ask_base), adapted


def _asked(folder: Path, items: Iterable[Item]) -> dict[str, Any]:
    with open_language_model(folder) as model:
        return {"answers": [list(answer_of(model, item)) for item in items]}


def answer_of(model: LanguageModel, item: Item) -> Answer:
    """Asks one question. Of choices the one counts that is likeliest by UTF-8 byte, as lm-evaluation-harness's
    acc_norm has it."""
    match item:
        case Choice():
            prompt = f"Question: {item.question}\nAnswer:"
            rates = [model.likelihood(f" {c}", after=prompt).log_probability / len(c.encode()) for c in item.choices]
            return Answer(int(rates.index(max(rates)) == item.answer), 1)
        case Exact():
            written = model.greedy(item.prompt, most=len(item.answer.encode()) + _SPARE)
            return Answer(int(written.strip() == item.answer.strip()), 1)
        case Prose():
            found = model.likelihood(item.text)
            return Answer(round(-MILLI * found.log_probability), found.tokens)


def compared(items: Sequence[Item], before: Sequence[Answer], after: Sequence[Answer]) -> list[Retained]:
    """Each task's figures, with the intervals of a bootstrap over its questions, the same ones on both sides."""
    tasks = dict.fromkeys(item.task for item in items)
    return [_task(task, items, before, after) for task in tasks]


def _task(task: str, items: Sequence[Item], before: Sequence[Answer], after: Sequence[Answer]) -> Retained:
    chosen = [at for at, item in enumerate(items) if item.task == task]
    perplexity = isinstance(items[chosen[0]], Prose)
    vectors = [(before[at].amount, after[at].amount, before[at].weight) for at in chosen]

    def figures(sums: Sequence[int]) -> tuple[float, float, float]:
        old, new = (_figure(amount, sums[2], perplexity) for amount in sums[:2])
        return old, new, new - old

    found = figures([sum(column) for column in zip(*vectors, strict=True)])
    drawn = [figures(sums) for sums in bootstrap(vectors, times=RESAMPLES)]
    estimates = [Estimate(value, *interval(each[at] for each in drawn)) for at, value in enumerate(found)]
    measure = "perplexity" if perplexity else "accuracy"
    return Retained(task, measure, not perplexity, len(chosen), *estimates)


def _figure(amount: int, weight: int, perplexity: bool) -> float:
    mean = amount / max(1, weight)
    return math.exp(mean / MILLI) if perplexity else mean


Aggregation = Callable[[Sequence[Any]], float]


def run_harness(
    before: str, after: Path, harness: Harness, folder: ProbeFolder, progress: Progress, *, download: bool = False
) -> list[Retained]:
    """As `run`, by tasks of lm-evaluation-harness. A row for each measure of each task."""

    def ask(model: Path) -> dict[str, Any]:
        return {"counted": harness.ask(model)}

    old, new = (side["counted"] for side in both_sides(before, after, ask, folder, progress, download=download))
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
