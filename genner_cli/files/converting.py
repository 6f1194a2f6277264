"""A file in one annotation format -> the same documents in another, and what was dropped on the way.

Documents are read, checked and written one by one where both formats allow it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from genner_cli.data.characters import unspaced
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
    other = unit if format.converts_offsets or options.offsets else unit.crlf
    for record in format.read(path, options, done.dropped):
        checked = _document(record, (unit, other), done.dropped, trim)
        if isinstance(checked, Document):
            done.documents += 1
            done.entities += len(checked.entities)
            yield checked
        else:
            done.problems += [Problem(message, record.source) for message in checked]


def _document(record: Record, units: tuple[Unit, Unit], dropped: Dropped, trim: bool) -> Document | list[str]:
    """The checked document, or what is wrong with it; `units`: that of its offsets, and what else it could be."""
    if not isinstance(record, Document):
        return [record.message]
    try:
        _refuse_other_unit(record, *units)
        placed = _placed(record, units[0], dropped, trim)
    except DataError as error:
        return [f"{record.source}: {error}"]
    document, problems = labelled(placed, crossing=True, any_label=True)
    if problems:
        return [f"{record.source}: {problem}" for problem in problems]
    return _once(document, dropped)


def _refuse_other_unit(record: Document, unit: Unit, other: Unit) -> None:
    """Raises DataError where entities cut words or hold outer white space, and none does in the other unit."""
    if unit is other or "\r\n" not in record.text:
        return
    given = record.fields.get("entities")
    spans = [(value.get("start"), value.get("end")) for value in given or () if isinstance(value, dict)]
    if spans and not _fit(record.text, unit, spans) and _fit(record.text, other, spans):
        raise DataError(
            f"the entities cut words if \\r\\n counts as two characters, and none if it counts as one; read the file"
            f" with --offsets {other}, or with --offsets {unit} if they are right"
        )


def _fit(text: str, unit: Unit, spans: Sequence[tuple[Any, Any]]) -> bool:
    """Whether all spans begin and end between words, without outer white space."""
    offsets = Offsets(text, unit)
    try:
        ranges = [(offsets.place(start), offsets.place(end)) for start, end in spans]
    except (DataError, TypeError):
        return False
    mentions = (text[start:end] for start, end in ranges)
    return all(mention == mention.strip() != "" for mention in mentions) and not any(
        text[at - 1 : at].isalnum() and text[at : at + 1].isalnum() and not unspaced(text[at]) and at > 0
        for bounds in ranges
        for at in bounds
    )


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
