"""Records with two answers to one text, `chosen` and `rejected`, each a list of entities as gold data have it. Knows
nothing of how they are learnt from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from genner_cli.files.documents import document_format
from genner_cli.files.gold import NO_NAMES, Problem, labelled
from genner_cli.files.reading import read_documents
from genner_cli.files.writing import entity_value, json_line
from genner_cli.types import Document, Entity

CHOSEN, REJECTED = "chosen", "rejected"


class Preferences(NamedTuple):
    """A document with each answer as its entities, in input order; `problems`: what is wrong with the others."""

    chosen: tuple[Document, ...]
    rejected: tuple[Document, ...]
    problems: tuple[Problem, ...]


def has_preferences(paths: Sequence[str], *, text_field: str) -> bool:
    """Whether the first record of the files has two answers in place of its entities."""
    plain = [path for path in paths if not document_format(path)]
    first = next(read_documents(plain, text_field=text_field, dropped=()), None) if plain else None
    return isinstance(first, Document) and {CHOSEN, REJECTED} <= first.fields.keys()


def read_preferences(
    paths: Sequence[str], *, text_field: str, id_field: str, nested: bool, names: Mapping[str, str] = NO_NAMES
) -> Preferences:
    """All records of the files; `nested` and `names` as in `read_gold`."""
    chosen, rejected, problems = [], [], []
    for record in read_documents(paths, text_field=text_field, id_field=id_field, dropped=()):
        if not isinstance(record, Document):
            problems.append(Problem(record.message, record.source))
            continue
        answers, complaints = zip(*(_answer(record, name, nested, names) for name in (CHOSEN, REJECTED)), strict=True)
        problems += [Problem(f"{record.source}: {each}", record.source) for found in complaints for each in found]
        if not any(complaints):
            chosen.append(answers[0])
            rejected.append(answers[1])
    return Preferences(tuple(chosen), tuple(rejected), tuple(problems))


def _answer(record: Document, name: str, nested: bool, names: Mapping[str, str]) -> tuple[Document, list[str]]:
    """The document with one answer as its entities, and what is wrong with it."""
    fields = {key: value for key, value in record.fields.items() if key not in (CHOSEN, REJECTED, "entities", "error")}
    given = {"entities": record.fields[name]} if name in record.fields else {}
    document, complaints = labelled(replace(record, fields={**fields, **given}), nested=nested, names=names)
    return document, [f"{name}: {each}" for each in complaints]


def preference_line(document: Document, text_field: str, chosen: Sequence[Entity], rejected: Sequence[Entity]) -> bytes:
    """The record of a pair."""
    first = {} if document.id is None else {"id": document.id}
    return json_line({**first, text_field: document.text, CHOSEN: _values(chosen), REJECTED: _values(rejected)})


def _values(entities: Sequence[Entity]) -> list[Mapping[str, Any]]:
    return [entity_value(replace(entity, score=None)) for entity in entities]
