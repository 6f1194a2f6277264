"""Records with entities -> redacted records in one output, and back; resumable, as an extraction is.

Knows nothing of the terminal and of models.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import pairwise
from typing import Any, ClassVar, Protocol

from genner_cli.errors import DataError
from genner_cli.files import OUTPUT_FIELDS, STDIO, total_bytes
from genner_cli.files.manifest import Settings
from genner_cli.files.predictions import extraction_of
from genner_cli.files.pseudonyms import KeyFile
from genner_cli.files.reading import expand, read_documents
from genner_cli.files.resuming import ResumableOutput
from genner_cli.files.writing import SUFFIXES, Writer, check_target, entity_value, json_line
from genner_cli.ledger import Ledger, Outcome
from genner_cli.options import key_of
from genner_cli.plurals import counted
from genner_cli.redaction import Operator, Redacted, Redaction, Redactor, moved, replaced
from genner_cli.running.local import Progress, silent
from genner_cli.running.stopping import Stopper
from genner_cli.types import Document, Entity, Extraction, FailedDocument, Reason

BATCH_DOCUMENTS = 256
BATCH_CHARACTERS = 4 * 2**20
"""Names of a batch are durable in the key file before one of its records is written."""
MESSAGES_KEPT = 20
ALL_FIELDS = "*"
Record = Document | FailedDocument


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """From where to where. Inputs are paths and globs; a field that is kept stands in the output as it is."""

    inputs: tuple[str, ...]
    output: str = STDIO
    text_field: str = "text"
    id_field: str = "id"
    restart: bool = False


class Rewriting(Protocol):
    """What becomes of records. `verb`: for messages; `settings`: all that a new record depends on beside the
    old one."""

    verb: ClassVar[str]

    @property
    def settings(self) -> dict[str, Any]: ...

    def rewrite(self, document: Document, files: Files, /) -> tuple[dict[str, Any], int]:
        """The new record and the number of its entities. Raises DataError for one that cannot be rewritten."""

    def settle(self) -> None:
        """Is called before the records so far are written."""


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


def rewrite(files: Files, rewriting: Rewriting, progress: Progress = silent) -> Done:
    """Rewrites all records, resuming what an earlier run left. Raises UsageError, GennerError, KeyboardInterrupt."""
    inputs = expand(files.inputs)
    done, started, read = Done(), time.monotonic(), _Read()
    with Stopper() as stopper, progress(total_bytes(inputs)) as show:
        documents: Iterator[Record] = read_documents(
            inputs, text_field=files.text_field, id_field=files.id_field, dropped=(), progress=read
        )
        with _sink(files, inputs, rewriting, done) as (rest, write):
            for batch in _batches(stopper.feed(rest(documents))):
                _write(batch, files, rewriting, write, done)
                for document in batch:
                    stopper.done(document)
                show(read.bytes, counted(done.documents, "document"))
            stopper.check()
    done.seconds = time.monotonic() - started
    return done


@dataclass
class _Read:
    """Counts bytes of input."""

    bytes: int = 0

    def __call__(self, count: int) -> None:
        self.bytes += count


Rest = Callable[[Iterator[Record]], Iterator[Record]]
Write = Callable[[bytes, Record, Outcome], None]


@contextmanager
def _sink(files: Files, inputs: Sequence[str], rewriting: Rewriting, done: Done) -> Iterator[tuple[Rest, Write]]:
    """What gives the documents without a record, and what takes records; the output is whole when it is left well."""
    if files.output == STDIO:
        with Writer(STDIO) as writer:

            def write(line: bytes, document: Record, outcome: Outcome) -> None:
                writer.write(line)
                done.ledger.note(outcome)

            yield lambda documents: documents, write
        return
    check_target(files.output, inputs=inputs, suffixes=SUFFIXES)
    names = {"text_field": files.text_field, "id_field": files.id_field}
    with ResumableOutput(files.output, inputs=inputs, **names) as output:
        shown = {key_of(name): value for name, value in names.items()}
        output.begin(Settings({**rewriting.settings, **shown}), restart=files.restart)

        def rest(documents: Iterator[Record]) -> Iterator[Record]:
            missing = output.rest(documents)
            done.ledger, done.complete = output.ledger, output.finished
            return missing

        yield rest, output.write
        output.finish()


def _batches(documents: Iterable[Record]) -> Iterator[list[Record]]:
    batch: list[Record] = []
    characters = 0
    for document in documents:
        batch.append(document)
        characters += len(document.text) if isinstance(document, Document) else 0
        if len(batch) >= BATCH_DOCUMENTS or characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _write(batch: Sequence[Record], files: Files, rewriting: Rewriting, write: Write, done: Done) -> None:
    made = [_rewritten(document, files, rewriting) for document in batch]
    rewriting.settle()
    for document, (line, outcome, message) in zip(batch, made, strict=True):
        write(line, document, outcome)
        done.documents += 1
        if message and len(done.messages) < MESSAGES_KEPT:
            done.messages.append(message)


def _rewritten(document: Record, files: Files, rewriting: Rewriting) -> tuple[bytes, Outcome, str]:
    """The new record's line, what is counted, and the message of a failure, whose record has nothing of the text."""
    try:
        if not isinstance(document, Document):
            raise DataError(document.message)
        record, entities = rewriting.rewrite(document, files)
        return json_line(record), Outcome(len(document.text), 0, entities, None), ""
    except DataError as error:
        where = f"{document.source}: could not be {rewriting.verb}; the reason is on stderr"
        record = {**_id(document, files), "entities": [], "error": {"message": where}}
        characters = len(document.text) if isinstance(document, Document) else 0
        return json_line(record), Outcome(characters, 0, 0, Reason.INPUT), str(error)


