"""What `genner evaluate`, `genner calibrate` and `genner probe` show on the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table as Drawn
from rich.text import Text

from genner_cli.commands.terminal import printable_lines
from genner_cli.plurals import counted
from genner_cli.scoring.tables import (
    Table,
    change,
    confused_table,
    errors_table,
    figures_table,
    modes_table,
    percent,
    rates_line,
)

if TYPE_CHECKING:
    from genner_cli.calibration import Fitted
    from genner_cli.files.roles import Roles
    from genner_cli.scoring import Comparison, Evaluation, Figures
    from genner_cli.scoring.figures import Key
    from genner_cli.scoring.hierarchy import Hierarchy

_WIDE = 120


def show(parts: Iterable[Table | str]) -> None:
    """Prints on standard output; in a pipe, as wide as the tables need."""
    console = Console(markup=False, emoji=False, highlight=False, width=None if sys.stdout.isatty() else _WIDE)
    for part in parts:
        console.print(_drawn(part) if isinstance(part, Table) else printable_lines(part))


def _drawn(table: Table) -> Drawn:
    drawn = Drawn(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for at, heading in enumerate(table.headings):
        prose = table.prose and at == len(table.headings) - 1
        number = at > 0 and not prose
        drawn.add_column(heading, justify="right" if number else "left", no_wrap=number, overflow="fold")
    for row in table.rows:
        drawn.add_row(*(Text(printable_lines(cell)) for cell in row))
    return drawn


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


def _yes(threshold: float) -> str:
    from genner_cli.methods.ensemble import KEEP_ALL

    return "yes to everything" if threshold <= KEEP_ALL else f"yes above {threshold:.4g}"


def roles_lines(found: Roles) -> Iterator[Table | str]:
    """The roles of an ensemble, and its F1 beside that of each of the files."""
    yield f"extractors: {', '.join(found.extractors)}"
    yield "voters: " + ", ".join(f"{name} ({_yes(found.thresholds[name])})" for name in found.voters)
    yield f"deciders: {', '.join(found.deciders) or 'none; the longest of overlapping entities is kept'}"
    measured = {**found.measured["f1 of each file"], "with these roles": found.measured["f1"]}
    yield Table.of(("entities of", "F1"), ((name, percent(value)) for name, value in measured.items()))


def calibration_tables(found: Fitted, precision: float | None) -> Iterator[Table | str]:
    """What a calibration does; `precision`: the one that was aimed at."""
    yield f"{counted(found.entities, 'entity')} in {counted(found.documents, 'document')}"
    yield f"calibration error {found.error_before:.3f} before, {found.error_after:.3f} after (cross-validated)"
    if found.error_after >= found.error_before:
        yield "calibration would not help: scores are unchanged"
    if not found.thresholds:
        yield "thresholds would not help: all entities are kept"
    kept = {"all": found.before, "by threshold (cross-validated)": found.after}
    yield Table.of(
        ("kept", "precision", "recall", "F1", "entities"),
        (
            (name, percent(counts.precision), percent(counts.recall), percent(counts.f1), f"{counts.predicted:,}")
            for name, counts in kept.items()
        ),
    )
    if found.thresholds:
        yield _thresholds_table(found, precision)


def _thresholds_table(found: Fitted, precision: float | None) -> Table:
    rows = []
    for label, each in found.thresholds.items():
        counts = each.counts
        notes = ["threshold of all labels"] * (not each.own)
        if precision is not None and counts.precision < precision:
            notes.append(f"below {precision:g}")
        scores = f"{each.score:.3f}", f"{found.calibration.map(each.score):.3f}"
        rates = map(percent, (counts.precision, counts.recall, counts.f1))
        rows.append((label, *scores, *rates, f"{counts.predicted:,}", ", ".join(notes)))
    return Table.of(("label", "threshold", "mapped", "precision", "recall", "F1", "entities", ""), rows)
