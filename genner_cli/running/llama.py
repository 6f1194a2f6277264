"""llama.cpp in this process as a backend."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from genner_cli.demonstrations import Rank
from genner_cli.engine import llama
from genner_cli.engine.chat import CHAT_TEMPLATE, literal_prompts, writes_date
from genner_cli.engine.engine import Engine
from genner_cli.engine.model import Model
from genner_cli.engine.type_speeds import report
from genner_cli.errors import UsageError
from genner_cli.files.calibrations import calibration_path, own_calibration, read_calibration
from genner_cli.files.hashing import fingerprint
from genner_cli.files.hints import TRAINING_DATA
from genner_cli.prompting import Instructions, Prompt
from genner_cli.provenance import Provenance
from genner_cli.running.backend import CHOSEN, PROMPT_DATE, ModelFacts, OpenedEngine, model_files
from genner_cli.running.by_patterns import patterns_of
from genner_cli.running.choosing import choose
from genner_cli.running.examples import (
    asked_options,
    check_provenance,
    examples_of,
    make_general_task,
    refuse_examples,
)
from genner_cli.running.retrieval import Retrieval
from genner_cli.running.spec import SHOTS, RunSpec
from genner_cli.running.task import make_task
from genner_cli.tasks import Task
from genner_cli.types import Calibration, Label, Piece

log = logging.getLogger("genner")
RANKED = 4
"""Examples that are ranked by vectors for each one to show: some do not fit."""


class LlamaBackend:
    """Runs llama.cpp in this process: what dies there takes the process along."""

    @contextmanager
    def open(self, spec: RunSpec, /) -> Iterator[OpenedEngine]:
        """Opens model and engine. Raises ModelError and UsageError with a remedy."""
        with (
            open_model(spec) as (facts, model),
            Engine(model, spec.engine) as engine,
            retrieval(model, spec, facts) as ranked,
        ):
            if spec.choose:
                chosen = spec.chosen or choose(spec, partial(_opened, model, facts, engine, ranked))
                spec = spec.with_choice(chosen)
                facts = replace(_facts(model, spec, facts), engine={**facts.engine, CHOSEN: chosen})
            facts = replace(facts, engine={**facts.engine, **engine.invariance.report()})
            yield OpenedEngine(facts, engine, partial(task_of_others, model, spec, facts, set()), ranked)


def _opened(model: Model, facts: ModelFacts, engine: Engine, ranked: Rank, spec: RunSpec) -> OpenedEngine:
    """The same engine for another spec, asked without a calibration."""
    return OpenedEngine(
        _facts(model, replace(spec, calibration=None, no_calibration=True), facts), engine, ranked=ranked
    )


def _facts(model: Model, spec: RunSpec, facts: ModelFacts) -> ModelFacts:
    """The same model's facts for another spec."""
    task = replace(task_of(model, spec, _day(facts, spec)), patterns=facts.task.patterns)
    calibration = _calibration(task, model, facts.files, facts.fingerprint, spec)
    return replace(facts, task=replace(task, calibration=calibration))


@contextmanager
def retrieval(model: Model, spec: RunSpec, facts: ModelFacts) -> Iterator[Rank]:
    """What ranks the examples of a run by vectors."""
    pools = [each.nearest.pool for each in facts.task.demonstrations if each.nearest]
    pool = pools[0] if pools else examples_of(spec) if spec.choose else ()
    with Retrieval(model, spec.engine, facts.fingerprint, pool, most=RANKED * (spec.shots or SHOTS)) as opened:
        yield opened.ranked


@contextmanager
def open_model(spec: RunSpec) -> Iterator[tuple[ModelFacts, Model]]:
    """Opens the model, for one engine after the other. Raises ModelError and UsageError with a remedy."""
    check_provenance(spec)
    patterns = patterns_of(spec)
    files, tokens = model_files(spec)
    adapter = files[1] if len(files) > 1 else None
    with Model(files[0], gpu_layers=spec.engine.gpu_layers, adapter=adapter, tokens=tokens) as model:
        digest = fingerprint(files) if tokens is None else f"{fingerprint(files)}:{tokens}"
        day = spec.prompt_date or date.today().isoformat()
        task = task_of(model, spec, day)
        task = replace(task, calibration=_calibration(task, model, files, digest, spec), patterns=patterns)
        engine: dict[str, Any] = {llama.PACKAGE: version(llama.PACKAGE), **report(model.header, spec.engine)}
        if task.demonstrations and writes_date(_template(model, spec)):
            engine[PROMPT_DATE] = day
        if provenance := Provenance.from_metadata(model.metadata):
            engine[TRAINING_DATA] = [provenance.data_hash, *provenance.data_files]
        yield ModelFacts(task, files, digest, model.trained_context, engine), model


