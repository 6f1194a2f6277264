"""`genner plan`: how long an extraction will take here."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from genner_cli.commands.options import AsJson, run_options
from genner_cli.commands.terminal import print_value, status_line, talk_on_stderr
from genner_cli.errors import UsageError
from genner_cli.options import Panel
from genner_cli.running.spec import RunSpec

if TYPE_CHECKING:
    from genner_cli.engine.model import Model
    from genner_cli.planning import Estimate, Survey
    from genner_cli.tasks import Task, TaskOf
    from genner_cli.types import Label

_OWN = ("sample", "seconds", "as_json")
_EVERY = 1000

Files = Annotated[list[str], typer.Argument(metavar="INPUT...", help="JSONL or text files (also .gz, .zst), or globs.")]
Sample = Annotated[int, typer.Option(min=1, help="Documents to time, drawn evenly from all.")]
Seconds = Annotated[float, typer.Option(min=1, help="Approximate limit, in seconds, for timing the sample.")]


@run_options(
    Panel.LABELS,
    Panel.MODEL,
    "patterns",
    Panel.PROMPT,
    Panel.TEXT,
    Panel.SPEED,
    without=("strict_labels", "calibration", "no_calibration", "choose"),
)
def plan(
    call: typer.Context,
    inputs: Files,
    spec: RunSpec,
    sample: Sample = 20,
    seconds: Seconds = 60,
    as_json: AsJson = False,
) -> None:
    """Time a sample of the documents, and estimate how long all of them will take.

    Takes the options of `genner extract` that change its speed, and ends with the command to run.

    Example: `genner plan 'corpus/*.jsonl.gz' --types PER,ORG`
    """
    spec = replace(spec, inputs=tuple(inputs), no_calibration=True).expanded()
    _refuse_streams(spec)
    talk_on_stderr()
    made = _estimate(spec, sample, seconds)
    found = made.value()
    found["command"] = shlex.join(["genner", "extract", *_given(call)])
    print_value(found, (*made.lines(), "", f"Run: {found['command']}"), as_json=as_json)


def _refuse_streams(spec: RunSpec) -> None:
    from genner_cli.files import size

    for path in spec.inputs:
        if size(path) is None:
            raise UsageError(
                f"{path}: a stream can be read only once, and genner extract would find it empty;"
                " save the documents to a file, and name that"
            )


def _estimate(spec: RunSpec, sample: int, seconds: float) -> Estimate:
    """Counts all documents and times the sample."""
    from genner_cli.planning import survey
    from genner_cli.running.llama import open_model, retrieval, task_of_others

    with status_line("reading") as show, open_model(spec) as (facts, model):

        def note(counts: Survey) -> None:
            if counts.documents % _EVERY == 0:
                show(f"reading: {counts.documents:,} documents")

        task_of = partial(task_of_others, model, spec, facts, set()) if spec.labels_field else None
        prefix_of = partial(_prefix, model, facts.task, task_of) if task_of else None
        counted = survey(spec.documents(), facts.task, sample, note, prefix_of)
        with retrieval(model, spec, facts) as ranked:
            own = (lambda labels: task_of(labels).ranked_by(ranked)) if task_of else None
            return _timed(counted, facts.task.ranked_by(ranked), model, spec, seconds, show, own)


def _prefix(model: Model, task: Task, task_of: TaskOf, labels: tuple[Label, ...] | None) -> int:
    """The tokens of the prompts' fixed parts with these labels; none where the model refuses them."""
    try:
        asked = task if labels is None else task_of(labels)
    except UsageError:
        return 0
    return sum(model.prefix_length(each.prompt.prefix(each.labels)) for each in asked.by_pass())


def _timed(
    counted: Survey,
    task: Task,
    model: Model,
    spec: RunSpec,
    seconds: float,
    show: Callable[[str], None],
    task_of: TaskOf | None,
) -> Estimate:
    """Where labels take several passes, the first is timed, for no other has more labels in its prompt; where entities
    are found first, to choose examples by them, that pass takes as long. With labels of their own, documents are timed
    in all their passes."""
    from genner_cli.engine.engine import Engine
    from genner_cli.engine.type_speeds import report
    from genner_cli.planning import Estimate, time_sample

    first, *others = [task] if task_of else task.by_pass()
    options = replace(spec.engine, slots=min(spec.engine.slots, counted.chunks))
    show("timing the sample")
    with Engine(model, options) as engine:
        timing = time_sample(
            counted.sample, first, engine.generate, slots=options.slots, seconds=seconds, task_of=task_of
        )
        count = engine.statistics
    return Estimate(
        counted,
        timing,
        options.slots,
        counted.prefix if task_of else count.prefix,
        model_bytes=model.file_bytes,
        kv_cache_bytes=model.header.kv_cache_bytes(options.context),
        invariance=engine.invariance,
        weights=report(model.header, options),
        passes=(1 + len(others)) * (2 if first.in_two_passes else 1),
        retrieved=count.retrieved / max(1, count.prompt),
        hints=count.hints / max(1, count.prompt),
    )


def _given(call: typer.Context) -> list[str]:
    """The arguments of this call that genner extract takes too, as it takes them."""
    words: list[str] = []
    for parameter in call.command.params:
        name = parameter.name or ""
        source = call.get_parameter_source(name)
        if name in _OWN or source is None or source.name != "COMMANDLINE":
            continue
        value = call.params[name]
        if isinstance(value, bool):
            words.append((parameter.opts if value else parameter.secondary_opts)[0])
        elif isinstance(value, list):
            words.extend(value)
        else:
            words += [max(parameter.opts, key=len), str(value)]
    return words
