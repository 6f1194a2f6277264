"""What `genner evaluate` and `genner calibrate` show on the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from genner_cli.commands.terminal import printable

if TYPE_CHECKING:
    from genner_cli.calibration import Fitted
    from genner_cli.scoring import Comparison, Estimate, Evaluation, Figures
    from genner_cli.scoring.evaluation import Example
    from genner_cli.scoring.figures import Key
    from genner_cli.types import Entity

_WIDE = 120
_MOST_CONFUSED = 10


def show(parts: Iterable[RenderableType]) -> None:
    """Prints on standard output; in a pipe, as wide as the tables need."""
    console = Console(markup=False, emoji=False, highlight=False, width=None if sys.stdout.isatty() else _WIDE)
    for part in parts:
        console.print(part)


def evaluation_tables(found: Evaluation) -> Iterator[RenderableType]:
    """Everything about one set of predictions."""
    rates = found.rates
    yield (
        f"{rates.documents:,} documents: {rates.without_gold:,} without gold entities,"
        f" {rates.without_predicted:,} without predicted ones, {rates.failed:,} failed or invalid"
    )
    rows = {mode.value: figures for mode, figures in found.modes.items()}
    yield _figures_table("match", {**rows, "macro (strict)": found.macro})
    if found.labels:
        yield _figures_table("label (strict)", found.labels)
    if found.parts:
        yield _figures_table("nesting (strict)", found.parts)
    yield _errors_table(found)
    if confused := _confused(found):
        yield confused


def figures_tables(found: Mapping[Key, Figures]) -> Iterator[RenderableType]:
    """Figures alone."""
    yield _figures_table("official", {"micro": _kind(found, "mode")[0], "macro": _kind(found, "macro")[0]})
    if labels := {key.name: figures for key, figures in found.items() if key.kind == "label"}:
        yield _figures_table("label (official)", labels)


def comparison_lines(found: Comparison, other: str) -> Iterator[RenderableType]:
    """Whether it differs from another set of predictions."""
    for name, each in (("micro", found.micro), ("macro", found.macro)):
        change = each.difference
        yield Text(
            f"{name} F1 {percent(each.first)} against {percent(each.second)} of {printable(other)}:"
            f" {100 * change.value:+.1f} ({100 * change.low:+.1f} to {100 * change.high:+.1f}), p = {each.p:.3g}"
        )


def calibration_tables(found: Fitted, precision: float | None) -> Iterator[RenderableType]:
    """What a calibration does; `precision`: what was aimed at."""
    yield f"{found.entities:,} entities of {found.documents:,} documents"
    yield f"calibration error {found.error_before:.3f} before, {found.error_after:.3f} after (cross-validated)"
    if found.error_after >= found.error_before:
        yield "a map would not help: scores are left as they are"
    if not found.thresholds:
        yield "thresholds would not help: all entities are kept"
    table = new_table("kept", "precision", "recall", "F1", "entities")
    for name, counts in (("all", found.before), ("by threshold (cross-validated)", found.after)):
        table.add_row(name, *map(percent, (counts.precision, counts.recall, counts.f1)), f"{counts.predicted:,}")
    yield table
    if found.thresholds:
        yield _thresholds_table(found, precision)


def _thresholds_table(found: Fitted, precision: float | None) -> Table:
    table = new_table("label", "threshold", "mapped", "precision", "recall", "F1", "entities", "")
    for label, each in found.thresholds.items():
        counts = each.counts
        rates = map(percent, (counts.precision, counts.recall, counts.f1))
        notes = ["threshold of all labels"] * (not each.own)
        if precision is not None and counts.precision < precision:
            notes.append(f"below {precision:g}")
        scores = f"{each.score:.3f}", f"{found.calibration.map(each.score):.3f}"
        table.add_row(printable(label), *scores, *rates, f"{counts.predicted:,}", ", ".join(notes))
    return table


def new_table(first: str, *others: str) -> Table:
    """A table without rows; all columns but the first hold numbers."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column(first)
    for other in others:
        table.add_column(other, justify="right", no_wrap=True)
    return table


def _figures_table(first: str, rows: Mapping[str, Figures]) -> Table:
    table = new_table(first, "precision", "recall", "F1 (95 % interval)", "gold", "predicted", "hits")
    for name, figures in rows.items():
        counts = figures.counts
        counted = [f"{number:,g}" for number in (counts.gold, counts.predicted, counts.hit)] if counts else [""] * 3
        rates = percent(figures.precision.value), percent(figures.recall.value), with_interval(figures.f1)
        table.add_row(printable(name), *rates, *counted)
    return table


def _errors_table(found: Evaluation) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("errors", no_wrap=True)
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("for example", overflow="fold")
    for error, errors in found.errors.items():
        table.add_row(error.value, f"{errors.count:,}", Text("\n".join(map(_example, errors.examples))))
    return table


def _example(example: Example) -> str:
    gold, predicted = (_entity(entity) for entity in (example.gold, example.predicted))
    shown = f"{gold} -> {predicted}" if example.gold and example.predicted else gold or predicted
    return f"{printable(example.document)}: {shown}"


def _entity(entity: Entity | None) -> str:
    if entity is None:
        return ""
    return printable(f"{entity.label} {entity.text!r} {entity.start}:{entity.end}")


def _confused(found: Evaluation) -> Table | None:
    """The pairs of labels most often taken for each other."""
    pairs = [
        (count, gold, other) for (gold, other), count in found.confusion.items() if gold and other and gold != other
    ]
    if not pairs:
        return None
    table = new_table("gold label", "taken for", "times")
    for count, gold, other in sorted(pairs, key=lambda pair: (-pair[0], pair[1:]))[:_MOST_CONFUSED]:
        table.add_row(printable(gold), printable(other), f"{count:,}")
    return table


def _kind(found: Mapping[Key, Figures], kind: str) -> Sequence[Figures]:
    return [figures for key, figures in found.items() if key.kind == kind]


def with_interval(estimate: Estimate) -> str:
    """Percent: `67.5 (62.6 to 72.5)`."""
    return f"{percent(estimate.value)} ({percent(estimate.low)} to {percent(estimate.high)})"


def percent(share: float) -> str:
    """Percent with one decimal."""
    return f"{100 * share:.1f}"
