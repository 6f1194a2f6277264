"""Predictions in JSON Lines, as `genner extract` writes them -> extractions of the gold documents they belong to.

Each line belongs to the gold document in its place, and has its text. Entities need not be well-formed beyond
standing in the text: what crosses, repeats or begins with a blank is for scoring to judge.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from genner_cli.errors import DataError
from genner_cli.files.gold import entity_of
from genner_cli.files.reading import Record, read_documents
from genner_cli.types import Document, Entity, Extraction


def read_predictions(
    paths: Sequence[str], gold: Sequence[Document], *, text_field: str = "text", id_field: str = "id"
) -> Iterator[Extraction]:
    """One extraction for each gold document, in order, with gold entities on its document; the paths are those that
    `files.expand` gives.

    A record with an `error` is a failure, as it was when it was written. Raises DataError for the first record that
    is broken, missing, one too many, or of another document.
    """
    records = read_documents(paths, text_field=text_field, id_field=id_field, dropped=())
    name, last = " ".join(paths), "their start"
    for document, record in zip_longest(gold, records):
        if record is None:
            raise DataError(f"{name}: the predictions end after {last}, but {document.source} is to come; {_REMEDY}")
        if document is None:
            raise DataError(f"{record.source} has no gold document, {gold[-1].source} was the last; {_REMEDY}")
        yield _extraction(document, record)
        last = record.source


_REMEDY = "predictions must be those of the gold file, a line for each document, in its order"


def _extraction(document: Document, record: Record) -> Extraction:
    completions = _completions(record)
    error = record.fields.get("error")
    if not error and not isinstance(record, Document):
        raise DataError(record.message)
    _check_same(document, record)
    if error:
        message = error.get("message") if isinstance(error, Mapping) else error
        return Extraction(document, error=str(message), completions=completions)
    return Extraction(document, tuple(_entities(document, record)), completions=completions)


def _check_same(document: Document, record: Record) -> None:
    both = f"{document.source} and {record.source} are not the same document"
    if document.id is not None and record.id is not None and document.id != record.id:
        raise DataError(f"{both}: their ids are {document.id!r} and {record.id!r}; {_REMEDY}")
    if isinstance(record, Document) and document.text != record.text:
        at = next(_differing(document.text, record.text))
        texts = " and ".join(reprlib.repr(text[at : at + 20]) for text in (document.text, record.text))
        raise DataError(f"{both}: from character {at} on, their texts are {texts}; {_REMEDY}")


def _differing(one: str, other: str) -> Iterator[int]:
    yield from (at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    yield min(len(one), len(other))


def _entities(document: Document, record: Record) -> Iterator[Entity]:
    given = record.fields.get("entities")
    if not isinstance(given, list):
        raise DataError(f"{record.source}: field 'entities' is {reprlib.repr(given)}, not a list; write [] for none")
    for number, value in enumerate(given):
        entity = entity_of(value, document.text, tidy=False)
        if isinstance(entity, str):
            raise DataError(f"{record.source}: entities[{number}]: {entity}")
        yield _scored(entity, value, f"{record.source}: entities[{number}]")


def _scored(entity: Entity, value: Mapping[str, Any], where: str) -> Entity:
    score = value.get("score")
    if score is None:
        return entity
    if type(score) not in (int, float) or not 0 <= score <= 1:
        raise DataError(f"{where}: its score is {reprlib.repr(score)}; write a number from 0 to 1, or leave it out")
    return Entity(entity.start, entity.end, entity.label, entity.text, float(score))


def _completions(record: Record) -> tuple[str, ...]:
    given = record.fields.get("completion")
    given = [given] if isinstance(given, str) else given
    if given is None:
        return ()
    if not isinstance(given, Iterable) or not all(isinstance(each, str) for each in given):
        raise DataError(f"{record.source}: field 'completion' is {reprlib.repr(given)}; write a list of strings")
    return tuple(given)
