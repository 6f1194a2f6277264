"""`genner probe constraint`: what holding a model to format and source costs or gains."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from genner_cli.commands.gold import is_nested, labels_in, read_gold_files
from genner_cli.commands.options import (
    AdapterReference,
    ChunkBytes,
    ContextTokens,
    Depth,
    Download,
    Format,
    GoldFiles,
    GpuLayers,
    IdField,
    LabelsFile,
    ModelReference,
    NestedAsGold,
    Slots,
    TextField,
    Threads,
    Types,
    asked_labels,
    nesting,
)
from genner_cli.commands.probe.options import DEFAULTS, Folder, files_hash
from genner_cli.commands.terminal import document_bar, talk_on_stderr
from genner_cli.generation import EngineOptions

if TYPE_CHECKING:
    from genner_cli.probing.cells import Cell


def constraint(
    gold: GoldFiles,
    output: Folder,
    model: ModelReference = None,
    adapter: AdapterReference = None,
    download: Download = False,
    types: Types = None,
    labels: LabelsFile = None,
    text_field: TextField = "text",
    id_field: IdField = "id",
    format: Format = None,
    nested: NestedAsGold = None,
    depth: Depth = None,
    chunk: ChunkBytes = None,
    slots: Slots = DEFAULTS.slots,
    context: ContextTokens = DEFAULTS.context,
    threads: Threads = None,
    gpu_layers: GpuLayers = DEFAULTS.gpu_layers,
) -> None:
    """Measure one model on the same documents with constraint off, format and source, and compare them in pairs.

    Shown are precision, recall and F1 with 95 % intervals, invalid outputs, invented entities, tokens and time, and the
    differences with the intervals of a paired bootstrap. The same command goes on where it was cut off.

    Example: `genner probe constraint gold.jsonl --model my-model.gguf -o constraint/`
    """
    from genner_cli.api import ExtractOptions, model_files
    from genner_cli.files.hashing import fingerprint
    from genner_cli.probing.cells import measured_constraints
    from genner_cli.probing.folder import ProbeFolder

    talk_on_stderr()
    documents = read_gold_files(gold, text_field=text_field, id_field=id_field)
    options = ExtractOptions(
        labels=asked_labels(types, labels) or labels_in(documents) or None,
        model=model,
        adapter=adapter,
        download=download,
        format=format,
        depth=nesting(is_nested(documents) if nested is None else nested, depth),
        calibrated=False,
        chunk_bytes=chunk,
        engine=EngineOptions(slots=slots, context=context, threads=threads, gpu_layers=gpu_layers),
    )
    asked = {
        "probe": "constraint",
        "model": fingerprint(model_files(options)),
        "data": files_hash(*gold),
        "labels": {label.name: label.definition for label in options.labels or ()},
        "format": format,
        "depth": options.depth,
        "chunk": chunk,
    }
    with document_bar(3 * len(documents)) as counted:
        cells = measured_constraints(documents, options, ProbeFolder(output, asked), counted)
    _finish(cells, output)


def _finish(cells: dict[str, Cell], path: Path) -> None:
    """Results as JSON, as a picture and as tables."""
    from genner_cli.commands.evaluation_tables import show
    from genner_cli.commands.probe.tables import (
        cells_table,
        changes,
        changes_table,
        changes_value,
        draw,
        rates_table,
        write_results,
    )

    pairs = {f"{one} - {other}": (cells[one], cells[other]) for one, other in _PAIRS}
    found = changes(pairs)
    results = {"constraints": {name: cell.summary() for name, cell in cells.items()}, "changes": changes_value(found)}
    write_results(path, results)
    rates = {
        name: {"precision": each.precision, "recall": each.recall, "F1": each.f1}
        for name, each in ((name, cell.figures) for name, cell in cells.items())
    }
    moved = {
        name: {"precision": r["precision"], "recall": r["recall"], "F1": r["f1"]} for name, (r, _) in found.items()
    }
    draw([("strict, over all labels, 95 % interval", rates, False), ("difference", moved, True)], path / "results.svg")
    show([rates_table("constraint", cells), cells_table("", {("", name): cell for name, cell in cells.items()})])
    show([changes_table("difference", found)])


_PAIRS = (("format", "off"), ("source", "off"), ("source", "format"))
