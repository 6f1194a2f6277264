"""An output file that an interrupted run resumes: what stands beside it, and when it is complete.

`PATH.partial` holds the records so far, never compressed: a torn line can be cut off there, and a torn frame could
not. `PATH.run.index` has an entry for each (`journal`), `PATH.run.json` says with what they were made (`manifest`).
When all are there, the partial file becomes the output (`output_target`). `PATH.retry` and its index hold records that
are made again, until they take their places. Knows nothing of models.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext, suppress
from itertools import chain
from types import TracebackType
from typing import Self, TypeVar
from zlib import crc32

from genner_cli.errors import GennerError, UsageError
from genner_cli.files.journal import Entry, Journal, digest_of, refused
from genner_cli.files.manifest import Manifest, Settings
from genner_cli.files.output_target import OUTPUTS, OutputTarget
from genner_cli.files.streams import UNREADABLE
from genner_cli.files.writing import PARTIAL, check_target
from genner_cli.ledger import Ledger, Outcome
from genner_cli.plurals import counted
from genner_cli.types import Document, FailedDocument, Reason

COMPLETE, RUNNING, STOPPED, RETRYING = "complete", "running", "stopped", "retrying"
DocumentType = TypeVar("DocumentType", bound=Document | FailedDocument)


class ResumableOutput:
    """Takes records one by one, in order; a context manager, in which `begin` comes first.

    Raises `UsageError` at once for a path that cannot be written, and for one that another process is writing;
    `GennerError` when the disk refuses a line. What was written before stays for the next run.
    """

    def __init__(
        self, path: str, *, inputs: Sequence[str] = (), text_field: str = "text", id_field: str = "id"
    ) -> None:
        check_target(path, inputs=inputs, suffixes=OUTPUTS, addresses=True)
        self.path = path
        self.ledger = Ledger()
        self._target = OutputTarget(path, text_field=text_field, id_field=id_field)
        self._base = self._target.base
        self._manifest = f"{self._base}.run.json"
        self._journal = Journal(self._base + PARTIAL, f"{self._base}.run.index")
        self._state = STOPPED
        self._begun = self.finished = False

    def __enter__(self) -> Self:
        try:
            self._journal.__enter__()
        except BlockingIOError as error:
            manifest = Manifest.read(self._manifest)
            other = f"process {manifest.process}" if manifest and manifest.process else "another process"
            raise UsageError(f"{self.path}: {other} is writing it; wait for it, or name another file after -o") from (
                error
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if self._begun:
                self._leave(error)
            elif not os.path.exists(self._manifest) and not os.path.getsize(self._journal.index):
                self._journal.close()
                os.unlink(self._journal.index)
        finally:
            self._journal.__exit__()

    def _leave(self, error: BaseException | None) -> None:
        """Says how to resume, in the manifest and to whoever interrupted."""
        if isinstance(error, KeyboardInterrupt) and self._state == STOPPED and self.ledger.documents:
            count = f"{counted(self.ledger.documents, 'document')} written to {self._journal.lines}"
            error.add_note(f"{count}; run the same command again to resume")
        with suppress(OSError):
            self._journal.sync()
        with suppress(GennerError) if error else nullcontext():
            self._write_manifest(self._state)

    def earlier(self) -> Settings | None:
        """The settings of the run that this one resumes, if there is one. Raises UsageError for a broken manifest."""
        manifest = Manifest.read(self._manifest)
        return manifest.settings if manifest else None

    def begin(self, settings: Settings, *, restart: bool = False) -> None:
        """Looks for what is there already. Raises UsageError that names the option in which an earlier run differs;
        `restart` discards what that run wrote. Raises it too for a file that no run is known to have written, unless
        with `restart`.
        """
        self._settings = settings
        self._key = settings.key
        manifest = None if restart else Manifest.read(self._manifest)
        partial, target = os.path.exists(self._journal.lines), self._is_there()
        if manifest and (partial or target):
            manifest.refuse_other(self._manifest, settings, complete=not partial)
        elif not restart and partial and any(True for _ in self._journal):
            raise UsageError(f"{self._manifest}: is not there; restore it, or start over with --restart")
        elif not restart and target and self._target.holds_something():
            what = "is there, and no run is known to have written it"
            raise UsageError(f"{self.path}: {what}; name another file, or overwrite it with --restart")
        else:
            self._journal.clear()
        if not manifest or manifest.state != RETRYING:
            self._retried.remove()
        self._new.remove()
        self.finished = target and not partial and manifest is not None and not restart
        self.ledger = Ledger.of(entry.outcome for entry in self._journal)
        if not self.finished:
            self._open()
        elif manifest and manifest.state in (RUNNING, STOPPED):  # it ended between its last two steps
            self._enter_state(COMPLETE)

    def _is_there(self) -> bool:
        try:
            return self._target.exists()
        except OSError as error:
            raise UsageError(
                f"{self.path}: cannot be reached ({error.strerror}); check address and settings"
            ) from error

    def _open(self) -> None:
        self._journal.resume()
        self.ledger = Ledger.of(entry.outcome for entry in self._journal)
        self._enter_state(RUNNING)

    def _enter_state(self, state: str) -> None:
        """The manifest says so from now on; `stopped` afterwards, where it was `running`."""
        self._begun, self._state = True, STOPPED if state == RUNNING else state
        self._write_manifest(state, None if state == COMPLETE else os.getpid())

    @property
    def _retried(self) -> Journal:
        return Journal(f"{self._base}.retry", f"{self._base}.retry.index")

    @property
    def _new(self) -> Journal:
        return Journal(f"{self._journal.lines}.new", f"{self._journal.index}.new")

    def rest(self, documents: Iterator[DocumentType]) -> Iterator[DocumentType]:
        """The documents that have no record yet. Those that have one are drawn, and compared with it.

        Raises UsageError that names the first one that is not the document its record was made of.
        """
        for _ in self._matched(self._journal, documents):
            pass
        if self.finished:
            first = next(documents, None)
            if first is None:
                return documents
            self._rewrite(iter(()))
            documents = chain((first,), documents)
        return documents

    def _matched(
        self, entries: Iterable[Entry], documents: Iterator[DocumentType], *, corrected: bool = False
    ) -> Iterator[tuple[DocumentType, Entry]]:
        """Each entry with its document; one that could not be read may have been `corrected` since."""
        number = 0
        for number, entry in enumerate(entries, 1):
            document = next(documents, None)
            if document is None:
                raise self._other_input(
                    f"the input ends (or --limit is reached) before document {number:,}, which has a record"
                )
            unread = entry.outcome.reason is Reason.INPUT
            if digest_of(document, self._key) != entry.digest and not (corrected and unread):
                known = f"is not the document that record {number:,} was made of"
                raise self._other_input(f"{document.source}: {known}{', which could not be read' if unread else ''}")
            yield document, entry

    def _other_input(self, what: str) -> UsageError:
        return UsageError(
            f"{self.path}: {what}; the input was changed or moved since: restore it, use --retry-errors if only"
            " documents that could not be read were corrected, or start over with --restart"
        )

    def write(self, line: bytes, document: Document | FailedDocument, outcome: Outcome) -> None:
        """Adds a record. Raises GennerError for a full or failing disk."""
        self._journal.append(line, digest_of(document, self._key), outcome)
        self.ledger.note(outcome)

    def covers(self, documents: Iterator[Document | FailedDocument]) -> bool:
        """Whether there is a record for each document. Raises like `rest`."""
        for _ in self._matched(self._journal, documents):
            pass
        return next(documents, None) is None

    def fill(self, records: Iterable[tuple[bytes, Entry]]) -> None:
        """Takes records that were made elsewhere, all there are and in order, and no others: the output is whole."""
        self._journal.clear()
        self.finished = False
        self._open()
        for line, entry in records:
            self._journal.append(line, entry.digest, entry.outcome)
            self.ledger.note(entry.outcome)
        self.finish()

    def finish(self) -> None:
        """All records are there: the output takes its name. Raises GennerError where the disk refuses."""
        if not self.finished:
            try:
                self._journal.sync()
                self._target.publish(self._journal.lines)
            except OSError as error:
                raise refused(self.path, error) from error
        self.finished = True
        self._state = COMPLETE

    def retry(self) -> Retry:
        """The failed records so far, to be made again; a context manager."""
        return Retry(self)

    def _rewrite(self, replacements: Iterator[tuple[bytes, Entry]]) -> None:
        """Puts records in the place of failed ones, in order, as many as there are; a finished output is open again."""
        source = self.path if self.finished else self._journal.lines
        new = self._new.__enter__()
        try:
            new.clear()
            new.resume()
            for line, entry in written(self._target, source, self._journal):
                if entry.outcome.reason:
                    line, entry = next(replacements, (line, entry))
                new.append(line, entry.digest, entry.outcome)
            self._enter_state(RUNNING)  # what was made again counts no more beside what comes now
            self._journal.take_over(new)
        except BaseException:
            new.__exit__()
            raise
        self.finished = False
        self._open()

    def _write_manifest(self, state: str, process: int | None = None) -> None:
        Manifest(self._settings, state, process, self.ledger.value()).write(self._manifest)


def written(
    target: OutputTarget, path: str, entries: Iterable[Entry], *, remedy: str = "start over with --restart"
) -> Iterator[tuple[bytes, Entry]]:
    """The records of a file, each with its entry. Raises UsageError where they are not as they were written."""
    try:
        with target.lines(path) as lines:
            for number, entry in enumerate(entries, 1):
                line = next(lines, b"")
                if crc32(line) != entry.check:
                    raise UsageError(f"{path}:{number}: is not as it was written; {remedy}")
                yield line, entry
    except UNREADABLE as error:
        raise UsageError(f"{path}: cannot be read ({error}); {remedy}") from error


class Retry:
    """Failed records of an output that are made again, in order; they can be interrupted as well."""

    def __init__(self, output: ResumableOutput) -> None:
        self._output = output
        self._journal = output._retried

    def __enter__(self) -> Self:
        self._journal.__enter__()
        try:
            self._journal.resume()
            self._output._enter_state(RETRYING)
        except BaseException:
            self._journal.__exit__()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, KeyboardInterrupt):
            error.add_note(f"what was made again is in {self._journal.lines}; run the same command again to resume")
        self._journal.__exit__()

    def rest(self, documents: Iterator[DocumentType]) -> Iterator[DocumentType]:
        """The documents whose record failed, but for those that were made again already."""
        pairs = self._output._matched(self._output._journal, documents, corrected=True)
        failed = (document for document, entry in pairs if entry.outcome.reason)
        for _ in self._output._matched(self._journal, failed):
            pass
        return failed

    def write(self, line: bytes, document: Document | FailedDocument, outcome: Outcome) -> None:
        """Adds a record that was made again."""
        self._journal.append(line, digest_of(document, self._output._key), outcome)

    def finish(self) -> None:
        """All of them are there: they take their places. Raises GennerError where the disk refuses."""
        try:
            self._journal.sync()
        except OSError as error:
            raise refused(self._journal.lines, error) from error
        if any(True for _ in self._journal):
            self._take_places()
        else:
            self._output._enter_state(COMPLETE if self._output.finished else RUNNING)
        self._journal.remove()

    def _take_places(self) -> None:
        with open(self._journal.lines, "rb") as lines:
            self._output._rewrite((lines.readline(), entry) for entry in self._journal)
