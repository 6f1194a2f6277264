"""`genner probe formats`: which output format a base model learns best, and what a constraint makes of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genner_cli.commands.options import FROM_TRAIN, DownloadBase, run_options
from genner_cli.commands.probe.options import (
    Folder,
    QuantizationType,
    TrainFile,
    ValidFile,
    files_hash,
    progress_on_stderr,
    read_both,
    report,
)
from genner_cli.commands.terminal import talk_on_stderr
from genner_cli.commands.training import BaseReference, absolute, needs_training, training_options
from genner_cli.errors import UsageError
from genner_cli.options import Panel
from genner_cli.running.spec import RunSpec
from genner_cli.training.options import Loss, TrainOptions

if TYPE_CHECKING:
    from genner_cli.probing.formats import Cells

_PAPER = "bracketed,xml,category,occurrence,offset"
Formats = Annotated[str, typer.Option(metavar="NAMES", help="Formats to train; inserted too, where the base has it.")]


@training_options(without=("augment", "format", "fusion", "beta"))
@run_options("labels", "text_field", "id_field", Panel.SPEED, shown=FROM_TRAIN)
def formats(
    train: TrainFile,
    valid: ValidFile,
    base: BaseReference,
    output: Folder,
    spec: RunSpec,
    formats: Formats = _PAPER,
    type: QuantizationType = "Q8_0",
    download: DownloadBase = False,
    *,
    chosen: TrainOptions,
) -> None:
    """Train a base model once for each output format, and measure each with all three constraints.

    Shows strict F1, documents with invalid output, entities that are not in the text (or not at their offsets), tokens
    and time. All formats are trained on the same documents: those that every format can represent. The last step is
    measured; VALID is not used to choose one. The GGUFs are not verified. The same command resumes an interrupted run.

    Example: `genner probe formats train.jsonl valid.jsonl --base small --preset tiny --loss completion -o formats/`
    """
    names = tuple(dict.fromkeys(name.strip() for name in formats.split(",")))
    needs_training()
    from genner_cli.formats import output_format
    from genner_cli.probing import formats as probing
    from genner_cli.probing.folder import ProbeFolder
    from genner_cli.probing.recipe import Recipe

    for name in names:
        output_format(name)
    if chosen.format is not None:
        raise UsageError("a format in the options file is one of many here; name the formats with --formats")
    talk_on_stderr()
    documents = read_both(train, valid, chosen, text_field=spec.text_field, id_field=spec.id_field)
    recipe = Recipe(absolute(base), chosen, type, spec.labels, download, spec.engine)
    data = {"train": files_hash(train), "valid": files_hash(valid)}
    folder = ProbeFolder(output, {"probe": "formats", **recipe.value(), "formats": names, "data": data})
    if chosen.loss is Loss.LOCKED:
        sys.stderr.write("genner: --loss locked teaches only what the source lock leaves open, so that constraint off"
                         " and format must do badly; compare constraints with --loss completion\n")  # fmt: skip
    kept = len(probing.carriable(documents[0], names, depth=chosen.depth))
    sys.stderr.write(f"training on the documents that every format can represent: {kept:,} of {len(documents[0]):,}\n")
    with progress_on_stderr() as progress:
        cells = probing.run(probing.FormatsProbe(*documents, names, recipe), folder, progress)
    _finish(cells, folder.path)


def _finish(cells: Cells, path: Path) -> None:
    """Results as JSON, as a picture and as a table."""
    from genner_cli.probing.tables import cells_table

    results = {name: {held: cell.summary() for held, cell in row.items()} for name, row in cells.items()}
    f1 = {name: {held: cell.figures.f1 for held, cell in row.items()} for name, row in cells.items()}
    table = cells_table("format", {(name, held): cell for name, row in cells.items() for held, cell in row.items()})
    report(path, results, [("strict micro F1, 95 % interval", f1, False)], [table])
