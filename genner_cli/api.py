"""What Python callers have of genner: `Extractor`, `extract`, `run`, and `estimate` of how long a run takes.

from genner_cli import Extractor
with Extractor(types="PER,ORG") as extractor:
    for record in extractor.extract(["John Smith joined Acme."]):
        print(record["entities"])
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from genner_cli.errors import UsageError
from genner_cli.files import size
from genner_cli.files.labels import is_file_of_labels, parse_types, with_own_labels
from genner_cli.files.reading import document_of
from genner_cli.files.writing import record_of
from genner_cli.ledger import Ledger
from genner_cli.plurals import counted
from genner_cli.running.backend import Opened, extractions
from genner_cli.running.by_patterns import PatternBackend
from genner_cli.running.local import Progress, Run, silent
from genner_cli.running.spec import RunSpec
from genner_cli.tasks import Task, TaskOf
from genner_cli.types import Label

if TYPE_CHECKING:
    from genner_cli.engine.model import Model
    from genner_cli.planning import Estimate, Survey, Tally

_EVERY = 1000

Types = str | Sequence[str | Label]
"""Labels to extract: "PER,ORG", or names and Labels."""
Given = str | Mapping[str, Any]
"""A text, or a mapping with a text and any other fields, which are carried through."""
_INSTEAD = {
    "labels": "give labels as types: names, or Labels with definitions",
    "nested": "give the levels as depth: 4 is --nested",
    "flat": "give the levels as depth: 1 is --flat",
    "verify": "genner extract alone has it",
    "stats": "genner extract alone has it",
}
"""Options of `genner extract` that are otherwise called in Python, or not there, and what to do."""
_OF_RUNS = ("inputs", "output", "limit", "shard", "restart", "retry_errors")
"""Options that say something of files, which only `run` has."""


class Extractor:
    """A model that is opened once, by `with`, and used for many calls.

    Options are those of `genner extract` by name, with `_` for `-`: model, adapter, format, depth, slots, threads and
    the like (`running.spec.RunSpec`, `generation.EngineOptions`); with `cluster="ray"` the model runs in actors.
    Without types the model's own labels are extracted. Levels of entities inside entities are `depth`, 1 for flat.
    Raises TypeError for an unknown option, UsageError for types that are not labels and for options that are out of
    bounds or contradict each other; `with` raises ModelError and UsageError with a remedy.
    """

    def __init__(self, types: Types | None = None, **options: Any) -> None:
        if of_runs := [name for name in _OF_RUNS if name in options]:
            raise TypeError(f"{of_runs[0]!r} is an option of run, which reads and writes files, and not of Extractor")
        self._spec = _spec(types, options)
        self._open = ExitStack()
        self._opened: Opened | None = None

    def __enter__(self) -> Self:
        if self._spec.cluster:
            from genner_cli.cluster.run import opened

            self._opened = self._open.enter_context(opened(self._spec))
        elif self._spec.no_model:
            self._opened = self._open.enter_context(PatternBackend().open(self._spec))
        else:
            from genner_cli.running.llama import LlamaBackend

            self._opened = self._open.enter_context(LlamaBackend().open(self._spec))
        return self

    def __exit__(self, *_: object) -> None:
        self._opened = None
        self._open.close()

    @property
    def labels(self) -> tuple[Label, ...]:
        """The labels that are extracted, with their definitions."""
        return self._ready.facts.task.labels

    def extract(self, documents: Iterable[Given]) -> Iterator[dict[str, Any]]:
        """Records like those of `genner extract`, one for each document, in order; a failed one has an `error`.

        One call at a time: raises UsageError while an earlier one is neither finished nor closed, and TypeError for a
        single text or mapping.
        """
        if isinstance(documents, str | bytes | Mapping):
            raise TypeError("documents is a single document, not a list of them; put it into a list: [document]")
        opened, names = self._ready, {"text_field": self._spec.text_field, "id_field": self._spec.id_field}
        field = self._spec.labels_field
        read = (document_of(each, f"document {number}", **names) for number, each in enumerate(documents, 1))
        asked = self._spec.hinted(with_own_labels(each, field) for each in read)
        for result in extractions(opened, asked, own_labels=field is not None):
            yield record_of(result, **names, keep_completion=self._spec.keep_completion)

    @property
    def _ready(self) -> Opened:
        if self._opened is None:
            raise UsageError("the extractor is not open; use it in a with block: `with Extractor(...) as extractor:`")
        return self._opened


def extract(documents: Iterable[Given], *, types: Types | None = None, **options: Any) -> Iterator[dict[str, Any]]:
    """Records like those of `genner extract`, one for each document, in order.

    Opens the model for this call alone; see `Extractor` for the options, the errors, and for many calls.
    """
    with Extractor(types, **options) as extractor:
        yield from extractor.extract(documents)


def run(
    inputs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    output: str | os.PathLike[str],
    types: Types | None = None,
    **options: Any,
) -> Ledger:
    """Extracts from files to a file, as `genner extract INPUT... -o OUTPUT` does; gives what became of the documents.

    The engine runs in a child process, and an interrupted run is resumed by the same call. Options are those of the
    command by name, and types and depth as in `Extractor`; `inputs` may be globs. Raises TypeError for an unknown
    option, UsageError, ModelError, and GennerError where the disk refuses.
    """
    paths = [inputs] if isinstance(inputs, str | os.PathLike) else inputs
    files = tuple(os.fspath(path) for path in paths)
    return run_spec(_spec(types, {**options, "inputs": files, "output": os.fspath(output)})).ledger


def run_spec(spec: RunSpec, progress: Progress = silent) -> Run:
    """Does a run: on a cluster, if the spec names one, else here with the engine in a child process."""
    if spec.cluster:
        from genner_cli.cluster.run import run as run_on_cluster

        return run_on_cluster(spec, progress)
    from genner_cli.running.local import run as run_here
    from genner_cli.running.supervised import SupervisedBackend

    return run_here(spec, PatternBackend() if spec.no_model else SupervisedBackend(), progress)


def estimate(
    spec: RunSpec, sample: int, seconds: float, progress: Callable[[str], None] = lambda text: None
) -> Estimate:
    """Counts all documents of a run, and times a sample of them for about this many seconds.

    Raises UsageError for streams, which can be read only once, and for inputs without text; ModelError.
    """
    from genner_cli.planning import survey
    from genner_cli.running.llama import open_model, retrieval, task_of_others

    for path in spec.inputs:
        if size(path) is None:
            raise UsageError(
                f"{path}: a stream can be read only once, and genner extract would find it empty;"
                " save the documents to a file, and name that"
            )
    with open_model(spec) as (facts, model):

        def note(counts: Survey) -> None:
            if counts.documents % _EVERY == 0:
                progress(f"reading: {counts.documents:,} documents")

        task_of = partial(task_of_others, model, spec, facts, set()) if spec.labels_field else None
        prefix_of = partial(_prefix, model, facts.task, task_of) if task_of else None
        surveyed = survey(spec.documents(), facts.task, sample, note, prefix_of)
        with retrieval(model, spec, facts) as ranked:
            own = (lambda labels: task_of(labels).ranked_by(ranked)) if task_of else None
            progress("timing the sample")

            def timed(tally: Tally) -> None:
                progress(f"timing the sample: {counted(tally.completions, 'chunk')}")

            return _timed(surveyed, facts.task.ranked_by(ranked), model, spec, seconds, own, timed)


def _prefix(model: Model, task: Task, task_of: TaskOf, labels: tuple[Label, ...] | None) -> int:
    """The tokens of the prompts' fixed parts with these labels; none where the model refuses them."""
    try:
        asked = task if labels is None else task_of(labels)
    except UsageError:
        return 0
    return sum(model.prefix_length(each.prompt.prefix(each.labels)) for each in asked.by_pass())


