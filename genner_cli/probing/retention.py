"""What a model still knows after an adapter: one suite of questions, before and after, question by question."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from convert.base import base_folder
from convert.source import opened, read_source
from genner_cli.errors import UsageError
from genner_cli.probing.folder import ProbeFolder
from genner_cli.probing.making import Told
from genner_cli.probing.suite import Choice, Exact, Item, Prose
from genner_cli.scoring import Estimate
from genner_cli.scoring.figures import RESAMPLES
from genner_cli.scoring.resampling import bootstrap, interval
from genner_cli.training.likelihood import LanguageModel, open_language_model

MILLI = 1000
"""Losses are counted in thousandths of a nat, for resampling adds whole numbers."""
_SPARE = 8
"""So many tokens more than the answer has bytes may be written."""


class Answer(NamedTuple):
    """What a question adds: right or not of one, or the loss in thousandths of a nat over so many tokens."""

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
    before: str, after: Path, items: Sequence[Item], folder: ProbeFolder, told: Told, *, download: bool = False
) -> list[Retained]:
    """Asks both models what is not asked yet. `after`: an adapter's folder, merged into `before` for the time."""

    def ask(model: Path) -> dict[str, Any]:
        return _asked(model, items)

    sides = both_sides(before, after, ask, folder, told, download=download)
    return compared(items, *([Answer(*each) for each in side["answers"]] for side in sides))


def both_sides(
    before: str,
    after: Path,
    ask: Callable[[Path], dict[str, Any]],
    folder: ProbeFolder,
    told: Told,
    *,
    download: bool = False,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `ask` gives for the folder of the base, and for that of the base with the adapter merged; each asked once.

    Raises UsageError where `after` is no adapter, ModelError where it is one of another base.
    """
    source = read_source(after, check=False)
    if not source.is_adapter:
        raise UsageError(f"{after} is no adapter; give a folder that `genner train` has written")

    def ask_base() -> dict[str, Any]:
        told.step(f"asking {before}")
        with base_folder(before, download=download) as base:
            return ask(base)

    def ask_adapted() -> dict[str, Any]:
        told.step(f"asking {after}")
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
