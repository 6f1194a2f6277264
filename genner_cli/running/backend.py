"""What runs a model: opened with a run's spec, it says what the model is and answers requests.

llama.cpp in this process (`llama`) or in a child (`supervised`), transformers (`training.decoding`) and actors on a
cluster (`cluster.pool`) are such backends. Loads no model library.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from genner_cli import hub
from genner_cli.demonstrations import Query, Rank, Way
from genner_cli.engine.adapter import split_count
from genner_cli.engine.statistics import Costs, Statistics
from genner_cli.errors import UsageError
from genner_cli.extraction import DocumentOrFailure, extract
from genner_cli.files.hashing import hash_files
from genner_cli.files.manifest import Settings
from genner_cli.files.reading import expand
from genner_cli.generation import Completion, Request
from genner_cli.options import Compared, key_of, options_in
from genner_cli.prompting import PROMPT_VERSION
from genner_cli.running.spec import RunSpec
from genner_cli.tasks import Task, TaskOf
from genner_cli.types import Document, Extraction, Label

PROMPT_DATE = "date in the prompt"
"""What a manifest calls the day that a chat template has written."""
CHOSEN = "chosen"
"""What a manifest calls the format and the way of retrieval that were chosen (`--choose`)."""
FIRST_PASS_DOCUMENTS = 64
"""Documents whose entities are found before the first of them is asked about again."""


def model_files(spec: RunSpec) -> tuple[tuple[Path, ...], int | None]:
    """The model's file and, if the run has one, that of its adapter; and how many of its virtual tokens are asked for.

    Raises ModelError where one is not on this machine and cannot be fetched.
    """
    adapter, tokens = split_count(spec.adapter or "")
    references = (spec.model, adapter) if adapter else (spec.model,)
    return tuple(hub.resolve(reference, download=spec.download) for reference in references), tokens


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """An opened model in plain values, which can be pickled.

    `task`: what it is asked, made of the spec and the model's own instructions. `files`: the GGUF, and an adapter's;
    `fingerprint`: of both (`files.hashing`); none for a model that was not opened from files. `context`: tokens it was
    trained on. `engine`: what the engine reports of itself, which the manifest shows and nobody compares.
    """

    task: Task
    files: tuple[Path, ...] = ()
    fingerprint: str = ""
    context: int = 0
    engine: Mapping[str, Any] = field(default_factory=dict)

    def settings(self, spec: RunSpec) -> Settings:
        """What the manifest of an output says of a run with this model."""
        task, spec = self.task, spec.with_choice(self.engine.get(CHOSEN))
        taken = {name: getattr(task, name) for name in ("labels", "format", "depth", "chunk_bytes", "whole_words")}
        chosen = replace(spec, **taken)
        way = {name: value for name, value in _values(chosen, Compared.WAY).items() if value is not None}
        model = {"file": str(self.files[0]) if self.files else None, **self.engine}
        return Settings({**self._content(spec), **_values(chosen, Compared.VALUE)}, _share(spec), way, model)

    def _content(self, spec: RunSpec) -> dict[str, Any]:
        """What the model, its adapter and its calibration bring into a record."""
        task = self.task
        return {
            "model's content" if len(self.files) < 2 else "content of model and adapter": self.fingerprint,
            "calibration": repr(task.calibration) if task.calibration else None,
            "prompt": [PROMPT_VERSION, task.prompt.before_labels, task.prompt.before_text, task.prompt.after_text],
            "examples": [each.content() for each in task.demonstrations],
            "labels of each pass": [len(labels) for labels in task.passes],
            "labels trained together": [
                label.name for labels in task.passes for label in labels if label not in task.labels
            ],
            **({"hints": hash_files(map(Path, expand([spec.hints])))} if spec.hints else {}),
            **({"patterns": sha256(repr(task.patterns).encode()).hexdigest()} if task.patterns else {}),
        }


def _values(spec: RunSpec, compared: Compared) -> dict[str, Any]:
    """The options that are compared in this way, as JSON values by their names."""
    return {key_of(name): _json(value) for name, option, value in options_in(spec) if option.compared is compared}


def _share(spec: RunSpec) -> dict[str, Any]:
    """Which documents there are to be records of, where that is not all of the inputs."""
    from genner_cli.files.blocks import Shard, input_of

    return {"shard": str(Shard.parse(spec.shard)), "input": input_of(spec.inputs)} if spec.shard else {}


def _json(value: Any) -> Any:
    if isinstance(value, tuple):
        return {label.name: label.definition for label in value if isinstance(label, Label)}
    return value


class Counting(Protocol):
    """What counts its work, and knows the cost of a step: an engine, or many."""

    @property
    def statistics(self) -> Statistics: ...

    @property
    def costs(self) -> Costs: ...


class Engine(Counting, Protocol):
    """What answers requests (`generation.Generate`)."""

    def generate(self, requests: Iterable[Request], /) -> Iterator[tuple[int, Completion]]: ...


class Opened(Engine, Protocol):
    """A model that is open for one task."""

    @property
    def facts(self) -> ModelFacts: ...

    def task_of(self, labels: tuple[Label, ...], /) -> Task:
        """What the model is asked for these labels, in place of those of the spec. Raises UsageError."""
        ...

    def ranked(self, way: Way, query: Query, /) -> Sequence[int]:
        """The nearest examples by vectors (`demonstrations.Rank`)."""
        ...


def no_other_labels(labels: tuple[Label, ...]) -> Task:
    """Refuses them, where a model is open for one list of labels only."""
    raise UsageError("documents with labels of their own are extracted by llama.cpp on this machine only")


def no_vectors(way: Way, query: Query) -> Sequence[int]:
    """Refuses, where there is no llama.cpp that could read examples."""
    raise UsageError(f"--nearest {way} needs vectors, which llama.cpp on this machine makes; use --nearest words")


@dataclass(frozen=True, slots=True)
class OpenedEngine:
    """An engine with the facts of its model: what is open in this process. `task_of`, `ranked`: see `Opened`."""

    facts: ModelFacts
    engine: Engine
    task_of: TaskOf = no_other_labels
    ranked: Rank = no_vectors

    @property
    def statistics(self) -> Statistics:
        """Counts and seconds so far."""
        return self.engine.statistics

    @property
    def costs(self) -> Costs:
        """What a step costs, as far as measured."""
        return self.engine.costs

    def generate(self, requests: Iterable[Request], /) -> Iterator[tuple[int, Completion]]:
        """See the engine's own."""
        return self.engine.generate(requests)