def _id(document: Record, files: Files) -> dict[str, Any]:
    return {files.id_field: document.fields[files.id_field]} if files.id_field in document.fields else {}


def _sound(document: Document) -> Extraction:
    """What a record says of its entities. Raises DataError for one that failed, or whose entities are wrong."""
    extraction = extraction_of(document)
    if extraction.error is not None:
        raise DataError(f"{document.source}: its extraction failed ({extraction.error}); extract it again")
    if isinstance(extraction.document, FailedDocument):
        raise DataError(extraction.document.message)
    return extraction


@dataclass
class Redacting:
    """Entities hidden. `keep_fields`: those besides the id that stay, all with "*"; `labels` and `left_out` count
    labels, and fields that do not stay; `repeats` counts mentions beyond the entities."""

    verb: ClassVar[str] = "redacted"

    redactor: Redactor
    key_file: KeyFile | None = None
    keep_fields: Collection[str] = ()
    labels: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    repeats: int = 0
    _names: set[tuple[str, str, str]] = field(default_factory=set)

    @property
    def settings(self) -> dict[str, Any]:
        """The options, and a hash of the key."""
        key = self.key_file.key if self.key_file else b""
        return {
            "command": "redact",
            "operators": {label: operator.value for label, operator in sorted(self.redactor.operators.items())},
            "operator": self.redactor.other.value,
            "repeat": self.redactor.repeat,
            "keep-field": sorted(self.keep_fields),
            "key file's content": sha256(b"genner " + key).hexdigest() if key else None,
        }

    def rewrite(self, document: Document, files: Files, /) -> tuple[dict[str, Any], int]:
        """The record with another text, the places of what stands there now, and the fields to keep."""
        extraction = _sound(document)
        redacted = self.redactor.redact(document.text, extraction.entities)
        self._count(extraction.entities, redacted)
        entities = _in_order([*self._values(document.text, redacted), *map(entity_value, redacted.kept)])
        record = {**_id(document, files), files.text_field: redacted.text, **self._kept(document, files)}
        return {**record, "entities": entities}, len(redacted.redactions)

    def settle(self) -> None:
        """Makes the names of new pseudonyms durable."""
        if self.key_file and self._names:
            self.key_file.add(sorted(self._names))
            self._names.clear()

    def _count(self, entities: Iterable[Entity], redacted: Redacted) -> None:
        self.labels.update(entity.label for entity in entities)
        self.repeats += redacted.repeats

    def _values(self, text: str, redacted: Redacted) -> Iterator[dict[str, Any]]:
        """An entity for each replacement, but for those that are nothing."""
        for each in redacted.redactions:
            if not each.replacement:
                continue
            end = each.at + len(each.replacement)
            value = {"start": each.at, "end": end, "label": each.label, "text": each.replacement}
            value["operator"] = each.operator.value
            if each.operator is Operator.PSEUDONYM:
                value["spelling"] = each.spelling
                self._names.add((each.replacement, each.spelling, text[each.start : each.end]))
            yield value

    def _kept(self, document: Document, files: Files) -> dict[str, Any]:
        others = {
            name: value for name, value in document.fields.items() if name not in (files.id_field, *OUTPUT_FIELDS)
        }
        kept = others if ALL_FIELDS in self.keep_fields else {n: v for n, v in others.items() if n in self.keep_fields}
        self.left_out.update(others.keys() - kept.keys())
        return kept


