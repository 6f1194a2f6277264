"""What a probe has found -> `results.json` and `results.svg` in its folder, and tables for people."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from genner_cli.files.writing import Writer, encode_value
from genner_cli.generation import Constraint
from genner_cli.plurals import counted
from genner_cli.probing.tables import (
    cells_table,
    changes,
    changes_table,
    changes_value,
    rates_table,
    retained_table,
)
from genner_cli.scoring import Estimate
from genner_cli.scoring.tables import Table

if TYPE_CHECKING:
    from genner_cli.probing.cells import Cell
    from genner_cli.probing.formats import Cells
    from genner_cli.probing.memorization import Swapped
    from genner_cli.probing.retention import Retained

log = logging.getLogger("genner")
_PAIRS = (("format", "off"), ("source", "off"), ("source", "format"))


class Results(NamedTuple):
    """`value`: as a JSON value; `panels`: of the picture, each with its title, its rows, and whether zero is marked;
    `parts`: tables and lines for people."""

    value: dict[str, Any]
    panels: Sequence[tuple[str, Mapping[str, Mapping[str, Estimate]], bool]]
    parts: Sequence[Table | str]

    def save(self, folder: Path) -> None:
        """Writes both files. Warns where matplotlib is missing, of which the picture is made."""
        with Writer(str(folder / "results.json"), suffixes=(".json",)) as writer:
            writer.write(encode_value(self.value))
        picture = folder / "results.svg"
        try:
            from genner_cli.plots.drawings import Panel, draw_probe
        except ModuleNotFoundError as error:
            log.warning("no %s, which needs %s; run: pip install 'genner[plots]'", picture, error.name)
        else:
            draw_probe([Panel(*each) for each in self.panels], picture)


def formats_results(cells: Cells) -> Results:
    """Of each format under each constraint."""
    value = {name: {held: cell.summary() for held, cell in row.items()} for name, row in cells.items()}
    f1 = {name: {held: cell.figures.f1 for held, cell in row.items()} for name, row in cells.items()}
    table = cells_table("format", {(name, held): cell for name, row in cells.items() for held, cell in row.items()})
    return Results(value, [("strict micro F1, 95 % interval", f1, False)], [table])


def memorization_results(cells: Mapping[str, Cell], named: str, swapped: Swapped, constraint: Constraint) -> Results:
    """Of each variant, and its difference to the one that is `named`."""
    found = changes({name: (cell, cells[named]) for name, cell in cells.items() if name != named})
    value = {
        "variants": {name: cell.summary() for name, cell in cells.items()},
        "changes": changes_value(found),
        "swapped": {"replaced": swapped.replaced, "kept": dict(swapped.kept)},
    }
    f1 = {name: {"F1": cell.figures.f1} for name, cell in cells.items()}
    moved = {name: {"F1": rates["f1"]} for name, (rates, _) in found.items()}
    panels = [("strict micro F1, 95 % interval", f1, False), ("difference to named", moved, True)]
    variants = cells_table("variant", {(name, constraint.value): cell for name, cell in cells.items()})
    return Results(value, panels, [variants, changes_table("difference to named", found), _swap_line(swapped)])


def _swap_line(swapped: Swapped) -> str:
    kept = ", ".join(f"{count} {label}" for label, count in swapped.kept.items())
    rest = f"; no unseen mention for {kept} (give --pool)" if kept else ""
    return f"entity-swap: {counted(swapped.replaced, 'entity')} replaced{rest}"


def constraint_results(cells: Mapping[str, Cell]) -> Results:
    """Of each constraint, and their differences in pairs."""
    found = changes({f"{one} - {other}": (cells[one], cells[other]) for one, other in _PAIRS})
    figures = {name: cell.figures for name, cell in cells.items()}
    rates = {
        name: {"precision": each.precision, "recall": each.recall, "F1": each.f1} for name, each in figures.items()
    }
    moved = {
        name: {"precision": r["precision"], "recall": r["recall"], "F1": r["f1"]} for name, (r, _) in found.items()
    }
    by_name = cells_table("", {("", name): cell for name, cell in cells.items()})
    return Results(
        {"constraints": {name: cell.summary() for name, cell in cells.items()}, "changes": changes_value(found)},
        [("strict, over all labels, 95 % interval", rates, False), ("difference", moved, True)],
        [rates_table("constraint", cells), by_name, changes_table("difference", found)],
    )


def retention_results(found: Sequence[Retained]) -> Results:
    """Of each measure of a task, before and after."""
    panels = []
    for measure in dict.fromkeys(each.measure for each in found):
        rows = {each.task: {"before": each.before, "after": each.after} for each in found if each.measure == measure}
        panels.append((f"{measure}, 95 % interval", rows, False))
    return Results({each.task: each.value() for each in found}, panels, [retained_table(found)])
