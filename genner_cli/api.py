"""Opens a model and runs extraction on it: what the command and Python callers share.

from genner_cli import extract
for record in extract(["John Smith joined Acme."], types="PER,ORG"):
    print(record["entities"])
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from genner_cli import extraction, hub
from genner_cli.engine.chat import CHAT_TEMPLATE, literal_prompt
from genner_cli.engine.engine import Engine
from genner_cli.engine.model import Model
from genner_cli.engine.statistics import Costs, Statistics
from genner_cli.errors import UsageError
from genner_cli.extraction import DocumentOrFailure, Task
from genner_cli.files.calibrations import calibration_path, read_calibration
from genner_cli.files.hashing import fingerprint
from genner_cli.files.labels import parse_types
from genner_cli.files.reading import document_of
from genner_cli.files.writing import record_of
from genner_cli.generation import Completion, Constraint, EngineOptions, Request
from genner_cli.prompting import PROMPT_VERSION, Instructions, Prompt, label_passes
from genner_cli.types import Calibration, Extraction, Label

log = logging.getLogger("genner")
UNTRAINED_FORMAT = "xml"
UNTRAINED_CHUNK_BYTES = 2000
UNKNOWN_TOLD = 20
TOKENS_A_BYTE = 3
"""No byte of a chunk takes more: one as text, one as it is written again, and its share of the markup."""


@dataclass(frozen=True, slots=True)
class ExtractOptions:
    """What to extract with which model; None leaves a choice to the model.

    `labels`: asked for; `model`: see `hub.resolve`; `adapter`: the same, an adapter GGUF on it; `depth`: how deep
    entities may nest, 1 is flat. `calibration`: a file that `genner calibrate` wrote, None for the one beside the
    model, if there is one; `calibrated`: whether to obey any.
    """

    labels: tuple[Label, ...] | None = None
    model: str | None = None
    adapter: str | None = None
    download: bool = False
    format: str | None = None
    depth: int = 1
    constraint: Constraint = Constraint.SOURCE
    min_score: float = 0.0
    chunk_bytes: int | None = None
    overlap_bytes: int | None = None
    strict_labels: bool = False
    calibration: str | None = None
    calibrated: bool = True
    engine: EngineOptions = field(default_factory=EngineOptions)

    def __post_init__(self) -> None:
        object.__setattr__(self, "constraint", Constraint(self.constraint))  # callers may give its name


class Counting(Protocol):
    """What counts what it does, and knows what a step costs: an engine, or many."""

    @property
    def statistics(self) -> Statistics: ...

    @property
    def costs(self) -> Costs: ...


class Worker(Counting, Protocol):
    """What answers requests: an `Engine`, in this process or another."""

    def generate(self, requests: Iterable[Request | None], /) -> Iterator[tuple[int, Completion]]: ...


@dataclass(frozen=True, slots=True)
class Extractor:
    """A model that is open for one task."""

    task: Task
    engine: Worker

    def extract(self, documents: Iterable[DocumentOrFailure]) -> Iterator[Extraction]:
        """One extraction for each document, in order."""
        return extraction.extract(documents, self.task, self.engine.generate)


@contextmanager
def open_extractor(options: ExtractOptions) -> Iterator[Extractor]:
    """Opens model and engine. Raises ModelError and UsageError with a remedy."""
    with open_task(options) as (task, model), Engine(model, options.engine) as engine:
        yield Extractor(task, engine)


@contextmanager
def open_task(options: ExtractOptions) -> Iterator[tuple[Task, Model]]:
    """Opens the model, for one engine after the other. Raises ModelError and UsageError with a remedy."""
    files = model_files(options)
    with Model(files[0], gpu_layers=options.engine.gpu_layers, adapter=files[-1] if options.adapter else None) as model:
        task = _task(model, options)
        yield replace(task, calibration=_calibration(task, files, options)), model


def model_files(options: ExtractOptions) -> list[Path]:
    """The files that the model and its adapter stand in. Raises ModelError."""
    references = (options.model, options.adapter) if options.adapter else (options.model,)
    return [hub.resolve(reference, download=options.download) for reference in references]


def configuration(task: Task, options: ExtractOptions) -> dict[str, Any]:
    """All that shapes the record of a document that does not fail, as JSON values by the names of options.

    What only decides speed, or whether a document fails (--context), is not in it.
    """
    files = model_files(options)
    return {
        "model": str(files[0]),
        "model's content": fingerprint(files[:1]),
        "adapter's content": fingerprint(files[1:]) if files[1:] else None,
        "calibration": repr(task.calibration) if task.calibration else None,
        "prompt": [PROMPT_VERSION, *asdict(task.prompt).values()],
        "labels": {label.name: label.definition for label in task.labels},
        "labels of each pass": [len(labels) for labels in task.passes],
        "labels in company": [label.name for labels in task.passes for label in labels if label not in task.labels],
        "format": task.format,
        "depth": task.depth,
        "constraint": task.constraint.value,
        "chunk": task.chunk_bytes,
        "overlap": task.overlap_bytes,
        "min-score": task.min_score,
    }


def _calibration(task: Task, files: Sequence[Path], options: ExtractOptions) -> Calibration | None:
    """The one to obey: that of the options, or the one beside the model."""
    path = Path(options.calibration) if options.calibration else calibration_path(files)
    if not options.calibrated or not (options.calibration or path.exists()):
        return None
    return read_calibration(path, files, format=task.format, constraint=task.constraint)


def _task(model: Model, options: ExtractOptions) -> Task:
    instructions = Instructions.from_metadata(model.metadata)
    if instructions is None and not options.labels:
        raise UsageError(f"{model.path} brings no labels of its own; say what to extract with --types or --labels")
    task = Task(
        labels=_labels(options, instructions),
        prompt=instructions.prompt if instructions else _general_prompt(model),
        format=options.format or (instructions.format if instructions else UNTRAINED_FORMAT),
        depth=options.depth,
        chunk_bytes=options.chunk_bytes or (instructions.chunk_bytes if instructions else UNTRAINED_CHUNK_BYTES),
        overlap_bytes=options.overlap_bytes,
        constraint=options.constraint,
        min_score=options.min_score,
    )
    labels = instructions.company(task.labels) if instructions else task.labels
    return replace(task, passes=_passes(labels, task, model, options.engine.context))


def _general_prompt(model: Model) -> Prompt:
    template = model.metadata.get(CHAT_TEMPLATE)
    return literal_prompt(template, model.path, special=model.special_tokens, begins=model.begins)


def _passes(labels: tuple[Label, ...], task: Task, model: Model, context: int) -> tuple[tuple[Label, ...], ...]:
    """The labels in as few runs as leave room for any chunk and its completion, or for half of what there is room."""
    limit = min(context, model.trained_context)
    room = max(limit // 2, limit - TOKENS_A_BYTE * task.chunk_bytes)
    passes = label_passes(labels, lambda labels: len(model.prefix_ids(task.prompt.prefix(labels))) <= room)
    if len(passes) > 1:
        log.warning("%d labels do not fit one prompt; each text is asked about in %d passes", len(labels), len(passes))
    return passes


def _labels(options: ExtractOptions, instructions: Instructions | None) -> tuple[Label, ...]:
    """The labels asked for, with the definitions that the model knows where none are given."""
    if instructions is None:
        return options.labels or ()
    known = {label.name: label for label in instructions.labels}
    if not options.labels:
        return tuple(known[name] for name in instructions.default_labels)
    if options.strict_labels or not instructions.open_labels:
        _tell_unknown(options.labels, instructions, strict=options.strict_labels)
    return tuple(label if label.definition else known.get(label.name, label) for label in options.labels)


def _tell_unknown(labels: tuple[Label, ...], instructions: Instructions, *, strict: bool) -> None:
    """Warns of labels that the model was not trained on; raises UsageError where it is to be strict."""
    unknown = extraction.unknown_labels(labels, instructions.labels)
    for name, nearest in islice(unknown.items(), UNKNOWN_TOLD):
        message = f"the model was not trained on the label {name!r}; the nearest it knows: {', '.join(nearest)}"
        if strict:
            raise UsageError(message)
        log.warning(message)
    if len(unknown) > UNKNOWN_TOLD:
        log.warning("nor was it trained on %d more of the labels", len(unknown) - UNKNOWN_TOLD)


def extract(
    documents: Iterable[str | Mapping[str, Any]], *, types: str | Sequence[str | Label] | None = None, **options: Any
) -> Iterator[dict[str, Any]]:
    """Records like those of `genner extract`, one for each document, in order.

    documents: texts, or mappings with `text` and any other fields, which are carried through. types:
    "PER,ORG", or names and Labels. Other options: those of ExtractOptions and EngineOptions by name.
    """
    labels = parse_types(types) if isinstance(types, str) else [_label(label) for label in types or ()]
    engine_names = {item.name for item in fields(EngineOptions)}
    engine = EngineOptions(**{name: value for name, value in options.items() if name in engine_names})
    others = {name: value for name, value in options.items() if name not in engine_names}
    with open_extractor(ExtractOptions(labels=tuple(labels) or None, engine=engine, **others)) as extractor:
        read = (document_of(document, f"document {number}") for number, document in enumerate(documents, 1))
        for result in extractor.extract(read):
            yield record_of(result)


def _label(label: str | Label) -> Label:
    return label if isinstance(label, Label) else Label(label)
