"""`genner data folds`: predictions for labelled documents by models that have not seen them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genner_cli.commands.options import (
    LABELLED_FILES,
    DownloadBase,
    IdField,
    TextField,
    Threads,
    TrainLabelsFile,
    TrainTypes,
    label_tree,
)
from genner_cli.commands.terminal import say
from genner_cli.commands.training import BaseReference, absolute, needs_training, training_options, training_progress
from genner_cli.generation import EngineOptions
from genner_cli.plurals import counted
from genner_cli.training.options import TrainOptions

Inputs = Annotated[list[str], typer.Argument(metavar="TRAIN", help=LABELLED_FILES)]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="JSONL file of predictions to write.")]
Count = Annotated[int, typer.Option("--folds", min=2, max=50, help="Models to train, each without one share.")]


@training_options(without=("augment",), by_name=False)
def folds(
    inputs: Inputs,
    base: BaseReference,
    output: Output,
    count: Count = 5,
    types: TrainTypes = None,
    labels: TrainLabelsFile = None,
    text_field: TextField = "text",
    id_field: IdField = "id",
    threads: Threads = None,
    download: DownloadBase = False,
    *,
    chosen: TrainOptions,
) -> None:
    """Predict labelled documents, each by a model trained on the others (cross-validation).

    The predictions are hints for `genner extract --example-hints`: their scores are those of texts that were not seen,
    calibrated on the gold entities of the other folds. Near-duplicates are in the same fold. An interrupted run resumes
    when the same command is run again.

    Example: `genner data folds train.jsonl --base small --preset tiny -o train-hints.jsonl`
    """
    from convert.base import base_folder, base_path
    from genner_cli.training.gold import files_of, read

    gold = read(files_of(inputs, (), text_field, id_field), chosen, label_tree(types, labels))
    found = str(base_path(base, download=download))
    needs_training()
    from genner_cli.probing.folds import Folds, predict

    engine = EngineOptions(threads=threads)
    with base_folder(found, output=output) as folder, training_progress() as progress:
        made = Folds(folder, absolute(base), gold, output, chosen, engine, count)
        count = predict(made, progress)
    say(f"{output}: {counted(count, 'entity')} in {counted(len(gold.train), 'document')}")
