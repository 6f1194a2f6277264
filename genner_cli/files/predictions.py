"""The output of `genner extract` -> extractions again, one for each record, in order, in constant memory.

Predictions of the same shape from elsewhere are read too: entities may cross, labels may have any name, scores may be
missing. Knows nothing of gold, models and output formats.
"""

from __future__ import annotations

import json
import os
import reprlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from genner_cli.data.sampling import SampleOrder, Sampler
from genner_cli.errors import UsageError
from genner_cli.files import OUTPUT_FIELDS
from genner_cli.files.documents import document_format
from genner_cli.files.gold import entity_of
from genner_cli.files.output_target import records_of
from genner_cli.files.reading import read_documents
from genner_cli.files.records import Record
from genner_cli.plurals import counted
from genner_cli.types import Document, Entity, Extraction, FailedDocument, canonical_order

_EVERY = 1000


def read_predictions(paths: Sequence[str], *, text_field: str = "text", id_field: str = "id") -> Iterator[Extraction]:
    """One extraction for each record of the files, which are those that `files.expand` gives.

    Entities come in canonical order, as often as they are there. A record that cannot be read, or whose entities are
    wrong, has a `FailedDocument` with file, line and remedy, and no `error`; the record of a failure has its own
    `error`. Raises `UsageError` for text files and for field names that cannot be.
    """
    refuse_documents(paths)
    records = read_documents(paths, text_field=text_field, id_field=id_field, dropped=())
    return map(extraction_of, records)


def refuse_documents(paths: Sequence[str]) -> None:
    """Raises UsageError for files of texts and tables, which hold no records with entities."""
    for path in paths:
        if document_format(path):
            beside = records_of(path)
            there = beside != path and os.path.exists(beside)
            remedy = f"name {beside}" if there else "name the output of `genner extract` for it"
            raise UsageError(f"{path}: has no entities; {remedy}")


class Reading:
    """The extractions of files, and what they were so far: counts, and what is wrong with those that cannot be read.

    `failed`: documents that the extraction failed for, which their records say; `progress` gets a text for every
    1,000th record.
    """

    def __init__(
        self,
        paths: Sequence[str],
        text_field: str,
        id_field: str,
        *,
        limit: int | None = None,
        progress: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.text_field, self.id_field = text_field, id_field
        self._paths, self._limit, self._progress = paths, limit, progress
        self.records = self.entities = self.failed = 0
        self.problems: list[str] = []

    def __iter__(self) -> Iterator[Extraction]:
        found = read_predictions(self._paths, text_field=self.text_field, id_field=self.id_field)
        for extraction in islice(found, self._limit):
            self.records += 1
            self.failed += extraction.error is not None
            self.entities += len(extraction.entities)
            if isinstance(extraction.document, FailedDocument) and extraction.error is None:
                self.problems.append(extraction.document.message)
            if self.records % _EVERY == 0:
                self._progress(f"reading: {counted(self.records, 'record')}")
            yield extraction


def sampled(
    paths: Sequence[str], sampler: Sampler, text_field: str, id_field: str, progress: Callable[[str], None]
) -> list[Document]:
    """The documents of a sample, with the model's entities; the files are read twice. Raises UsageError where documents
    with a low score are wanted, and no entity has a score."""
    for extraction in read_predictions(paths, text_field=text_field, id_field=id_field):
        sampler.note(extraction)
        progress(counted(sampler.documents, "document"))
    if sampler.order is SampleOrder.SCORE and sampler.unscored and not sampler.scored:
        raise UsageError(f"{paths[0]}: no entity has a score; give the output of genner extract, or --by random")
    wanted = {place.number: at for at, place in enumerate(sampler.chosen())}
    progress(f"reading again for {counted(len(wanted), 'document')}")
    found: Iterator[tuple[int, Document]] = (
        (wanted[number], replace(extraction.document, entities=extraction.entities))
        for number, extraction in enumerate(read_predictions(paths, text_field=text_field, id_field=id_field))
        if number in wanted and isinstance(extraction.document, Document)
    )
    return [document for _, document in sorted(found, key=lambda pair: pair[0])]


def extraction_of(record: Record) -> Extraction:
    """The extraction of a record whose fields are all there, those of `OUTPUT_FIELDS` among them (`read_documents`
    with `dropped=()`); see `read_predictions`."""
    document = replace(record, fields={n: v for n, v in record.fields.items() if n not in OUTPUT_FIELDS})
    if error := record.fields.get("error"):
        return Extraction(document, error=_message(error), completions=tuple(_completions(record)))
    if isinstance(record, FailedDocument):
        return Extraction(document)
    entities, problems = _entities(record)
    completions = _completions(record)
    if not all(isinstance(each, str) for each in completions):
        problems.append(f"field 'completion' is {reprlib.repr(record.fields['completion'])}; write a list of strings")
    if problems:
        message = f"{record.source}: {'; '.join(problems)}"
        return Extraction(FailedDocument(message, record.source, record.id, document.fields))
    return Extraction(document, entities, completions=tuple(completions))


def _message(error: Any) -> str:
    message = error.get("message") if isinstance(error, Mapping) else error
    return message if isinstance(message, str) else json.dumps(error, ensure_ascii=False)


def _completions(record: Record) -> list[Any]:
    """The completions, if the record has them: one string for each chunk."""
    given = record.fields.get("completion", [])
    return given if isinstance(given, list) else [given]


def _entities(record: Document) -> tuple[tuple[Entity, ...], list[str]]:
    """The entities of a record, and what is wrong with them."""
    given = record.fields.get("entities")
    if not isinstance(given, list):
        is_what = f"is {reprlib.repr(given)}, not a list" if "entities" in record.fields else "is missing"
        return (), [f"field 'entities' {is_what}; give the output of `genner extract`"]
    checked = [entity_of(value, record.text, gold=False) for value in given]
    problems = [f"entities[{number}]: {entity}" for number, entity in enumerate(checked) if isinstance(entity, str)]
    entities = (entity for entity in checked if isinstance(entity, Entity))
    return tuple(sorted(entities, key=canonical_order)), problems
