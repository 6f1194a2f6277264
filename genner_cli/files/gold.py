"""Labelled JSON Lines -> documents with their gold entities, and everything that is wrong with the others.

    {"text": "Ann met Bob.", "entities": [{"start": 0, "end": 3, "label": "PER", "text": "Ann"}]}

Offsets are 0-based code points, the end is exclusive; the entity's own text and a score may be left out.
The output of `genner extract` is read too, and the other formats of `read_documents`. Knows nothing of models, chunks
and output formats.
"""

from __future__ import annotations

import re
import reprlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from genner_cli.data.checking import Finding
from genner_cli.data.offsets import Offsets, Unit
from genner_cli.errors import DataError, UsageError
from genner_cli.files import kind
from genner_cli.files.documents import document_format
from genner_cli.files.labels import OwnLabelsSeen, with_own_labels
from genner_cli.files.reading import expand, read_documents
from genner_cli.files.records import Record
from genner_cli.files.streams import shown_name
from genner_cli.files.writing import Writer, encode
from genner_cli.plurals import counted
from genner_cli.types import Document, Entity, Extraction, FailedDocument, Label, canonical_order, has_control

_UNITS = {
    Unit.BYTE: "UTF-8 bytes",
    Unit.UTF16: "UTF-16 units",
    Unit.CODEPOINT_CRLF: "each \\r\\n as one",
    Unit.UTF16_CRLF: "UTF-16 units, and each \\r\\n as one",
}
_PLACES = 3
NO_NAMES: Mapping[str, str] = MappingProxyType({})
_VALUES = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|[\d,]*\d")
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
    any_label: bool = False,
    names: Mapping[str, str] = NO_NAMES,
) -> GoldData:
    """All documents of the files, which are those that `files.expand` gives; each problem on its own.

    `labels`: the names that entities may have, None for any; `nested`: whether entities may lie in others; `any_label`:
    whether labels may be such that no output format can write them; `names`: what labels of entities are
    called instead, by what they are called in the data (`LabelTree.names`).
    Entities come in canonical order. Bad data is returned, not raised; raises `UsageError` for field names that
    cannot be.
    """
    documents: list[Document] = []
    problems: list[Problem] = []
    for record in _records(paths, text_field, id_field):
        messages = [] if isinstance(record, Document) else [record.message]
        if isinstance(record, Document):
            document, complaints = labelled(record, nested=nested, any_label=any_label, names=names)
            messages = [f"{record.source}: {complaint}" for complaint in complaints]
            documents += [] if messages else [document]
        problems += [Problem(message, record.source) for message in messages]
    if labels is not None:
        problems += unknown_labels(documents, labels)
        documents = [document for document in documents if _has_only(document, labels)]
    return GoldData(tuple(documents), tuple(problems))


def _has_only(document: Document, labels: Collection[str]) -> bool:
    return all(entity.label in labels for entity in document.entities)


def unknown_labels(documents: Iterable[Document], labels: Collection[str]) -> list[Problem]:
    """The one problem of all labels of entities that are not in the label set, if there are any."""
    documents = [document for document in documents if not _has_only(document, labels)]
    if not documents:
        return []
    counts = Counter(entity.label for document in documents for entity in document.entities)
    names = [f"{name!r} ({count:,})" for name, count in counts.most_common() if name not in labels]
    count = sum(counts[name] for name in counts if name not in labels)
    message = (
        f"{counted(count, 'entity')} in {counted(len(documents), 'document')} with {counted(len(names), 'label')} that"
        f" the label set {reprlib.repr(list(labels))} (by default the training data's) lacks: {_listed(names, 20)};"
        " name all labels with --types or --labels, or rename them (genner data relabel); see"
        f" {_listed([document.source for document in documents], _PLACES)}"
    )
    return [Problem(f"{documents[0].source}: {message}", documents[0].source)]


def by_kind(problems: Iterable[Problem]) -> list[list[Problem]]:
    """The problems of each kind, in order of the first: their messages differ in names and numbers alone."""
    kinds: defaultdict[str, list[Problem]] = defaultdict(list)
    for problem in problems:
        kinds[_VALUES.sub("_", problem.message.removeprefix(problem.source))].append(problem)
    return list(kinds.values())


def findings_of(problems: Iterable[Problem]) -> Iterator[Finding]:
    """Each kind of problem, as `genner data check` reports it."""
    for alike in by_kind(problems):
        yield Finding(alike[0].message, len(alike), tuple(problem.source for problem in alike))


def summarized(problems: Iterable[Problem], *, most: int = 20) -> Iterator[str]:
    """A line for each kind of problem: the message of the first, how many there are, and the places of the next. Of
    kinds beyond `most` only the number is given."""
    kinds = by_kind(problems)
    for alike in kinds[:most]:
        more = _listed([problem.source for problem in alike[1:]], _PLACES)
        yield alike[0].message + (f" ({len(alike):,} like it; {more})" if len(alike) > 1 else "")
    if len(kinds) > most:
        rest = sum(map(len, kinds[most:]))
        yield f"... and {counted(rest, 'more problem')} of other kinds"


def _listed(items: Sequence[str], most: int) -> str:
    """The first items."""
    return ", ".join(items[:most]) + (", ..." if len(items) > most else "")


