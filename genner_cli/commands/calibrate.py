"""`genner calibrate`: what a model's scores mean, and which entities to keep."""

from __future__ import annotations

from typing import Annotated

import typer

from genner_cli.commands.gold import extracted, is_nested, labels_in, read_gold_files
from genner_cli.commands.options import (
    AdapterReference,
    ChunkBytes,
    ContextTokens,
    Depth,
    Download,
    Format,
    GoldFiles,
    GpuLayers,
    Held,
    IdField,
    LabelsFile,
    ModelReference,
    NestedAsGold,
    OverlapBytes,
    Slots,
    TextField,
    Threads,
    Types,
    asked_labels,
    nesting,
)
from genner_cli.commands.terminal import talk_on_stderr
from genner_cli.generation import Constraint, EngineOptions

_DEFAULTS = EngineOptions()

Output = Annotated[
    str | None,
    typer.Option(
        "--output", "-o", metavar="FILE", help="JSON file to write.", show_default="MODEL.calibration.json beside it"
    ),
]
Precision = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="Find thresholds that reach this precision.", show_default="those of the best F1"),
]


def calibrate(
    gold: GoldFiles,
    model: ModelReference = None,
    adapter: AdapterReference = None,
    download: Download = False,
    output: Output = None,
    precision: Precision = None,
    types: Types = None,
    labels: LabelsFile = None,
    text_field: TextField = "text",
    id_field: IdField = "id",
    format: Format = None,
    nested: NestedAsGold = None,
    depth: Depth = None,
    constraint: Held = Constraint.SOURCE,
    chunk: ChunkBytes = None,
    overlap: OverlapBytes = None,
    slots: Slots = _DEFAULTS.slots,
    context: ContextTokens = _DEFAULTS.context,
    threads: Threads = None,
    gpu_layers: GpuLayers = _DEFAULTS.gpu_layers,
) -> None:
    """Learn from validation data what a model's scores mean, and from which score on an entity of a label is kept.

    `genner extract` then obeys the file that is written: a score is the probability that the entity is right, and
    entities below their label's threshold are left out. Use data the model was not trained on.

    Examples:

    - `genner calibrate valid.jsonl --model my-model.gguf`
    - `genner calibrate valid.jsonl --precision 0.95 -o careful.json`
    """
    from genner_cli.api import ExtractOptions, model_files
    from genner_cli.calibration import fit
    from genner_cli.commands.evaluation_tables import calibration_tables, show
    from genner_cli.files.calibrations import calibration_path, calibration_value
    from genner_cli.files.writing import Writer, encode_value
    from genner_cli.scoring import restricted

    talk_on_stderr()
    documents = read_gold_files(gold, text_field=text_field, id_field=id_field)
    options = ExtractOptions(
        labels=asked_labels(types, labels) or labels_in(documents) or None,
        model=model,
        adapter=adapter,
        download=download,
        format=format,
        depth=nesting(is_nested(documents) if nested is None else nested, depth),
        constraint=constraint,
        calibrated=False,
        chunk_bytes=chunk,
        overlap_bytes=overlap,
        engine=EngineOptions(slots=slots, context=context, threads=threads, gpu_layers=gpu_layers),
    )
    files = model_files(options)
    writer = Writer(output or str(calibration_path(files)), inputs=gold, suffixes=(".json",))
    done, task = extracted(documents, options)
    fitted = fit((restricted(each, task.names) for each in done), precision=precision)
    told = {"aim": {"precision": precision} if precision is not None else {"f1": "best"}, "measured": fitted.value()}
    value = calibration_value(fitted.calibration, files, format=task.format, constraint=task.constraint, more=told)
    with writer:
        writer.write(encode_value(value))
    show([*calibration_tables(fitted, precision), f"written to {writer.path}"])
