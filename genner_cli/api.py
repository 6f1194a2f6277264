"""What Python callers have of genner: `Extractor`, `extract` and `run`.

from genner_cli import Extractor
with Extractor(types="PER,ORG") as extractor:
    for record in extractor.extract(["John Smith joined Acme."]):
        print(record["entities"])
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Self

from genner_cli.errors import UsageError
from genner_cli.files.hints import hinted
from genner_cli.files.labels import parse_types, with_own_labels
from genner_cli.files.reading import document_of
from genner_cli.files.writing import record_of
from genner_cli.ledger import Ledger
from genner_cli.running.backend import Opened, extractions
from genner_cli.running.by_patterns import PatternBackend
from genner_cli.running.local import Progress, Run, silent
from genner_cli.running.spec import RunSpec
from genner_cli.types import Label

Types = str | Sequence[str | Label]
"""Labels to extract: "PER,ORG", or names and Labels."""
Given = str | Mapping[str, Any]
"""A text, or a mapping with a text and any other fields, which are carried through."""


class Extractor:
    """A model that is opened once, by `with`, and used for many calls.

    Options are those of `genner extract` by name, with `_` for `-`: model, adapter, format, depth, slots, threads and
    the like (`running.spec.RunSpec`, `generation.EngineOptions`); with `cluster="ray"` the model runs in actors.
    Without types the model's own labels are extracted.
    Raises TypeError for an option that there is not; `with` raises ModelError and UsageError with a remedy.
    """

    def __init__(self, types: Types | None = None, **options: Any) -> None:
        self._spec = RunSpec.of(labels=_labels(types), **options)
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
        asked = hinted((with_own_labels(each, field) for each in read), self._spec.hints, **names)
        for result in extractions(opened, asked, own_labels=field is not None):
            yield record_of(result, **names, keep_completion=self._spec.keep_completion)

    @property
    def _ready(self) -> Opened:
        if self._opened is None:
            raise UsageError("the extractor is not open; use it in a with block: `with Extractor(...) as extractor:`")
        return self._opened


def extract(documents: Iterable[Given], *, types: Types | None = None, **options: Any) -> Iterator[dict[str, Any]]:
    """Records like those of `genner extract`, one for each document, in order.

    Opens the model for this call alone; see `Extractor` for the options, and for many calls.
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
    command by name; `inputs` may be globs. Raises UsageError, ModelError, and GennerError where the disk refuses.
    """
    paths = [inputs] if isinstance(inputs, str | os.PathLike) else inputs
    spec = RunSpec.of(inputs=tuple(map(os.fspath, paths)), output=os.fspath(output), labels=_labels(types), **options)
    return run_spec(spec).ledger


def run_spec(spec: RunSpec, progress: Progress = silent) -> Run:
    """Does a run: on a cluster, if the spec names one, else here with the engine in a child process."""
    if spec.cluster:
        from genner_cli.cluster.run import run as run_on_cluster

        return run_on_cluster(spec, progress)
    from genner_cli.running.local import run as run_here
    from genner_cli.running.supervised import SupervisedBackend

    return run_here(spec, PatternBackend() if spec.no_model else SupervisedBackend(), progress)


def _labels(types: Types | None) -> tuple[Label, ...] | None:
    if isinstance(types, str):
        return tuple(parse_types(types))
    return tuple(label if isinstance(label, Label) else Label(label) for label in types or ()) or None
