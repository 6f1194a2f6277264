"""`genner calibrate`: what a model's scores mean, and which entities to keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated

import typer

from genner_cli.commands.options import FROM_GOLD, GoldFiles, Restart, label_tree, run_options
from genner_cli.commands.predictions import extracted
from genner_cli.commands.terminal import document_progress, show, talk_on_stderr
from genner_cli.errors import UsageError
from genner_cli.options import Panel
from genner_cli.running.spec import RunSpec

Output = Annotated[
    str | None,
    typer.Option(
        "--output", "-o", metavar="FILE", help="JSON file to write.", show_default="MODEL.calibration.json beside it"
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
    call: typer.Context,
    gold: GoldFiles,
    spec: RunSpec,
    output: Output = None,
    precision: Precision = None,
    predictions: Predictions = None,
    restart: Restart = False,
) -> None:
    """Calibrate a model's scores on validation data, and choose which entities to keep.

    The calibration file maps a score to the probability that the entity is correct, and has a threshold for each
    label; `genner extract` drops entities below it. Use data the model was not trained on.

    Examples:

    - `genner calibrate valid.jsonl --model my-model.gguf`
    - `genner calibrate valid.jsonl --precision 0.95 -o careful.json`
    - `genner calibrate valid.jsonl --predictions a.jsonl,b.jsonl --model a.gguf,b.gguf -o roles.json`
    """
    if predictions is not None and precision is not None:
        raise UsageError("--precision chooses thresholds of labels, and --predictions roles; give one of them")
    if predictions is None and restart:
        raise UsageError("--restart discards what models of an ensemble have answered; it goes with --predictions")
    if predictions is not None:
        _choose_roles(gold, spec, predictions, output, restart=restart)
    else:
        tree = label_tree(call.params["types"], call.params["labels"])
        _calibrate(gold, tree.names(), spec, output, precision)


def _choose_roles(gold: Sequence[str], spec: RunSpec, predictions: str, output: str | None, *, restart: bool) -> None:
    from genner_cli.files.gold import read_gold_files
    from genner_cli.files.reading import expand
    from genner_cli.files.writing import Writer, encode_value
    from genner_cli.methods.ruling import Ruling
    from genner_cli.running.ensembles import choose, roles_lines
    from genner_cli.running.judges import voters
    from genner_cli.running.judging import source_names
    from genner_cli.running.rewriting import Files
    from genner_cli.types import LabelTree

    if output is None:
        raise UsageError("--predictions chooses roles; name the file for them with -o roles.json")
    talk_on_stderr()
    documents = read_gold_files(gold, text_field=spec.text_field, id_field=spec.id_field)
    paths = expand(predictions.split(","))
    writer = Writer(output, inputs=(*gold, *paths), suffixes=(".json",))
    files = Files(
        inputs=tuple(paths), output=output, text_field=spec.text_field, id_field=spec.id_field, restart=restart
    )
    asked = voters([*spec.model.split(",")] if spec.model else [None], spec)
    ruling = Ruling(tree=LabelTree.flat(spec.labels or ()), limit=spec.labels is not None)
    documents = tuple(replace(each, entities=tuple(ruling.concerned(each.entities))) for each in documents)
    roles = choose(documents, files, source_names(paths), asked, ruling, document_progress)
    with writer:
        writer.write(encode_value(roles.value()))
    show([*roles_lines(roles), f"written to {writer.path}"])


def _calibrate(
    gold: Sequence[str], names: Mapping[str, str], spec: RunSpec, output: str | None, precision: float | None
) -> None:
    from genner_cli.calibration import calibration_tables, fit
    from genner_cli.files.calibrations import calibration_path, calibration_value
    from genner_cli.files.gold import read_gold_files
    from genner_cli.files.writing import Writer, encode_value
    from genner_cli.running.examples import asked_options
    from genner_cli.running.llama import LlamaBackend
    from genner_cli.scoring import restricted

    talk_on_stderr()
    documents = read_gold_files(gold, text_field=spec.text_field, id_field=spec.id_field, names=names)
    spec = replace(spec.for_gold(documents), inputs=tuple(gold), no_calibration=True)
    with LlamaBackend().open(spec) as opened:
        facts, task = opened.facts, opened.facts.task
        writer = Writer(output or str(calibration_path(facts.files)), inputs=gold, suffixes=(".json",))
        done = extracted(opened, documents, spec)
    fitted = fit((restricted(each, task.names) for each in done), precision=precision)
    more = {"aim": {"precision": precision} if precision is not None else {"f1": "best"}, "measured": fitted.value()}
    asked = asked_options(task, spec)
    value = calibration_value(fitted.calibration, facts.files, facts.fingerprint, asked=asked, more=more)
    with writer:
        writer.write(encode_value(value))
    show([*calibration_tables(fitted, precision), f"written to {writer.path}"])
