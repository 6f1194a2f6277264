"""`genner plan`: how long an extraction will take here, and with how many slots it is fastest."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genner_cli.commands.options import (
    AdapterReference,
    BatchTokens,
    ChunkBytes,
    ContextTokens,
    Depth,
    Download,
    Format,
    GpuLayers,
    Held,
    LabelsFile,
    MaxDocumentBytes,
    ModelReference,
    Nested,
    OverlapBytes,
    TextField,
    Threads,
    Types,
    asked_labels,
    nesting,
)
from genner_cli.commands.terminal import size_text, status_line, talk_on_stderr
from genner_cli.errors import UsageError
from genner_cli.generation import Constraint, EngineOptions

if TYPE_CHECKING:
    from genner_cli.api import ExtractOptions
    from genner_cli.engine.model import Model
    from genner_cli.extraction import DocumentOrFailure, Task
    from genner_cli.planning import Plan, Survey, Tally, Trial

_DEFAULTS = EngineOptions()
_TURNS = 3
_TRIALS = 4 * _TURNS
_OWN = ("sample", "seconds", "as_json")
_EVERY = 1000

Files = Annotated[list[str], typer.Argument(metavar="INPUT...", help="JSONL or text files (also .gz, .zst), or globs.")]
Sample = Annotated[int, typer.Option(min=1, help="Documents to time, drawn evenly from all.")]
Seconds = Annotated[float, typer.Option(min=1, help="Time for all trials together, about.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print a JSON object.")]


def plan(
    context_of_call: typer.Context,
    inputs: Files,
    types: Types = None,
    labels: LabelsFile = None,
    model: ModelReference = None,
    adapter: AdapterReference = None,
    download: Download = False,
    format: Format = None,
    nested: Nested = False,
    depth: Depth = None,
    constraint: Held = Constraint.SOURCE,
    text_field: TextField = "text",
    max_document_bytes: MaxDocumentBytes = 16 * 2**20,
    chunk: ChunkBytes = None,
    overlap: OverlapBytes = None,
    context: ContextTokens = _DEFAULTS.context,
    batch: BatchTokens = _DEFAULTS.batch,
    threads: Threads = None,
    gpu_layers: GpuLayers = _DEFAULTS.gpu_layers,
    sample: Sample = 20,
    seconds: Seconds = 60,
    as_json: AsJson = False,
) -> None:
    """Time a sample of the documents: how long all of them will take, and with how many slots it is fastest.

    Takes the options of `genner extract` that change its speed, and ends with the command to run.

    Example: `genner plan 'corpus/*.jsonl.gz' --types PER,ORG`
    """
    from genner_cli.api import ExtractOptions
    from genner_cli.files.reading import read_documents
    from genner_cli.files.writing import encode_value

    documents = read_documents(_rereadable(inputs), text_field=text_field, max_document_bytes=max_document_bytes)
    options = ExtractOptions(
        labels=asked_labels(types, labels),
        model=model,
        adapter=adapter,
        download=download,
        format=format,
        depth=nesting(nested, depth),
        constraint=constraint,
        calibrated=False,
        chunk_bytes=chunk,
        overlap_bytes=overlap,
        engine=EngineOptions(context=context, batch=batch, threads=threads, gpu_layers=gpu_layers),
    )
    talk_on_stderr()
    made = _made(documents, options, sample, seconds)
    found = made.value()
    found["command"] = shlex.join(["genner", "extract", *_given(context_of_call), "--slots", str(found["slots"])])
    if as_json:
        typer.echo(encode_value(found), nl=False)
    else:
        typer.echo("\n".join(_lines(found, made.tally.error)))


def _rereadable(inputs: Sequence[str]) -> list[str]:
    """The files; a stream is refused, for its documents would be gone."""
    from genner_cli.files import size
    from genner_cli.files.reading import expand

    paths = expand(inputs, addresses=True)
    for path in paths:
        if size(path) is None:
            raise UsageError(
                f"{path}: a stream can be read only once, and genner extract would find it empty;"
                " save the documents to a file, and name that"
            )
    return paths


def _made(documents: Iterator[DocumentOrFailure], options: ExtractOptions, sample: int, seconds: float) -> Plan:
    """Counts all documents and times the sample."""
    from genner_cli.api import open_task
    from genner_cli.planning import survey

    with status_line("reading") as say, open_task(options) as (task, model):

        def note(found: Survey) -> None:
            if found.documents % _EVERY == 0:
                say(f"reading: {found.documents:,} documents")

        return _tried(survey(documents, task, sample, note), task, model, options.engine, seconds, say)


def _tried(
    counted: Survey, task: Task, model: Model, options: EngineOptions, seconds: float, say: Callable[[str], None]
) -> Plan:
    """Runs the sample with one slot, then with more and more; then again in turns, for machines change their pace.

    Where labels take several passes, the first is timed, for no other has more labels in its prompt.
    """
    from genner_cli.engine.engine import Engine
    from genner_cli.planning import Plan, most_slots, next_slots, run_trial

    def trial(slots: int) -> tuple[Trial, Tally, int]:
        say(f"timing the sample with {slots} slots")
        with Engine(model, replace(options, slots=slots)) as engine:
            return *run_trial(
                slots, counted.sample, tried, engine.generate, seconds / _TRIALS
            ), engine.statistics.prefix

    tried, *others = task.by_pass()
    begun = time.monotonic()
    first, tally, prefix = trial(1)
    trials, most = [first], most_slots(counted, tally, context=options.context, prefix=prefix)
    while (slots := next_slots(trials, most)) and time.monotonic() - begun < seconds:
        trials.append(trial(slots)[0])
    for at in list(range(len(trials))) * (_TURNS - 1):
        if time.monotonic() - begun < seconds:
            trials[at] = trials[at].joined(trial(trials[at].slots)[0])
    return Plan(
        counted,
        tuple(trials),
        tally,
        prefix,
        most_slots=most,
        out_of_time=slots is not None,
        model_bytes=model.file_bytes,
        kv_cache_bytes=model.header.kv_cache_bytes(options.context),
        passes=1 + len(others),
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


def _lines(found: dict[str, Any], error: str | None) -> Iterator[str]:
    """The plan for people to read."""
    from genner_cli.planning import GROWTH

    failed = f", {found['failed']:,} of them cannot be read" if found["failed"] else ""
    weights, cache = found["memory"]["model_bytes"], found["memory"]["kv_cache_bytes"]
    yield f"documents      {found['documents']:,}{failed}"
    passes = (
        f", each in {found['passes']:,} passes, for the labels do not fit one prompt" if found["passes"] > 1 else ""
    )
    yield f"chunks         {found['chunks']:,}{passes}"
    yield f"prompt tokens  about {found['prompt_tokens']:,}"
    yield f"new tokens     about {found['new_tokens']:,}"
    yield f"memory         {size_text(weights + cache)} (model {size_text(weights)}, KV cache {size_text(cache)})"
    yield ""
    yield "slots  expected time"
    for trial in found["trials"]:
        mark = "  <- recommended" if trial["slots"] == found["slots"] else ""
        yield f"{trial['slots']:5}  {_time(trial)}{mark}"
    yield ""
    if error:
        yield f"{found['sample']['failed_chunks']:,} texts of the sample cannot be done: {error}"
    if found["out_of_time"]:
        yield "The time for trials was up; more slots may be faster (--seconds)."
    elif GROWTH * found["trials"][-1]["slots"] > found["most_slots"]:
        short = "--context has no room" if found["most_slots"] < found["chunks"] else "there are no chunks"
        yield f"More than {found['most_slots']} slots were not tried: {short} for them."
    yield f"Run: {found['command']}"


def _time(trial: dict[str, Any]) -> str:
    """About how long, and the range in the same unit if more than one pass was timed."""
    unit, length = next(
        ((unit, length) for unit, length in (("h", 3600), ("min", 60)) if trial["seconds"] >= 2 * length), ("s", 1)
    )
    about, least, most = (trial[name] / length for name in ("seconds", "least_seconds", "most_seconds"))
    spread = f" ({least:,.1f} to {most:,.1f} {unit})" if least < most else ""
    return f"about {about:,.1f} {unit}{spread}"
