"""Figures -> tables and lines for people, as plain text; terminal (`commands`) and page (`plots`) draw them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from genner_cli.plurals import counted
from genner_cli.scoring.evaluation import DocumentRates, Evaluation, Example
from genner_cli.scoring.figures import Estimate, Figures
from genner_cli.types import Entity

_MOST_CONFUSED = 10


@dataclass(frozen=True, slots=True)
class Table:
    """Cells of text under headings. All columns but the first hold numbers; if `prose`, the last one holds lines of
    text that may be wrapped."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    prose: bool = False

    @classmethod
    def of(cls, headings: Iterable[str], rows: Iterable[Iterable[str]], *, prose: bool = False) -> Table:
        """A table of any iterables."""
        return cls(tuple(headings), tuple(map(tuple, rows)), prose)


def rates_line(rates: DocumentRates) -> str:
    """Documents: all, without entities, and failed."""
    return (
        f"{counted(rates.documents, 'document')}: {rates.without_gold:,} without gold entities,"
        f" {rates.without_predicted:,} without predicted entities, {rates.failed:,} failed or invalid"
    )


def modes_table(found: Evaluation) -> Table:
    """Each match mode over all labels, and the mean over the labels."""
    rows = {mode.value: figures for mode, figures in found.modes.items()}
    return figures_table("match", {**rows, "macro (strict)": found.macro})


def figures_table(first: str, rows: Mapping[str, Figures]) -> Table:
    """Precision, recall, F1 with its interval, and counts; a row for each name."""
    headings = (first, "precision", "recall", "F1 (95 % interval)", "gold", "predicted", "hits")
    return Table.of(headings, (_figures_row(name, figures) for name, figures in rows.items()))


def _figures_row(name: str, found: Figures) -> Iterator[str]:
    yield from (name, percent(found.precision.value), percent(found.recall.value), with_interval(found.f1))
    counts = found.counts
    for number in (counts.gold, counts.predicted, counts.hit) if counts else ("", "", ""):
        yield number if isinstance(number, str) else f"{number:,g}"


def errors_table(found: Evaluation) -> Table:
    """Each class of errors with its examples, one per line."""
    rows = (
        (error.value, f"{errors.count:,}", "\n".join(map(_example, errors.examples)))
        for error, errors in found.errors.items()
    )
    return Table.of(("error type", "count", "examples"), rows, prose=True)


def _example(example: Example) -> str:
    gold, predicted = _entity(example.gold), _entity(example.predicted)
    return f"{example.document}: {' -> '.join(side for side in (gold, predicted) if side)}"


def _entity(entity: Entity | None) -> str:
    return f"{entity.label} {entity.text!r} {entity.start}:{entity.end}" if entity else ""


def confused_table(found: Evaluation) -> Table:
    """The pairs of labels most often taken for each other; without rows if there are none."""
    pairs = ((pair, count) for pair, count in found.confusion.items() if all(pair) and pair[0] != pair[1])
    most = sorted(pairs, key=lambda item: (-item[1], item[0]))[:_MOST_CONFUSED]
    return Table.of(("gold label", "predicted as", "count"), ((*pair, f"{count:,}") for pair, count in most))


def with_interval(estimate: Estimate) -> str:
    """Percent: `67.5 (62.6 to 72.5)`."""
    return f"{percent(estimate.value)} ({percent(estimate.low)} to {percent(estimate.high)})"


def change(difference: Estimate) -> str:
    """Points: `-1.2 (-2.0 to -0.3)`."""
    return f"{100 * difference.value:+.1f} ({100 * difference.low:+.1f} to {100 * difference.high:+.1f})"


def percent(share: float) -> str:
    """Percent with one decimal."""
    return f"{100 * share:.1f}"
