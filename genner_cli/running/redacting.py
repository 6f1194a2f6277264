"""Records with entities -> redacted records in one output, and back; resumable, as an extraction is.

Knows nothing of the terminal and of models.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import pairwise
from typing import Any

from genner_cli.errors import DataError, UsageError
from genner_cli.files import OUTPUT_FIELDS
from genner_cli.files.predictions import extraction_of
from genner_cli.files.pseudonyms import KeyFile
from genner_cli.files.writing import entity_value
from genner_cli.redaction import Operator, Pseudonyms, Redacted, Redaction, Redactor, moved, operators_of, replaced
from genner_cli.running.rewriting import Done, Files, Record, Rewritten, id_of
from genner_cli.types import Document, Entity, Extraction, FailedDocument

log = logging.getLogger("genner")
ALL_FIELDS = "*"
_Rewrite = Callable[[Document, Files], Rewritten]


def _one_by_one(documents: Iterable[Record], files: Files, rewrite: _Rewrite, verb: str) -> list[Rewritten]:
    """The record of one that cannot be rewritten has nothing of its text; only its message may."""
    made = []
    for document in documents:
        try:
            if not isinstance(document, Document):
                raise DataError(_failure(extraction_of(document), document.source) or document.message)
            made.append(rewrite(document, files))
        except DataError as error:
            where = f"{document.source}: could not be {verb}; the reason is on stderr"
            record = {**id_of(document, files), "entities": [], "error": {"message": where}}
            made.append(Rewritten(record, error=str(error)))
    return made


def _sound(document: Document) -> Extraction:
    """What a record says of its entities. Raises DataError for one that failed, or whose entities are wrong."""
    extraction = extraction_of(document)
    if failure := _failure(extraction, document.source):
        raise DataError(failure)
    return extraction


def _failure(extraction: Extraction, source: str) -> str | None:
    """Why a record cannot be used: it failed before, perhaps without a text, or it cannot be read."""
    if extraction.error is not None:
        return f"{source}: its extraction failed ({extraction.error}); extract it again"
    return extraction.document.message if isinstance(extraction.document, FailedDocument) else None


@dataclass
class Redacting:
    """Entities hidden. `keep_fields`: those besides the id that stay, all with "*"; `labels` and `left_out` count
    labels, and fields that do not stay; `repeats` counts mentions beyond the entities."""

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

    def rewrite(self, documents: Sequence[Record], files: Files, /) -> list[Rewritten]:
        """Records with other texts, the places of what stands there now, and the fields to keep. The names of new
        pseudonyms are durable then."""
        made = _one_by_one(documents, files, self._redacted, "redacted")
        if self.key_file and self._names:
            self.key_file.add(sorted(self._names))
            self._names.clear()
        return made

    def _redacted(self, document: Document, files: Files) -> Rewritten:
        extraction = _sound(document)
        redacted = self.redactor.redact(document.text, extraction.entities)
        self._count(extraction.entities, redacted)
        entities = _in_order([*self._values(document.text, redacted), *map(entity_value, redacted.kept)])
        record = {**id_of(document, files), files.text_field: redacted.text, **self._kept(document, files)}
        return Rewritten({**record, "entities": entities}, len(redacted.redactions))

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

    def warnings(self, done: Done) -> Iterator[str]:
        """What the run that is done left out, and labels of operators that no entity had."""
        if done.complete:
            return
        if self.left_out:
            names = ", ".join(f"{name} ({count:,})" for name, count in self.left_out.most_common())
            yield f"fields left out, which may name people too: {names}; --keep-field keeps one"
        if done.documents == done.ledger.documents:
            for label in sorted(self.redactor.operators.keys() - self.labels.keys()):
                yield f"{label}: no entity has this label; check its name in --operator"


@contextmanager
def opened(
    given: Iterable[str], repeat: bool, key_path: str | None, keep_fields: Collection[str]
) -> Iterator[Redacting]:
    """As operators, given like `LABEL=OPERATOR`, and the other options say; the key file is made if it is not there.
    Raises UsageError."""
    operators, other = operators_of(given)
    wanted = Operator.PSEUDONYM in (other, *operators.values())
    if wanted != (key_path is not None):
        raise UsageError(
            "--operator pseudonym needs --key-file FILE, a new or an earlier one"
            if wanted
            else "--key-file is for pseudonyms; add --operator pseudonym"
        )
    with KeyFile(key_path, create=True) if key_path is not None else nullcontext() as key_file:
        if key_file and key_file.created:
            log.warning("%s: a new key; whoever has it can put the names back: keep it apart, and safe", key_path)
        pseudonyms = Pseudonyms(key_file.key) if key_file else None
        yield Redacting(Redactor(operators, other, repeat, pseudonyms), key_file, keep_fields)


@dataclass
class Restoring:
    """Names put back in the place of their pseudonyms."""

    key_file: KeyFile

    @property
    def settings(self) -> dict[str, Any]:
        """A hash of the key."""
        return {"command": "restore", "key file's content": sha256(b"genner " + self.key_file.key).hexdigest()}

    def rewrite(self, documents: Sequence[Record], files: Files, /) -> list[Rewritten]:
        """Records with the names, and the entities where they stand then. What was not a pseudonym stays."""
        return _one_by_one(documents, files, self._restored, "restored")

    def _restored(self, document: Document, files: Files) -> Rewritten:
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
        first = id_of(document, files)
        return Rewritten({**first, files.text_field: text, **fields, "entities": _in_order(entities)}, len(names))

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
