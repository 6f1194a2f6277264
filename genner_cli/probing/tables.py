"""What probes have measured -> tables for people, and differences between cells.

Knows nothing of how anything is measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from genner_cli.scoring import Comparison, Estimate, compare, rate_differences
from genner_cli.scoring.tables import Table, change, percent, with_interval

if TYPE_CHECKING:
    from genner_cli.probing.cells import Cell
    from genner_cli.probing.retention import Retained


def cells_table(first: str, cells: Mapping[tuple[str, str], Cell]) -> Table:
    """A row for each cell, called by its two names."""
    columns = ("constraint", "F1 (95 % interval)", "precision", "recall", "invalid", "invented", "tokens/doc", "s/doc")
    rows = ((name, constraint, *_cell_row(cell)) for (name, constraint), cell in cells.items())
    return Table.of((first, *columns), rows)


def _cell_row(cell: Cell) -> tuple[str, ...]:
    found, documents = cell.figures, max(1, cell.documents)
    rates = with_interval(found.f1), percent(found.precision.value), percent(found.recall.value)
    wrong = percent((cell.invalid + cell.failed) / documents), invented(cell)
    return (*rates, *wrong, f"{cell.tokens / documents:,.1f}", f"{cell.seconds / documents:.3f}")


def invented(cell: Cell) -> str:
    """The share of claimed entities that are invented; nothing where nothing is claimed."""
    return percent(cell.invented / cell.claimed) if cell.claimed else ""


def rates_table(first: str, cells: Mapping[str, Cell]) -> Table:
    """Precision, recall and F1, each with its interval."""
    found = {name: cell.figures for name, cell in cells.items()}
    rows = ((name, *map(with_interval, (each.precision, each.recall, each.f1))) for name, each in found.items())
    return Table.of((first, "precision (95 % interval)", "recall", "F1"), rows)


def changes_table(first: str, rows: Mapping[str, tuple[Mapping[str, Estimate], Comparison]]) -> Table:
    """Differences of precision, recall and F1, in points, and how likely chance alone makes one as large of F1."""
    cells = ((name, *map(change, rates.values()), f"{test.micro.p:.3g}") for name, (rates, test) in rows.items())
    return Table.of((first, "precision", "recall", "F1 (95 % interval)", "p"), cells)


def changes(
    pairs: Mapping[str, tuple[Cell, Cell]],
) -> dict[str, tuple[Mapping[str, Estimate], Comparison]]:
    """For each pair, the first minus the second, document by document."""
    return {
        name: (rate_differences(one.counts, other.counts), compare(one.counts, other.counts))
        for name, (one, other) in pairs.items()
    }


def changes_value(found: Mapping[str, tuple[Mapping[str, Estimate], Comparison]]) -> dict[str, Any]:
    """As a JSON value."""
    return {
        name: {**{rate: each._asdict() for rate, each in rates.items()}, "p": compared.micro.p}
        for name, (rates, compared) in found.items()
    }


def retained_table(found: Sequence[Retained]) -> Table:
    """Measures of tasks before and after; numbers with more decimals the smaller they are."""
    rows = []
    for each in found:
        sides = each.before, each.after
        if each.share:
            figures = [*map(with_interval, sides), change(each.difference)]
        else:
            figures = [*(_number_text(side) for side in sides), _number_text(each.difference, sign="+")]
        rows.append((each.task.removesuffix(f"/{each.measure}"), each.measure, f"{each.questions:,}", *figures))
    return Table.of(("task", "measure", "questions", "before (95 % interval)", "after", "difference"), rows)


def _number_text(estimate: Estimate, *, sign: str = "") -> str:
    """`21.5 (19.0 to 24.1)`: more decimals the smaller its bounds are."""
    largest = max(map(abs, estimate))
    form = f"{sign},.{0 if largest >= 1000 else 1 if largest >= 10 else 3}f"
    return f"{estimate.value:{form}} ({estimate.low:{form}} to {estimate.high:{form}})"