def task_of(model: Model, spec: RunSpec, day: str, warned: set[str] | None = None) -> Task:
    """What a run asks an open model, on a day (chat templates may write it). Raises UsageError with a remedy."""
    context = min(spec.engine.context, model.trained_context)
    instructions = Instructions.from_metadata(model.metadata)

    def tokens(pieces: tuple[Piece, ...]) -> int:
        return model.prefix_length(pieces)

    if instructions is None:
        if not spec.labels and not spec.open:
            remedy = "say what to extract with --types or --labels, or name the entities freely with --open"
            raise UsageError(f"{model.path} has no labels of its own; {remedy}")
        return make_general_task(
            spec,
            context=context,
            tokens=tokens,
            prompts=lambda general, most: _prompts(model, spec, day, general, most),
        )
    if spec.open:
        raise UsageError(
            f"--open: {model.path} was trained by genner on lists of labels; name another one, -m FILE.gguf"
        )
    refuse_examples(spec, model.path)
    if spec.format not in (None, instructions.format) and warned is None:
        what = "the model was trained to write %s; in %s it may find little or nothing (leave out --format)"
        log.warning(what, instructions.format, spec.format)
    return make_task(spec, instructions, context=context, prefix_tokens=tokens, warned=warned)


def task_of_others(model: Model, spec: RunSpec, facts: ModelFacts, warned: set[str], labels: tuple[Label, ...]) -> Task:
    """The task for other labels than those of the spec, whose definitions they take where they have none.

    `warned`: labels unknown to the model of which earlier calls have warned; new ones are added.
    Raises UsageError for labels that do not fit into the context.
    """
    given = {label.name: label for label in spec.labels or ()}
    asked = tuple(label if label.definition else given.get(label.name, label) for label in labels)
    task = task_of(model, replace(spec, labels=asked), _day(facts, spec), warned)
    task = replace(task, calibration=facts.task.calibration)
    context = min(spec.engine.context, model.trained_context)
    for each in task.by_pass():
        if model.prefix_length(each.prompt.prefix(each.labels)) >= context // 2:
            name = each.labels[0].name
            raise UsageError(f"the instruction and the label {name!r} take half of the context; shorten them")
    return task


def _day(facts: ModelFacts, spec: RunSpec) -> str:
    return str(facts.engine.get(PROMPT_DATE, spec.prompt_date or date.today().isoformat()))


def _template(model: Model, spec: RunSpec) -> str | None:
    return None if spec.no_chat_template else model.metadata.get(CHAT_TEMPLATE)


def _prompts(model: Model, spec: RunSpec, day: str, general: Prompt, most: int) -> tuple[Prompt, ...]:
    return literal_prompts(
        _template(model, spec),
        model.path,
        general=general,
        most=most,
        special=model.special_tokens,
        begins=model.begins,
        date=day,
    )


def _calibration(task: Task, model: Model, files: Sequence[Path], digest: str, spec: RunSpec) -> Calibration | None:
    """The one to use: that of the spec, the one beside the model where it is for these labels, or the model's own.

    Raises UsageError where that of the spec is for other labels.
    """
    if spec.no_calibration:
        return None
    path = Path(spec.calibration) if spec.calibration else calibration_path(files)
    if spec.calibration or path.exists():
        found = read_calibration(path, files, digest, asked_options(task, spec))
        if spec.labels_field or found.holds_for(task.names):
            return found
        message = f"{path}: is for {', '.join(found.labels)}, and {', '.join(found.others(task.names))} asked for too"
        if spec.calibration:
            raise UsageError(f"{message}; calibrate for these labels, or add --no-calibration")
        log.warning("%s; it is left out", message)
    return own_calibration(model.metadata, asked_options(task, spec))
