"""What the probes show on the terminal, and the picture of it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genner_cli.scoring.tables import Table, change, percent, with_interval

if TYPE_CHECKING:
    from genner_cli.probing.cells import Cell
    from genner_cli.scoring import Comparison, Estimate


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
    from genner_cli.scoring import compare, rate_differences

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


def report(
    folder: Path,
    results: dict[str, Any],
    panels: Sequence[tuple[str, Mapping[str, Mapping[str, Estimate]], bool]],
    parts: Iterable[Table | str],
) -> None:
    """What was found: `results.json` and `results.svg` in the probe's folder, and the parts on the terminal.

    panels: of the picture: their titles, rows, and whether zero is marked.
    """
    from genner_cli.commands.evaluation_tables import show
    from genner_cli.files.writing import Writer, encode_value

    with Writer(str(folder / "results.json"), suffixes=(".json",)) as writer:
        writer.write(encode_value(results))
    try:
        from genner_cli.plots.drawings import Panel, draw_probe
    except ModuleNotFoundError as error:
        picture = folder / "results.svg"
        sys.stderr.write(f"genner: no {picture}, which needs {error.name}; run: pip install 'genner[plots]'\n")
    else:
        draw_probe([Panel(*each) for each in panels], folder / "results.svg")
    show(parts)
