"""Labelled JSON Lines -> documents with their gold entities, and everything that is wrong with the others.

    {"text": "Ann met Bob.", "entities": [{"start": 0, "end": 3, "label": "PER", "text": "Ann"}]}

Offsets are 0-based code points, the end is exclusive; the entity's own text and a score may be left out.
The output of `genner extract` is read too, and the other formats of `read_documents`. Knows nothing of models, chunks
and output formats.
"""

from __future__ import annotations

import reprlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from genner_cli.data.offsets import Offsets, Unit
from genner_cli.errors import DataError, UsageError
from genner_cli.files import kind
from genner_cli.files.documents import document_format
from genner_cli.files.reading import read_documents
from genner_cli.files.records import Record
from genner_cli.files.writing import Writer, encode
from genner_cli.plurals import counted
from genner_cli.types import Document, Entity, Extraction, FailedDocument, Label, canonical_order

_UNITS = {
    Unit.BYTE: "UTF-8 bytes",
    Unit.UTF16: "UTF-16 units",
    Unit.CODEPOINT_CRLF: "each \\r\\n as one",
    Unit.UTF16_CRLF: "UTF-16 units, and each \\r\\n as one",
}
_SHAPE = '{"start": 0, "end": 3, "label": "PER"}'


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with the data: a whole message, which begins with file and line, and these."""

    message: str
    source: str


@dataclass(frozen=True, slots=True)
class GoldData:
    """The documents without a problem, and the problems of the others, both in input order."""

    documents: tuple[Document, ...]
    problems: tuple[Problem, ...]


def read_gold(
    paths: Sequence[str],
    *,
    text_field: str = "text",
    id_field: str = "id",
    labels: Collection[str] | None = None,
    nested: bool = True,
) -> GoldData:
    """All documents of the files, which are those that `files.expand` gives; each problem on its own.

    `labels`: the names that entities may have, None for any; `nested`: whether entities may lie in others.
    Entities come in canonical order. Bad data is returned, not raised; raises `UsageError` for field names that
    cannot be.
    """
    documents: list[Document] = []
    problems: list[Problem] = []
    for record in _records(paths, text_field, id_field):
        messages = [] if isinstance(record, Document) else [record.message]
        if isinstance(record, Document):
            document, complaints = labelled(record, labels=labels, nested=nested)
            messages = [f"{record.source}: {complaint}" for complaint in complaints]
            documents += [] if messages else [document]
        problems += [Problem(message, record.source) for message in messages]
    return GoldData(tuple(documents), tuple(problems))


def write_gold(path: Path, documents: Iterable[Document]) -> None:
    """Writes documents with their entities, in the shape that is read; the file is whole or not there."""
    with Writer(str(path)) as writer:
        for document in documents:
            writer.write(encode(Extraction(document, document.entities)))


def _records(paths: Sequence[str], text_field: str, id_field: str) -> Iterator[Record]:
    for path in paths:
        if document_format(path):
            message = f"{path}: has no entities; write JSON Lines, each with a text and its entities"
            remedy = "; a table of tokens is read by genner data convert" if kind(path) in (".csv", ".tsv") else ""
            yield FailedDocument(f"{message}{remedy}", path)
        else:
            yield from read_documents([path], text_field=text_field, id_field=id_field, dropped=("completion",))


def labelled(
    record: Document, *, labels: Collection[str] | None = None, nested: bool = True, crossing: bool = False
) -> tuple[Document, list[str]]:
    """The document with the entities that its field of that name lists, and what is wrong with them.

    `crossing`: entities may also cross each other or be listed twice.
    """
    fields = {name: value for name, value in record.fields.items() if name not in ("entities", "error")}
    if record.fields.get("error"):
        return record, ["the record is that of a failed extraction; remove it, or label it and remove its error"]
    given = record.fields.get("entities")
    if not isinstance(given, list):
        is_what = f"is {reprlib.repr(given)}, not a list" if "entities" in record.fields else "is missing"
        return record, [f"field 'entities' {is_what}; write a list like [{_SHAPE}], [] where there are none"]
    problems = []
    numbered = []
    for number, value in enumerate(given):
        entity = entity_of(value, record.text, labels)
        if isinstance(entity, Entity):
            numbered.append((number, entity))
        else:
            problems.append(f"entities[{number}]: {entity}")
    numbered.sort(key=lambda pair: canonical_order(pair[1]))
    problems += [] if crossing else _arrangement_problems(numbered, nested)
    return replace(record, entities=tuple(entity for _, entity in numbered), fields=fields), problems


def entity_of(value: Any, text: str, labels: Collection[str] | None = None, *, gold: bool = True) -> Entity | str:
    """The entity, or what is wrong with it. `gold`: it may have no outer white space, and a label must be one that
    models can write."""
    if problem := _shape_problem(value):
        return problem
    start, end, label = value["start"], value["end"], value["label"]
    problem = _range_problem(start, end, text) or _label_problem(label, labels, gold)
    problem = problem or _mention_problem(start, end, value.get("text"), text, tidy=gold)
    problem = problem or _score_problem(value.get("score"))
    source = value.get("source")
    known = source if isinstance(source, str) else None
    return problem or Entity(start, end, label, text[start:end], value.get("score"), source=known)


def _shape_problem(value: Any) -> str | None:
    """Why a value is not an object with start, end and label."""
    if not isinstance(value, Mapping):
        return f"{reprlib.repr(value)} is not an object; write it like {_SHAPE}"
    missing = [name for name in ("start", "end", "label") if name not in value]
    return f"it has no {' and no '.join(missing)}; write it like {_SHAPE}" if missing else None


def _range_problem(start: Any, end: Any, text: str) -> str | None:
    """Why two values are not a range of the text."""
    for name, offset in (("start", start), ("end", end)):
        if type(offset) is not int:
            return f"its {name} is {reprlib.repr(offset)}, not an integer; give offsets as 0-based code points"
    if not 0 <= start < end <= len(text):
        return (
            f"{start}:{end} is not a range of the text, which has {counted(len(text), 'character')};"
            " give offsets as 0-based code points, end exclusive"
        )
    return None


def _label_problem(label: Any, labels: Collection[str] | None, gold: bool) -> str | None:
    if not isinstance(label, str) or not (label or gold):
        return f"its label is {reprlib.repr(label)}, not a string; write the label's name"
    if not gold:
        return None
    try:
        Label(label)
    except UsageError as error:
        return str(error)
    if labels is not None and label not in labels:
        known = reprlib.repr(list(labels))
        return (
            f"label {label!r} is not in the label set {known} (by default the training data's labels);"
            " name all labels with --types or --labels, or rename or remove the entity"
        )
    return None


def _score_problem(score: Any) -> str | None:
    """Why a value is not a score."""
    if score is None or (type(score) in (int, float) and 0 <= score <= 1):
        return None
    return f"its score is {reprlib.repr(score)}, not a number from 0 to 1; correct or remove it"


def _mention_problem(start: int, end: int, mention: Any, text: str, *, tidy: bool) -> str | None:
    """Why a range of the text is not the mention that an entity claims, or is none at all."""
    there = text[start:end]
    if mention is not None and mention != there:
        shown, meant = reprlib.repr(there), reprlib.repr(mention)
        return f"the text has {shown} at {start}:{end}, not {meant}; {_remedy(text, start, end, mention)}"
    if tidy and there != there.strip():
        return f"{reprlib.repr(there)} at {start}:{end} starts or ends with white space; move its boundaries inwards"
    return None


def _remedy(text: str, start: int, end: int, mention: Any) -> str:
    """What was probably meant by offsets at which something else stands."""
    if not isinstance(mention, str) or not mention:
        return "correct or remove its text"
    for unit, name in _UNITS.items():
        if _slice(text, unit, start, end) == mention:
            return f"the offsets count {name}, convert them to code points (genner data convert --offsets {unit})"
    if text[start : end + 1] == mention:
        return "the end is inclusive, give an exclusive one (add 1)"
    at = text.find(mention)
    once = at >= 0 and text.find(mention, at + 1) < 0
    return f"it stands at {at}:{at + len(mention)}" if once else "correct the offsets or the text"


def _slice(text: str, unit: Unit, start: int, end: int) -> str | None:
    """What stands between two offsets in another unit; None where they are no boundaries."""
    offsets = Offsets(text, unit)
    try:
        return text[offsets.place(start) : offsets.place(end)]
    except DataError:
        return None


def _arrangement_problems(numbered: Sequence[tuple[int, Entity]], nested: bool) -> Iterator[str]:
    """What is wrong with entities that are right on their own; they must be in canonical order."""
    around: list[Entity] = []
    for number, entity in numbered:
        where = f"entities[{number}]: {reprlib.repr(entity.text)} at {entity.start}:{entity.end}"
        while around and around[-1].end <= entity.start:
            around.pop()
        outer = around[-1] if around else None
        if outer == entity:
            yield f"{where} is listed twice as {entity.label}; remove one"
        elif outer and outer.end < entity.end:
            span = f"{reprlib.repr(outer.text)} at {outer.start}:{outer.end}"
            yield f"{where} crosses {span}; entities may lie side by side or inside each other"
        elif outer and not nested:
            span = f"{reprlib.repr(outer.text)} at {outer.start}:{outer.end}"
            yield f"{where} lies within {span}; train with --nested, or keep one of the two"
        else:
            around.append(entity)
