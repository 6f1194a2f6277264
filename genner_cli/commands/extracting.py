"""The run behind `genner extract`: from an open extractor to an output, with a bar, a ledger, and an end by signal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

from genner_cli.commands.stopping import Stopper
from genner_cli.errors import UsageError
from genner_cli.ledger import Ledger, Outcome, outcome_of

if TYPE_CHECKING:
    from genner_cli.api import Counting, ExtractOptions
    from genner_cli.extraction import DocumentOrFailure
    from genner_cli.files import Block
    from genner_cli.types import Extraction

_SHOW = 0.25


class Sink(Protocol):
    """Takes records one by one."""

    def write(self, line: bytes, document: DocumentOrFailure, outcome: Outcome, /) -> None: ...


@dataclass(frozen=True)
class Plan:
    """What to read and how to write it. `read` is handed `blocks`, the share of `paths`, and what counts bytes.

    `shape`: options that shape a record, beyond those of extraction. `restart`, `retry`: see `genner extract`.
    """

    paths: list[str]
    blocks: Sequence[str | Block]
    output: str
    options: ExtractOptions
    read: Callable[..., Iterator[DocumentOrFailure]]
    to_line: Callable[[Extraction], bytes]
    limit: int | None
    shape: dict[str, Any]
    restart: bool
    retry: bool

    def documents(self, run: Run) -> Iterator[DocumentOrFailure]:
        """The input from its beginning."""
        return islice(self.read(self.blocks, progress=run.read), self.limit)


@dataclass
class Run:
    """What was done so far, and what to show of it. The ledger counts earlier runs on the same output as well."""

    engine: Counting
    show: Callable[[int, str], None]
    started: float
    ledger: Ledger = field(default_factory=Ledger)
    bytes_read: int = 0
    documents: int = 0
    failed: int = 0
    complete: bool = False
    shown: float = 0.0

    def read(self, count: int) -> None:
        """Counts bytes of the input files."""
        self.bytes_read += count

    def write(self, results: Iterable[Extraction], plan: Plan, sink: Sink) -> None:
        """Extractions -> records in the sink."""
        for result in results:
            outcome = outcome_of(result)
            sink.write(plan.to_line(result), result.document, outcome)
            del result  # or it would be held beside the next, however long they are
            self._count(outcome)
            self.tell()

    def note(self, outcomes: Iterable[Outcome]) -> None:
        """Counts documents whose records were made and written elsewhere."""
        for outcome in outcomes:
            self.ledger.note(outcome)
            self._count(outcome)

    def _count(self, outcome: Outcome) -> None:
        self.documents += 1
        self.failed += outcome.reason is not None

    def tell(self) -> None:
        """Shows how far it is, unless that was shown just now."""
        now = time.monotonic()
        if now - self.shown > _SHOW:
            self.shown = now
            self.show(self.bytes_read, f"{self.documents:,} documents, {self._rate():,.0f} tokens/s")

    def summary(self) -> str:
        """One line of what was done."""
        seconds, ledger = self._seconds(), self.ledger
        if self.complete:
            return f"{ledger.text()}; the output is complete, nothing was to be done"
        earlier = ledger.documents - self.documents
        return (
            f"{ledger.text()} in {seconds:,.1f} s"
            f" ({self.documents / seconds:,.1f} documents/s, {self._rate():,.0f} tokens/s)"
            + (f", {earlier:,} of them before" if earlier > 0 else "")
            + f"; {ledger.characters_read:,} characters read, {ledger.characters_not_read:,} not,"
            f" in {ledger.chunks:,} chunks"
        )

    def report(self) -> dict[str, Any]:
        """What was done and where the time went, as a JSON value."""
        from genner_cli.engine.statistics import report

        counts = (self.engine.statistics, self.engine.costs)
        return report(*counts, seconds=self._seconds(), documents=self.documents, failed=self.failed)

    def _rate(self) -> float:
        return self.engine.statistics.decoded / self._seconds()

    def _seconds(self) -> float:
        return max(1e-9, time.monotonic() - self.started)


def run(plan: Plan) -> Run:
    """Extracts to a file, going on with what an earlier run left, or to standard output."""
    from genner_cli.files import STDIO

    with Stopper() as stopper:
        if plan.output == STDIO:
            return _to_standard_output(plan, stopper)
        return _to_file(plan, stopper)


def _to_standard_output(plan: Plan, stopper: Stopper) -> Run:
    from genner_cli.files.writing import Writer
    from genner_cli.supervising import open_supervised

    if plan.restart or plan.retry:
        raise UsageError("--restart and --retry-errors go on with a file; name it after -o")
    with (
        Writer(plan.output) as writer,
        open_supervised(plan.options) as extractor,
        progress(plan, extractor.engine) as run,
    ):
        run.write(extractor.extract(stopper.feed(plan.documents(run))), plan, _Counted(writer.write, run.ledger))
        stopper.check()
    return run


@dataclass(frozen=True)
class _Counted:
    """Standard output as a sink."""

    line: Callable[[bytes], None]
    ledger: Ledger

    def write(self, line: bytes, document: DocumentOrFailure, outcome: Outcome, /) -> None:
        self.line(line)
        self.ledger.note(outcome)


def _to_file(plan: Plan, stopper: Stopper) -> Run:
    from genner_cli.api import configuration
    from genner_cli.files import STDIO
    from genner_cli.files.resuming import ResumableOutput
    from genner_cli.supervising import open_supervised

    if plan.retry and STDIO in plan.paths:
        raise UsageError("--retry-errors reads the input twice; name files, not '-'")
    with (
        ResumableOutput(
            plan.output, inputs=plan.paths, text_field=plan.shape["text-field"], id_field=plan.shape["id-field"]
        ) as output,
        open_supervised(plan.options) as extractor,
        progress(plan, extractor.engine) as run,
    ):
        output.begin({**configuration(extractor.task, plan.options), **plan.shape}, restart=plan.restart)
        if plan.retry:
            with output.retry() as retry:
                run.write(extractor.extract(stopper.feed(retry.rest(plan.documents(run)))), plan, retry)
                stopper.check()
                retry.finish()
            run.bytes_read = 0
        rest = output.rest(plan.documents(run))
        run.ledger, run.complete = output.ledger, output.finished
        run.write(extractor.extract(stopper.feed(rest)), plan, output)
        stopper.check()
        output.finish()
    return run


@contextmanager
def progress(plan: Plan, engine: Counting) -> Iterator[Run]:
    """A bar on stderr if that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    from genner_cli.files import total_bytes

    console = Console(stderr=True)
    columns = (
        SpinnerColumn(),
        BarColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("reading", total=total_bytes(plan.blocks) if plan.limit is None else None)
        yield Run(
            engine,
            show=lambda done, text: bar.update(task, completed=done, description=text),
            started=time.monotonic(),
        )
