"""What runs a model: opened with a run's spec, it says what the model is and answers requests.

llama.cpp in this process (`llama`) or in a child (`supervised`), transformers (`training.decoding`) and actors on a
cluster (`cluster.pool`) are such backends. Loads no model library.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

from genner_cli.engine.statistics import Costs, Statistics
from genner_cli.errors import UsageError
from genner_cli.extraction import DocumentOrFailure, Task, TaskOf, extract
from genner_cli.files.manifest import Settings
from genner_cli.generation import Completion, Request
from genner_cli.options import Compared, key_of, options_in
from genner_cli.prompting import PROMPT_VERSION
from genner_cli.running.spec import RunSpec
from genner_cli.types import Extraction, Label

PROMPT_DATE = "date in the prompt"
"""What a manifest calls the day that a chat template has written."""


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
        task = self.task
        taken = {name: getattr(task, name) for name in ("labels", "format", "depth", "chunk_bytes", "whole_words")}
        chosen = replace(spec, **taken)
        way = {name: value for name, value in _values(chosen, Compared.WAY).items() if value is not None}
        model = {"file": str(self.files[0]) if self.files else None, **self.engine}
        return Settings({**self._content(), **_values(chosen, Compared.VALUE)}, _share(spec), way, model)

    def _content(self) -> dict[str, Any]:
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


def no_other_labels(labels: tuple[Label, ...]) -> Task:
    """Refuses them, where a model is open for one list of labels only."""
    raise UsageError("documents with labels of their own are extracted by llama.cpp on this machine only")


@dataclass(frozen=True, slots=True)
class OpenedEngine:
    """An engine with the facts of its model: what is open in this process. `task_of`: see `Opened`."""

    facts: ModelFacts
    engine: Engine
    task_of: TaskOf = no_other_labels

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
    return extract(documents, opened.facts.task, opened.generate, opened.task_of if own_labels else None)
