"""A file in one annotation format -> the same documents in another, and what was dropped on the way.

Documents are read, checked and written one by one where both formats allow it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from genner_cli.data.offsets import Offsets, Unit
from genner_cli.errors import DataError
from genner_cli.files.annotations import (
    ANNOTATION_FORMATS,
    NATIVE,
    WITH_SOURCES,
    AnnotationOptions,
    Dropped,
)
from genner_cli.files.gold import Problem, labelled
from genner_cli.files.records import Record
from genner_cli.types import Document, Entity

_ENTITY_KEYS = frozenset(("start", "end", "label", "text", "score", "source"))


@dataclass(slots=True)
class Conversion:
    """What was done so far. Documents with a problem are not written."""

    dropped: Dropped
    documents: int = 0
    entities: int = 0
    problems: list[Problem] = field(default_factory=list)


def convert(
    source: tuple[str, str],
    target: tuple[str, str],
    options: AnnotationOptions,
    *,
    strict: bool = False,
    trim: bool = False,
    progress: Callable[[int], None] = lambda documents: None,
) -> Conversion:
    """Converts (path, name of the format) to the same of the target; `progress` gets the number of documents so far.

    `options.offsets` is the unit of the source, or of the target if the source is JSONL and the target is not.
    `trim` moves the boundaries of entities off white space. Raises DataError for the first thing dropped if `strict`,
    UsageError for what cannot be written.
    """
    done = Conversion(Dropped(strict=strict))
    (path, name), (out, out_name) = source, target
    outward = name == NATIVE and out_name != NATIVE
    reading = replace(options, offsets=None) if outward else options
    writing = options if outward else replace(options, offsets=None)
    documents = _documents(path, name, reading, done, trim)
    documents = _with_progress(documents, done, progress, sources=out_name in WITH_SOURCES)
    ANNOTATION_FORMATS[out_name].write(documents, out, writing, done.dropped)
    return done


def _with_progress(
    documents: Iterator[Document], done: Conversion, progress: Callable[[int], None], *, sources: bool
) -> Iterator[Document]:
    """`sources`: whether the target carries what found an entity."""
    for document in documents:
        if not sources:
            done.dropped.drop_sources(document)
        progress(done.documents)
        yield document


def _documents(path: str, name: str, options: AnnotationOptions, done: Conversion, trim: bool) -> Iterator[Document]:
    format = ANNOTATION_FORMATS[name]
    unit = Unit.CODEPOINT if format.converts_offsets else options.offsets or format.unit
    for record in format.read(path, options, done.dropped):
        checked = _document(record, unit, done.dropped, trim)
        if isinstance(checked, Document):
            done.documents += 1
            done.entities += len(checked.entities)
            yield checked
        else:
            done.problems += [Problem(message, record.source) for message in checked]


def _document(record: Record, unit: Unit, dropped: Dropped, trim: bool) -> Document | list[str]:
    """The checked document, or what is wrong with it."""
    if not isinstance(record, Document):
        return [record.message]
    try:
        placed = _placed(record, unit, dropped, trim)
    except DataError as error:
        return [f"{record.source}: {error}"]
    document, problems = labelled(placed, crossing=True)
    if problems:
        return [f"{record.source}: {problem}" for problem in problems]
    return _once(document, dropped)


def _placed(record: Document, unit: Unit, dropped: Dropped, trim: bool) -> Document:
    """With offsets in code points."""
    given = record.fields.get("entities")
    if not isinstance(given, list):
        return record
    offsets = Offsets(record.text, unit)
    entities = [_entity(value, record, offsets, dropped, trim) for value in given]
    return replace(record, fields={**record.fields, "entities": entities})


def _entity(value: Any, record: Document, offsets: Offsets, dropped: Dropped, trim: bool) -> Any:
    if not isinstance(value, dict) or not all(type(value.get(name)) is int for name in ("start", "end")):
        return value
    for key in value.keys() - _ENTITY_KEYS:
        dropped(f"fields {key!r} of entities", record.source)
    start, end = offsets.place(value["start"]), offsets.place(value["end"])
    mention = record.text[start:end]
    if trim and mention != mention.strip() and mention.strip():
        where = f"{record.source}: {mention[:40]!r} at {start}:{end}"
        dropped("white space at the boundaries of entities", where)
        start += len(mention) - len(mention.lstrip())
        end = start + len(mention.strip())
        value = {**value, "text": None}
    return {**value, "start": start, "end": end}


def _once(document: Document, dropped: Dropped) -> Document:
    """Each entity once."""
    entities: dict[Entity, Entity] = {}
    for entity in document.entities:
        if entity in entities:
            dropped("entities listed twice", f"{document.source}: {entity.text[:40]!r} at {entity.start}:{entity.end}")
        entities.setdefault(entity, entity)
    return replace(document, entities=tuple(entities.values()))