class Backend(Protocol):
    """Opens the model of a spec. Raises ModelError and UsageError with a remedy."""

    def open(self, spec: RunSpec, /) -> AbstractContextManager[Opened]: ...


def extractions(
    opened: Opened, documents: Iterable[DocumentOrFailure], *, own_labels: bool = False
) -> Iterator[Extraction]:
    """One extraction for each document, in order. `own_labels`: whether documents may have labels of their own."""
    task = opened.facts.task.ranked_by(opened.ranked)
    task_of = (lambda labels: opened.task_of(labels).ranked_by(opened.ranked)) if own_labels else None
    if task.in_two_passes:
        return _in_two_passes(opened, documents, task, task_of)
    return extract(documents, task, opened.generate, task_of)


def _in_two_passes(
    opened: Opened, documents: Iterable[DocumentOrFailure], task: Task, task_of: TaskOf | None
) -> Iterator[Extraction]:
    """The same, for examples that are chosen by the entities of a text. A first pass finds these, with examples that
    are chosen by the whole text; block by block, for one engine answers both."""
    first = task.by_text()
    first_of = (lambda labels: task_of(labels).by_text()) if task_of else None
    source = iter(documents)
    while block := list(islice(source, FIRST_PASS_DOCUMENTS)):
        found = [each.entities for each in extract(block, first, opened.generate, first_of)]
        known = (
            replace(each, hints=entities) if isinstance(each, Document) else each
            for each, entities in zip(block, found, strict=True)
        )
        results = extract(known, task, opened.generate, task_of)
        for document, result in zip(block, results, strict=True):
            yield replace(result, document=document)
