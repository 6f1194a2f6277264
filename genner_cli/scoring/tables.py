"""Figures -> tables and lines for people, as plain text; terminal (`commands`) and page (`plots`) draw them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from genner_cli.plurals import counted
from genner_cli.scoring.comparison import Comparison
from genner_cli.scoring.evaluation import DocumentRates, Evaluation, Example
from genner_cli.scoring.figures import Estimate, Figures, Key
from genner_cli.scoring.hierarchy import Hierarchy
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


def evaluation_tables(found: Evaluation) -> Iterator[Table | str]:
    """Everything about one set of predictions."""
    yield rates_line(found.rates)
    yield modes_table(found)
    if found.labels:
        yield figures_table("label (strict)", found.labels)
    if found.parts:
        yield figures_table("nesting (strict)", found.parts)
    yield errors_table(found)
    if (confused := confused_table(found)).rows:
        yield confused


def figures_tables(found: Mapping[Key, Figures]) -> Iterator[Table]:
    """Figures alone."""
    yield figures_table("official", {"micro": _kind(found, "mode")[0], "macro": _kind(found, "macro")[0]})
    if labels := {key.name: figures for key, figures in found.items() if key.kind == "label"}:
        yield figures_table("label (official)", labels)


def _kind(found: Mapping[Key, Figures], kind: str) -> Sequence[Figures]:
    return [figures for key, figures in found.items() if key.kind == kind]


def hierarchy_lines(found: Hierarchy) -> Iterator[Table | str]:
    """What labels of a tree come to."""
    yield figures_table("hierarchical (strict)", {"micro": found.micro})
    rows = [(str(at), f"{each.spans:,}", percent(each.accuracy)) for at, each in enumerate(found.levels, 1)]
    yield Table.of(("level", "spans found", "right"), rows)
    if found.unknown:
        yield f"{counted(found.unknown, 'entity')} with a label outside the tree, counted as wrong"


def comparison_lines(found: Comparison, other: str) -> Iterator[str]:
    """Whether it differs from another set of predictions."""
    for name, each in (("micro", found.micro), ("macro", found.macro)):
        rates = f"{percent(each.first)} against {percent(each.second)} of {other}"
        yield f"{name} F1 {rates}: {change(each.difference)}, p = {each.p:.3g}"
    yield f"the better of both for each document (oracle): {percent(found.oracle)}"