@dataclass
class Restoring:
    """Names put back in the place of their pseudonyms."""

    verb: ClassVar[str] = "restored"

    key_file: KeyFile

    @property
    def settings(self) -> dict[str, Any]:
        """A hash of the key."""
        return {"command": "restore", "key file's content": sha256(b"genner " + self.key_file.key).hexdigest()}

    def rewrite(self, document: Document, files: Files, /) -> tuple[dict[str, Any], int]:
        """The record with the names, and the entities where they stand then. What was not a pseudonym stays."""
        _sound(document)
        given = document.fields["entities"]
        names = [self._name(value, document) for value in given if value.get("operator") == Operator.PSEUDONYM]
        names.sort(key=lambda each: each.start)
        if any(after.start < before.end for before, after in pairwise(names)):
            raise DataError(f"{document.source}: pseudonyms overlap; give the output of genner redact as it is")
        text, names_placed = replaced(document.text, names)
        entities = [
            {"start": each.at, "end": each.at + len(each.replacement), "label": each.label, "text": each.replacement}
            for each in names_placed
        ]
        others = [value for value in given if value.get("operator") != Operator.PSEUDONYM]
        entities += _moved_values(others, text, names_placed)
        fields = {name: value for name, value in document.fields.items() if name not in OUTPUT_FIELDS}
        first = _id(document, files)
        return {**first, files.text_field: text, **fields, "entities": _in_order(entities)}, len(names)

    def settle(self) -> None:
        """Nothing is to be done."""

    def _name(self, value: dict[str, Any], document: Document) -> Redaction:
        """The name to put in a pseudonym's place."""
        pseudonym, spelling = document.text[value["start"] : value["end"]], str(value.get("spelling", ""))
        original = self.key_file.original(pseudonym, spelling)
        if original is None:
            raise DataError(
                f"{document.source}: {self.key_file.path} has no name for {pseudonym!r}; name the key file that the"
                " text was redacted with"
            )
        return Redaction(value["start"], value["end"], value["label"], Operator.PSEUDONYM, original)


def _moved_values(values: Iterable[dict[str, Any]], text: str, placed: Sequence[Redaction]) -> Iterator[dict[str, Any]]:
    """Entities of a record with their places in the new text."""
    for value in values:
        entity = Entity(value["start"], value["end"], value["label"], "")
        for there in moved([entity], text, placed):
            yield {**value, "start": there.start, "end": there.end, "text": there.text}


def _in_order(values: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(values, key=lambda value: (value["start"], -value["end"], value["label"]))
