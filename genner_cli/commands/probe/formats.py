"""`genner probe formats`: which output format a base model learns best, and what a constraint makes of it."""

from __future__ import annotations

from typing import Annotated

import typer

from genner_cli.commands.options import FROM_TRAIN, DownloadBase, run_options
from genner_cli.commands.probe.options import Folder, QuantizationType, TrainFile, ValidFile, progress_on_stderr, report
from genner_cli.commands.terminal import say, warn
from genner_cli.commands.training import BaseReference, absolute, needs_training, training_options
from genner_cli.errors import UsageError
from genner_cli.options import Panel
from genner_cli.running.spec import RunSpec
from genner_cli.training.options import Loss, TrainOptions

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
    from convert.base import base_path
    from genner_cli.formats import output_format
    from genner_cli.probing.folder import ProbeFolder, files_hash, read_both

    names = tuple(dict.fromkeys(name.strip() for name in formats.split(",")))
    for name in names:
        output_format(name)
    if chosen.format is not None:
        raise UsageError("a format in the options file is one of many here; name the formats with --formats")
    documents = read_both(train, valid, chosen, spec)
    base_path(base, download=download)
    needs_training()
    from genner_cli.probing import formats as probing
    from genner_cli.probing.recipe import Recipe
    from genner_cli.probing.results import formats_results

    recipe = Recipe(absolute(base), chosen, type, spec.labels, download, spec.engine)
    data = {"train": files_hash(train), "valid": files_hash(valid)}
    folder = ProbeFolder(output, {"probe": "formats", **recipe.value(), "formats": names, "data": data})
    if chosen.loss is Loss.LOCKED:
        warn("--loss locked teaches only what the source lock leaves open, so that constraint off and format must do"
             " badly; compare constraints with --loss completion")  # fmt: skip
    kept = len(probing.carriable(documents[0], names, depth=chosen.depth))
    say(f"training on the documents that every format can represent: {kept:,} of {len(documents[0]):,}")
    with progress_on_stderr() as progress:
        cells = probing.run(probing.FormatsProbe(*documents, names, recipe), folder, progress)
    report(formats_results(cells), folder.path)
