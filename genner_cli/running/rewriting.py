"""Records -> new records in one output, in batches; resumable, as an extraction is.

Knows nothing of the terminal, of models and of what becomes of the records.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from genner_cli.errors import UsageError
from genner_cli.files import STDIO, total_bytes
from genner_cli.files.manifest import Settings
from genner_cli.files.predictions import refuse_documents
from genner_cli.files.reading import expand, read_documents
from genner_cli.files.resuming import ResumableOutput
from genner_cli.files.writing import SUFFIXES, Writer, check_target, json_line
from genner_cli.ledger import Ledger, Outcome
from genner_cli.options import key_of
from genner_cli.plurals import counted
from genner_cli.running.local import Progress, silent
from genner_cli.running.spec import RunSpec
from genner_cli.running.stopping import Stopper
from genner_cli.types import Document, FailedDocument, Reason

FEWEST_DOCUMENTS, MOST_DOCUMENTS = 16, 256
BATCH_SECONDS = 5.0
"""A batch has as many documents as take about so long, since it is lost if the run ends within it."""
BATCH_CHARACTERS = 4 * 2**20
MESSAGES_KEPT = 20
Record = Document | FailedDocument


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """From where to where. Inputs are paths and globs; a field that is kept stands in the output as it is.
    `retry_errors`: records that failed in an earlier run are first made again."""

    inputs: tuple[str, ...]
    output: str = STDIO
    text_field: str = "text"
    id_field: str = "id"
    restart: bool = False
    retry_errors: bool = False


def files_of(inputs: Sequence[str], spec: RunSpec) -> Files:
    """These inputs, with the output and the fields of a run."""
    return Files(
        inputs=tuple(inputs), output=spec.output, text_field=spec.text_field, id_field=spec.id_field,
        restart=spec.restart, retry_errors=spec.retry_errors,
    )  # fmt: skip


class Rewritten(NamedTuple):
    """A new record and the number of its entities; `error`: the message of a failure, of which the record has nothing
    that must not be in the output."""

    record: dict[str, Any]
    entities: int = 0
    error: str = ""


class Rewriting(Protocol):
    """What becomes of records. `settings`: all that a new record depends on beside the old one."""

    @property
    def settings(self) -> dict[str, Any]: ...

    def rewrite(self, documents: Sequence[Record], files: Files, /) -> Iterable[Rewritten]:
        """A batch -> the new records, in order. What they need beside the output is durable when the last is given."""


Documents = Callable[[Callable[[int], None]], Iterator[Record]]
"""Gives the records of the input; is given what counts its bytes."""


@dataclass
class Done:
    """A run under way, or done. `ledger` counts earlier runs on the output too, `documents` and `messages` this one;
    `complete`: there was nothing to do."""

    ledger: Ledger = field(default_factory=Ledger)
    documents: int = 0
    messages: list[str] = field(default_factory=list)
    complete: bool = False
    seconds: float = 0.0

    def summary(self) -> str:
        """One line of what was done."""
        if self.complete:
            return f"{self.ledger.text()}; the output is complete, there was nothing to do"
        earlier = self.ledger.documents - self.documents
        already = f", {earlier:,} already done in an earlier run" if earlier else ""
        return f"{self.ledger.text()} in {self.seconds:,.1f} s{already}"


def rewrite(
    files: Files,
    rewriting: Rewriting,
    progress: Progress = silent,
    documents: Documents | None = None,
) -> Done:
    """Rewrites all records, resuming what an earlier run left. `documents`: the records of the inputs, where these are
    not to be read one after the other.
    Raises UsageError, GennerError, KeyboardInterrupt."""
    inputs = expand(files.inputs)
    refuse_documents(inputs)
    if files.retry_errors and STDIO in inputs:
        raise UsageError("--retry-errors reads the input twice; name files, not '-'")
    done, started, read = Done(), time.monotonic(), _Read()

    def records() -> Iterator[Record]:
        read.bytes = 0
        return documents(read) if documents else _records(inputs, files, read)

    with Stopper() as stopper, progress(total_bytes(inputs)) as show:

        def run(some: Iterator[Record], write: Write) -> None:
            for batch in batches(stopper.feed(some)):
                _write(batch, files, rewriting, write, done)
                for document in batch:
                    stopper.done(document)
                show(read.bytes, counted(done.documents, "document"))
            stopper.check()

        _run(files, inputs, rewriting, done, records, run)
    done.seconds = time.monotonic() - started
    return done


def _records(inputs: Sequence[str], files: Files, read: Callable[[int], None]) -> Iterator[Record]:
    return read_documents(inputs, text_field=files.text_field, id_field=files.id_field, dropped=(), progress=read)


@dataclass
class _Read:
    """Counts bytes of input."""

    bytes: int = 0

    def __call__(self, count: int) -> None:
        self.bytes += count


Write = Callable[[bytes, Record, Outcome], None]


def _run(
    files: Files,
    inputs: Sequence[str],
    rewriting: Rewriting,
    done: Done,
    records: Callable[[], Iterator[Record]],
    run: Callable[[Iterator[Record], Write], None],
) -> None:
    """Runs over the documents without a record, and before that over those whose record failed, if these are wanted."""
    if files.output == STDIO:
        with Writer(STDIO) as writer:

            def write(line: bytes, document: Record, outcome: Outcome) -> None:
                writer.write(line)
                done.ledger.note(outcome)

            run(records(), write)
        return
    check_target(files.output, inputs=inputs, suffixes=SUFFIXES)
    names = {"text_field": files.text_field, "id_field": files.id_field}
    with ResumableOutput(files.output, inputs=inputs, **names) as output:
        shown = {key_of(name): value for name, value in names.items()}
        output.begin(Settings({**rewriting.settings, **shown}), restart=files.restart)
        if files.retry_errors:
            with output.retry() as retry:
                run(retry.rest(records()), retry.write)
                retry.finish()
        missing = output.rest(records())
        done.ledger, done.complete = output.ledger, output.finished
        run(missing, output.write)
        output.finish()


def batches(documents: Iterable[Record], now: Callable[[], float] = time.monotonic) -> Iterator[list[Record]]:
    """Batches of about BATCH_SECONDS each: after one that took less than half of that, the next may be twice as long;
    after one that took more than twice that, half as long."""
    size = FEWEST_DOCUMENTS
    batch: list[Record] = []
    characters = 0
    for document in documents:
        batch.append(document)
        characters += len(document.text) if isinstance(document, Document) else 0
        if len(batch) >= size or characters >= BATCH_CHARACTERS:
            began = now()
            yield batch
            size = _next_size(size, now() - began)
            batch, characters = [], 0
    if batch:
        yield batch


def _next_size(size: int, seconds: float) -> int:
    if seconds < BATCH_SECONDS / 2:
        return min(2 * size, MOST_DOCUMENTS)
    if seconds > BATCH_SECONDS * 2:
        return max(size // 2, FEWEST_DOCUMENTS)
    return size


def _write(batch: Sequence[Record], files: Files, rewriting: Rewriting, write: Write, done: Done) -> None:
    for document, new in zip(batch, list(rewriting.rewrite(batch, files)), strict=True):
        characters = len(document.text) if isinstance(document, Document) else 0
        reason = Reason.INPUT if new.error else None
        write(json_line(new.record), document, Outcome(characters, 0, new.entities, reason))
        done.documents += 1
        if new.error and len(done.messages) < MESSAGES_KEPT:
            done.messages.append(new.error)


def id_of(document: Record, files: Files) -> dict[str, Any]:
    """The id field of a record, as it is; nothing without one."""
    return {files.id_field: document.fields[files.id_field]} if files.id_field in document.fields else {}
