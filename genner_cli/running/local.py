"""A run on this machine: documents through one backend to one output, with counts, and an end by signal.

Knows nothing of the terminal: how far it is, it reports to a function that it is given.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from genner_cli.engine.statistics import report
from genner_cli.extraction import DocumentOrFailure
from genner_cli.files import Block, total_bytes
from genner_cli.files.labels import OwnLabelsSeen
from genner_cli.files.resuming import ResumableOutput
from genner_cli.files.writing import Writer
from genner_cli.ledger import Ledger, Outcome, outcome_of
from genner_cli.plurals import counted
from genner_cli.running.backend import CHOSEN, PROMPT_DATE, Backend, Counting, Opened, extractions
from genner_cli.running.spec import STDIO, RunSpec
from genner_cli.running.stopping import Stopper
from genner_cli.types import Extraction

SHOW_SECONDS = 0.25
MESSAGES_KEPT = 5

Show = Callable[[int, str], None]
"""Is given the bytes of input read so far, and a line that says how far the run is."""
Progress = Callable[[int | None], AbstractContextManager[Show]]
"""Is given the bytes of the whole input, if known, and shows progress while it is open."""


@contextmanager
def silent(total: int | None) -> Iterator[Show]:
    """Shows nothing."""
    yield lambda done, text: None


def named(progress: Progress, name: str) -> Progress:
    """Progress that says of which stage."""

    @contextmanager
    def of_stage(total: int | None) -> Iterator[Show]:
        with progress(total) as show:
            yield lambda done, text: show(done, f"{name}: {text}")

    return of_stage


class Sink(Protocol):
    """Takes records one by one."""

    def write(self, line: bytes, document: DocumentOrFailure, outcome: Outcome, /) -> None: ...


@dataclass
class Run:
    """A run under way, or done. `ledger` counts earlier runs on the same output as well, `documents` and `failed` this
    one alone; `messages`: of its first failures; `complete`: there was nothing to do."""

    engine: Counting
    show: Show
    started: float
    ledger: Ledger = field(default_factory=Ledger)
    bytes_read: int = 0
    documents: int = 0
    failed: int = 0
    messages: list[str] = field(default_factory=list)
    complete: bool = False
    shown: float = 0.0

    def read(self, count: int) -> None:
        """Counts bytes of the input files."""
        self.bytes_read += count

    def write(self, results: Iterable[Extraction], spec: RunSpec, sink: Sink) -> None:
        """Extractions -> records in the sink."""
        for result in results:
            outcome = outcome_of(result)
            if result.error is not None and len(self.messages) < MESSAGES_KEPT:
                self.messages.append(result.error)
            sink.write(spec.line(result), result.document, outcome)
            del result  # or it would be held beside the next, however long they are
            self._count(outcome)
            self.update()

    def note(self, outcomes: Iterable[Outcome]) -> None:
        """Counts documents whose records were made and written elsewhere."""
        for outcome in outcomes:
            self.ledger.note(outcome)
            self._count(outcome)

    def _count(self, outcome: Outcome) -> None:
        self.documents += 1
        self.failed += outcome.reason is not None

    def update(self) -> None:
        """Shows how far it is, unless that was shown just now."""
        now = time.monotonic()
        if now - self.shown > SHOW_SECONDS:
            self.shown = now
            self.show(self.bytes_read, f"{counted(self.documents, 'document')}, {self._rate():,.0f} tokens/s")

    def summary(self) -> str:
        """One line of what was done."""
        seconds, ledger = self._seconds(), self.ledger
        if self.complete:
            return f"{ledger.text()}; the output is complete, there was nothing to do"
        earlier, unread = ledger.documents - self.documents, ledger.characters_not_read
        return (
            f"{ledger.text()} in {seconds:,.1f} s"
            f" ({self.documents / seconds:,.1f} documents/s, {self._rate():,.0f} tokens/s)"
            + (f", {earlier:,} already done in an earlier run" if earlier > 0 else "")
            + f"; {counted(ledger.characters_read, 'character')} in {counted(ledger.chunks, 'chunk')}"
            + (f", {counted(unread, 'character')} not processed" if unread else "")
        )

    def report(self) -> dict[str, Any]:
        """What was done and where the time went, as a JSON value."""
        counts = (self.engine.statistics, self.engine.costs)
        return report(*counts, seconds=self._seconds(), documents=self.documents, failed=self.failed)

    def _rate(self) -> float:
        return self.engine.statistics.decoded / self._seconds()

    def _seconds(self) -> float:
        return max(1e-9, time.monotonic() - self.started)


@contextmanager
def started(spec: RunSpec, blocks: Sequence[str | Block], engine: Counting, progress: Progress) -> Iterator[Run]:
    """A run whose progress is shown."""
    with progress(total_bytes(blocks) if spec.limit is None else None) as show:
        yield Run(engine, show, started=time.monotonic())


def run(spec: RunSpec, backend: Backend, progress: Progress = silent) -> Run:
    """Extracts to a file, resuming what an earlier run left of it, or to standard output.

    Raises UsageError, ModelError, GennerError where the disk refuses, and KeyboardInterrupt at a signal.
    """
    spec = spec.expanded()
    blocks = spec.blocks()
    with Stopper() as stopper:
        if spec.output == STDIO:
            return _to_standard_output(spec, blocks, backend, progress, stopper)
        return _to_file(spec, blocks, backend, progress, stopper)


def _to_standard_output(
    spec: RunSpec, blocks: Sequence[str | Block], backend: Backend, progress: Progress, stopper: Stopper
) -> Run:
    with (
        Writer(spec.output) as writer,
        backend.open(spec) as opened,
        started(spec, blocks, opened, progress) as run,
    ):
        documents = spec.documents(blocks, progress=run.read)
        run.write(_extracted(opened, documents, spec, stopper), spec, _Counted(writer.write, run.ledger))
        stopper.check()
    return run


def _extracted(
    opened: Opened, documents: Iterator[DocumentOrFailure], spec: RunSpec, stopper: Stopper
) -> Iterator[Extraction]:
    """Extractions of documents, until a signal comes."""
    field = spec.labels_field
    seen = OwnLabelsSeen(field)
    for result in extractions(opened, stopper.feed(documents), own_labels=field is not None):
        seen.note(result.document)
        stopper.done(result.document)
        yield result
        del result  # see `Run.write`
    seen.warn()


@dataclass(frozen=True)
class _Counted:
    """Standard output as a sink."""

    line: Callable[[bytes], None]
    ledger: Ledger

    def write(self, line: bytes, document: DocumentOrFailure, outcome: Outcome, /) -> None:
        self.line(line)
        self.ledger.note(outcome)


def _to_file(
    spec: RunSpec, blocks: Sequence[str | Block], backend: Backend, progress: Progress, stopper: Stopper
) -> Run:
    with (
        resumable(spec) as output,
        backend.open(spec := resumed(spec, output)) as opened,
        started(spec, blocks, opened, progress) as run,
    ):
        output.begin(opened.facts.settings(spec), restart=spec.restart)
        if spec.retry_errors:
            with output.retry() as retry:
                failed = retry.rest(spec.documents(blocks, progress=run.read))
                run.write(_extracted(opened, failed, spec, stopper), spec, retry)
                stopper.check()
                retry.finish()
            run.bytes_read = 0
        rest = output.rest(spec.documents(blocks, progress=run.read))
        run.ledger, run.complete = output.ledger, output.finished
        run.write(_extracted(opened, rest, spec, stopper), spec, output)
        stopper.check()
        output.finish()
    return run


def resumable(spec: RunSpec) -> ResumableOutput:
    """The output of a run. Raises UsageError for one that cannot be written."""
    return ResumableOutput(spec.output, inputs=spec.inputs, text_field=spec.text_field, id_field=spec.id_field)


def resumed(spec: RunSpec, output: ResumableOutput) -> RunSpec:
    """The same run with what the one it resumes has found out: the date in its prompts, and what it has chosen."""
    earlier = None if spec.restart else output.earlier()
    known = earlier.model if earlier else {}
    return replace(spec, prompt_date=spec.prompt_date or known.get(PROMPT_DATE), chosen=known.get(CHOSEN))
