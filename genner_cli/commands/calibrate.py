"""`genner calibrate`: what a model's scores mean, and which entities to keep."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from genner_cli.commands.options import FROM_GOLD, Chat, GoldFiles, Restart, run_options
from genner_cli.commands.terminal import document_bar, document_progress, show
from genner_cli.errors import UsageError
from genner_cli.options import Panel
from genner_cli.running.spec import RunSpec

Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="JSON file to write; needed for genner's own models.",
        show_default="MODEL.calibration.json beside it",
    ),
]
Predictions = Annotated[
    str | None,
    typer.Option(
        metavar="A.jsonl,B.jsonl", help="Choose the roles of an ensemble instead: of these predictions for GOLD and of"
        " the models in --model A.gguf,B.gguf; -o names the JSON file for genner judge --roles.", show_default="none",
    ),
]  # fmt: skip
Precision = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="Choose thresholds that reach this precision.", show_default="maximize F1"),
]


@run_options(
    Panel.LABELS, Panel.MODEL, Panel.PROMPT, "text_field", "id_field", "chunk_bytes", "overlap_bytes", Panel.SPEED,
    without=("open", "strict_labels", "labels_field", "calibration", "no_calibration", "choose"), shown=FROM_GOLD,
)  # fmt: skip
def calibrate(
    gold: GoldFiles,
    spec: RunSpec,
    output: Output = None,
    precision: Precision = None,
    predictions: Predictions = None,
    chat: Chat = False,
    restart: Restart = False,
) -> None:
    """Calibrate a model's scores on validation data, and choose which entities to keep.

    The calibration file maps a score to the probability that the entity is correct, and has a threshold for each
    label; `genner extract` drops entities below it. It holds for the labels it was made with, and some of them. Use
    data the model was not trained on.

    Examples:

    - `genner calibrate valid.jsonl --model my-model.gguf`
    - `genner calibrate valid.jsonl --precision 0.95 -o careful.json`
    - `genner calibrate valid.jsonl --predictions a.jsonl,b.jsonl --model a.gguf,b.gguf -o roles.json`
    """
    if predictions is not None and precision is not None:
        raise UsageError("--precision chooses thresholds of labels, and --predictions roles; give one of them")
    if predictions is None and (restart or chat):
        raise UsageError("--restart and --chat are about the models of an ensemble; they go with --predictions")
    if predictions is None:
        from genner_cli.calibration import calibration_tables
        from genner_cli.running.on_gold import calibrate as run

        fitted, path = run(gold, spec, output, precision, document_bar)
        show([*calibration_tables(fitted, precision), f"written to {path}"])
    elif output is None:
        raise UsageError("--predictions chooses roles; name the file for them with -o roles.json")
    else:
        from genner_cli.running.ensembles import choose_and_write, roles_lines

        spec = replace(spec, output=output, restart=restart)
        roles, path = choose_and_write(gold, predictions.split(","), spec, document_progress, chat=chat)
        show([*roles_lines(roles), f"written to {path}"])