def _timed(
    surveyed: Survey,
    task: Task,
    model: Model,
    spec: RunSpec,
    seconds: float,
    task_of: TaskOf | None,
    note: Callable[[Tally], None],
) -> Estimate:
    """Where labels take several passes, the first is timed, for no other has more labels in its prompt; where entities
    are found first, to choose examples by them, that pass takes as long. With labels of their own, documents are timed
    in all their passes."""
    from genner_cli.engine.engine import Engine
    from genner_cli.engine.type_speeds import report
    from genner_cli.planning import Estimate, time_sample

    first, *others = [task] if task_of else task.by_pass()
    options = replace(spec.engine, slots=min(spec.engine.slots, surveyed.chunks))
    with Engine(model, options) as engine:
        timing = time_sample(
            surveyed.sample, first, engine.generate,
            slots=options.slots, seconds=seconds, task_of=task_of, note=note,
        )  # fmt: skip
        count = engine.statistics
    return Estimate(
        surveyed,
        timing,
        options.slots,
        surveyed.prefix if task_of else count.prefix,
        model_bytes=model.file_bytes,
        kv_cache_bytes=model.header.kv_cache_bytes(options.context),
        invariance=engine.invariance,
        weights=report(model.header, options),
        passes=(1 + len(others)) * (2 if first.in_two_passes else 1),
        retrieved=count.retrieved / max(1, count.prompt),
        hints=count.hints / max(1, count.prompt),
    )


def _spec(types: Types | None, options: Mapping[str, Any]) -> RunSpec:
    """The run of a call from Python. Raises TypeError and UsageError."""
    for name in options.keys() & _INSTEAD:
        raise TypeError(f"{name!r} is not an option in Python; {_INSTEAD[name]}")
    return RunSpec.of(labels=_labels(types), **options)


def _labels(types: Types | None) -> tuple[Label, ...] | None:
    """Raises UsageError for a name that cannot be a label, and for that of a file."""
    if isinstance(types, str) and is_file_of_labels(types):
        raise UsageError(f"types={types!r} is a file; give names, or Labels with definitions")
    if isinstance(types, Mapping):
        raise UsageError("types is a mapping; give a list of Labels with definitions: [Label(name, definition), ...]")
    if isinstance(types, str):
        return tuple(parse_types(types))
    return tuple(label if isinstance(label, Label) else Label(label) for label in types or ()) or None
