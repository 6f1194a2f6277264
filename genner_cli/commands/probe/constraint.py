"""`genner probe constraint`: what holding a model to format and source costs or gains."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from genner_cli.commands.options import FROM_GOLD, GoldFiles, run_options
from genner_cli.commands.probe.options import Folder, files_hash, report
from genner_cli.commands.terminal import document_bar, talk_on_stderr
from genner_cli.options import Panel
from genner_cli.running.spec import RunSpec

if TYPE_CHECKING:
    from genner_cli.probing.cells import Cell


@run_options(
    Panel.LABELS, Panel.MODEL, Panel.PROMPT, "text_field", "id_field", "chunk_bytes", "overlap_bytes", Panel.SPEED,
    without=("open", "strict_labels", "constraint", "calibration", "no_calibration"), shown=FROM_GOLD,
)  # fmt: skip
def constraint(gold: GoldFiles, output: Folder, spec: RunSpec) -> None:
    """Measure one model with constraint off, format and source on the same documents, in pairs.

    Shows precision, recall and F1 with 95 % intervals, invalid outputs, invented entities, tokens and time; differences
    have paired bootstrap intervals. The same command resumes an interrupted run.

    Example: `genner probe constraint gold.jsonl --model my-model.gguf -o constraint/`
    """
    from genner_cli.files.gold import read_gold_files
    from genner_cli.files.hashing import fingerprint
    from genner_cli.probing.cells import measured_constraints
    from genner_cli.probing.folder import ProbeFolder
    from genner_cli.running.backend import model_files

    talk_on_stderr()
    documents = read_gold_files(gold, text_field=spec.text_field, id_field=spec.id_field)
    spec = replace(spec.for_gold(documents), no_calibration=True)
    files, virtual_tokens = model_files(spec)
    asked = {
        "probe": "constraint",
        "model": fingerprint(files),
        "virtual-tokens": virtual_tokens,
        "data": files_hash(*gold),
        "labels": {label.name: label.definition for label in spec.labels or ()},
        "format": spec.format,
        "depth": spec.depth,
        "chunk-bytes": spec.chunk_bytes,
        "overlap-bytes": spec.overlap_bytes,
    }
    with document_bar(3 * len(documents)) as counted:
        cells = measured_constraints(documents, spec, ProbeFolder(output, asked), counted)
    _finish(cells, output)


def _finish(cells: dict[str, Cell], path: Path) -> None:
    """Results as JSON, as a picture and as tables."""
    from genner_cli.probing.tables import cells_table, changes, changes_table, changes_value, rates_table

    pairs = {f"{one} - {other}": (cells[one], cells[other]) for one, other in _PAIRS}
    found = changes(pairs)
    results = {"constraints": {name: cell.summary() for name, cell in cells.items()}, "changes": changes_value(found)}
    rates = {
        name: {"precision": each.precision, "recall": each.recall, "F1": each.f1}
        for name, each in ((name, cell.figures) for name, cell in cells.items())
    }
    moved = {
        name: {"precision": r["precision"], "recall": r["recall"], "F1": r["f1"]} for name, (r, _) in found.items()
    }
    panels = [("strict, over all labels, 95 % interval", rates, False), ("difference", moved, True)]
    by_name = cells_table("", {("", name): cell for name, cell in cells.items()})
    report(path, results, panels, [rates_table("constraint", cells), by_name, changes_table("difference", found)])


_PAIRS = (("format", "off"), ("source", "off"), ("source", "format"))
