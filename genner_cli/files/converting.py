"""A file in one form -> the same documents in another, and what was lost on the way.

Documents are read, checked and written one by one where both forms allow it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from genner_cli.data.losses import Losses
from genner_cli.data.offsets import Offsets, Unit
from genner_cli.errors import DataError
from genner_cli.files.forms import FORMS
from genner_cli.files.forms.options import FormOptions
from genner_cli.files.gold import Problem, labelled
from genner_cli.files.reading import Record
from genner_cli.types import Document, Entity

_PLACED = ("brat", "csv")  # their readers need the places themselves
_ENTITY_KEYS = frozenset(("start", "end", "label", "text", "score"))


@dataclass(slots=True)
class Conversion:
    """What was done so far. Documents with a problem are not written."""

    losses: Losses
    documents: int = 0
    entities: int = 0
    problems: list[Problem] = field(default_factory=list)


def convert(
    source: tuple[str, str],
    target: tuple[str, str],
    options: FormOptions,
    *,
    strict: bool = False,
    trim: bool = False,
    progress: Callable[[int], None] = lambda documents: None,
) -> Conversion:
    """Converts (path, form) to (path, form); `progress` gets the number of documents so far.

    `options.offsets` is the unit of the source, or of the target if the source is JSONL and the target is not.
    `trim` moves the borders of entities off white space. Raises DataError for the first loss if `strict`, UsageError
    for what cannot be written.
    """
    done = Conversion(Losses(strict=strict))
    (path, form), (out, out_form) = source, target
    outward = form == "jsonl" and out_form != "jsonl"
    reading = replace(options, offsets=None) if outward else options
    writing = options if outward else replace(options, offsets=None)
    documents = _documents(path, form, reading, done, trim)
    FORMS[out_form].write(_told(documents, done, progress), out, writing, done.losses)
    return done


def _told(documents: Iterator[Document], done: Conversion, progress: Callable[[int], None]) -> Iterator[Document]:
    for document in documents:
        progress(done.documents)
        yield document


def _documents(path: str, form: str, options: FormOptions, done: Conversion, trim: bool) -> Iterator[Document]:
    unit = Unit.CODEPOINT if form in _PLACED else options.offsets or FORMS[form].UNIT
    for record in FORMS[form].read(path, options, done.losses):
        found = _document(record, unit, done.losses, trim)
        if isinstance(found, Document):
            done.documents += 1
            done.entities += len(found.entities)
            yield found
        else:
            done.problems += [Problem(message, record.source) for message in found]


def _document(record: Record, unit: Unit, losses: Losses, trim: bool) -> Document | list[str]:
    """The checked document, or what is wrong with it."""
    if not isinstance(record, Document):
        return [record.message]
    try:
        placed = _placed(record, unit, losses, trim)
    except DataError as error:
        return [f"{record.source}: {error}"]
    document, problems = labelled(placed, crossing=True)
    if problems:
        return [f"{record.source}: {problem}" for problem in problems]
    return _once(document, losses)


def _placed(record: Document, unit: Unit, losses: Losses, trim: bool) -> Document:
    """With offsets in code points."""
    given = record.fields.get("entities")
    if not isinstance(given, list):
        return record
    offsets = Offsets(record.text, unit)
    entities = [_entity(value, record, offsets, losses, trim) for value in given]
    return replace(record, fields={**record.fields, "entities": entities})


def _entity(value: Any, record: Document, offsets: Offsets, losses: Losses, trim: bool) -> Any:
    if not isinstance(value, dict) or not all(type(value.get(name)) is int for name in ("start", "end")):
        return value
    for key in value.keys() - _ENTITY_KEYS:
        losses(f"fields {key!r} of entities", record.source)
    start, end = offsets.place(value["start"]), offsets.place(value["end"])
    mention = record.text[start:end]
    if trim and mention != mention.strip() and mention.strip():
        losses("white space at the borders of entities", f"{record.source}: {mention[:40]!r} at {start}:{end}")
        start += len(mention) - len(mention.lstrip())
        end = start + len(mention.strip())
        value = {**value, "text": None}
    return {**value, "start": start, "end": end}


def _once(document: Document, losses: Losses) -> Document:
    """Each entity once."""
    entities: dict[Entity, Entity] = {}
    for entity in document.entities:
        if entity in entities:
            losses("entities listed twice", f"{document.source}: {entity.text[:40]!r} at {entity.start}:{entity.end}")
        entities.setdefault(entity, entity)
    return replace(document, entities=tuple(entities.values()))