def write_gold(path: Path, documents: Iterable[Document]) -> None:
    """Writes documents with their entities, in the shape that is read; the file is whole or not there."""
    with Writer(str(path)) as writer:
        for document in documents:
            writer.write(encode(Extraction(document, document.entities)))


def _records(paths: Sequence[str], text_field: str, id_field: str) -> Iterator[Record]:
    for path in paths:
        if document_format(path):
            message = f"{shown_name(path)}: has no entities; write JSON Lines, each with a text and its entities"
            remedy = "; a table of tokens is read by genner data convert" if kind(path) in (".csv", ".tsv") else ""
            yield FailedDocument(f"{message}{remedy}", shown_name(path))
        else:
            yield from read_documents([path], text_field=text_field, id_field=id_field, dropped=("completion",))


def labelled(
    record: Document,
    *,
    nested: bool = True,
    crossing: bool = False,
    any_label: bool = False,
    names: Mapping[str, str] = NO_NAMES,
) -> tuple[Document, list[str]]:
    """The document with the entities that its field of that name lists, and what is wrong with them.

    `crossing`: entities may also cross each other or be listed twice; `any_label` and `names` as in
    `read_gold`.
    """
    fields = {name: value for name, value in record.fields.items() if name not in ("entities", "error")}
    if record.fields.get("error"):
        return record, ["the record is that of a failed extraction; remove it, or label it and remove its error"]
    given = record.fields.get("entities")
    if not isinstance(given, list):
        is_what = f"is {reprlib.repr(given)}, not a list" if "entities" in record.fields else "is missing"
        listed = next((name for name, value in record.fields.items() if isinstance(value, list) and value), None)
        other = f"; is {listed!r} of another tool? `genner data convert --from` reads its export" if listed else ""
        return record, [f"field 'entities' {is_what}; write a list like [{_SHAPE}], [] where there are none{other}"]
    problems = []
    numbered = []
    for number, value in enumerate(given):
        entity = entity_of(value, record.text, any_label=any_label)
        if isinstance(entity, Entity):
            numbered.append((number, replace(entity, label=names.get(entity.label, entity.label))))
        else:
            problems.append(f"entities[{number}]: {entity}")
    numbered.sort(key=lambda pair: canonical_order(pair[1]))
    problems += [] if crossing else _arrangement_problems(numbered, nested)
    return replace(record, entities=tuple(entity for _, entity in numbered), fields=fields), problems


def entity_of(value: Any, text: str, *, gold: bool = True, any_label: bool = False) -> Entity | str:
    """The entity, or what is wrong with it. `gold`: it may have no outer white space, and a label must be one that
    models can write, unless it may be `any_label`."""
    if problem := _shape_problem(value):
        return problem
    start, end, label = value["start"], value["end"], value["label"]
    problem = _range_problem(start, end, text, value.get("text")) or _label_problem(label, gold, any_label)
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


def _range_problem(start: Any, end: Any, text: str, mention: Any) -> str | None:
    """Why two values are not a range of the text."""
    for name, offset in (("start", start), ("end", end)):
        if type(offset) is not int:
            return f"its {name} is {reprlib.repr(offset)}, not an integer; give offsets as 0-based code points"
    if not 0 <= start < end <= len(text):
        known = isinstance(mention, str) and mention in text
        remedy = _remedy(text, start, end, mention) if known else "give offsets as 0-based code points, end exclusive"
        return f"{start}:{end} is not a range of the text, which has {counted(len(text), 'character')}; {remedy}"
    return None


def _label_problem(label: Any, gold: bool, any_label: bool) -> str | None:
    if not isinstance(label, str) or not (label or gold):
        return f"its label is {reprlib.repr(label)}, not a string; write the label's name"
    if any_label and label.strip() and not has_control(label):
        return None
    if not gold:
        return None
    try:
        Label(label)
    except UsageError as error:
        return str(error)
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
        what = f"{reprlib.repr(there)} at {start}:{end} starts or ends with white space"
        return f"{what}; trim it (genner data convert --trim)"
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


def read_gold_files(
    patterns: Sequence[str], *, text_field: str, id_field: str, names: Mapping[str, str] = NO_NAMES
) -> tuple[Document, ...]:
    """The documents of gold files; raises DataError with every problem if there is one, or if there is no document."""
    data = read_gold(expand(patterns), text_field=text_field, id_field=id_field, names=names)
    if data.problems:
        count = len(data.problems)
        error = DataError(f"{counted(count, 'problem')} in the gold data; correct or remove these lines")
        for note in summarized(data.problems):
            error.add_note(note)
        raise error
    if not data.documents:
        raise DataError(f"{', '.join(patterns)}: no documents; give labelled JSON Lines")
    return data.documents


def with_labels_of_their_own(documents: Iterable[Document], field: str | None) -> tuple[Document, ...]:
    """The documents with the labels that one of their fields asks for. Raises DataError for what cannot be labels."""
    found = []
    seen = OwnLabelsSeen(field)
    for each in documents:
        asking = with_own_labels(each, field)
        if isinstance(asking, FailedDocument):
            raise DataError(asking.message)
        seen.note(asking)
        found.append(asking)
    seen.warn()
    return tuple(found)
