"""Extractions and gold documents -> the same documents side by side, in the order of the extractions.

Knows files by their names in messages only, and nothing of how documents are shown.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from genner_cli.errors import DataError
from genner_cli.types import Document, Entity, Extraction

_REMEDY = "give gold and predictions of the same documents"


@dataclass(frozen=True, slots=True)
class Viewed:
    """A document as it is shown. `gold` is None where there is none to compare with; `error` says why it failed."""

    text: str
    id: str | None = None
    predicted: tuple[Entity, ...] = ()
    gold: tuple[Entity, ...] | None = None
    error: str | None = None
    source: str = ""
    fields: dict[str, Any] = field(default_factory=dict)


def alone(extraction: Extraction) -> Viewed:
    """The document without gold."""
    document = extraction.document
    text, message = (document.text, None) if isinstance(document, Document) else ("", document.message)
    return Viewed(
        text=text,
        id=document.id,
        predicted=extraction.entities,
        error=extraction.error or message,
        source=document.source,
        fields=document.fields,
    )


def beside(gold: Sequence[Document], extractions: Iterable[Extraction], *, whole: bool = True) -> Iterator[Viewed]:
    """Each document with its gold entities: by id where each gold document has an id of its own, else by position.

    A failed document has no entities, so all its gold is missed. Raises `DataError`, with lines of both files, for a
    record that cannot be read, a document without gold, ids or texts that differ, and, if `whole`, gold left over.
    """
    by_id = len({document.id for document in gold} - {None}) == len(gold)
    waiting: dict[str | int | None, Document] = {
        document.id if by_id else number: document for number, document in enumerate(gold)
    }
    last = "nothing"
    for number, extraction in enumerate(extractions):
        seen = alone(extraction)
        if not isinstance(extraction.document, Document) and extraction.error is None:
            raise DataError(f"{seen.error} (what cannot be read cannot be compared with gold)")
        yield _joined(seen, waiting.pop(seen.id if by_id else number, None), gold)
        last = seen.source
    if whole and waiting:
        left = next(iter(waiting.values()))
        also = f" (nor have {len(waiting) - 1:,} others)" if len(waiting) > 1 else ""
        raise DataError(f"{left.source}: {_name(left)} has no prediction{also}; the last is {last}; {_REMEDY}")


def _joined(seen: Viewed, gold: Document | None, all_gold: Sequence[Document]) -> Viewed:
    if gold is None:
        where = f"{all_gold[0].source} to {all_gold[-1].source}" if all_gold else "which is empty"
        raise DataError(f"{seen.source}: {_name(seen)} is not in the gold data, {where}, or is here twice; {_REMEDY}")
    if seen.id is not None and gold.id is not None and seen.id != gold.id:
        raise DataError(f"{seen.source}: {_name(seen)} stands where {gold.source} has {_name(gold)}; {_REMEDY}")
    if seen.text and seen.text != gold.text:
        where = _difference(seen.text, gold.text)
        raise DataError(f"{seen.source}: its text differs from that of {gold.source} {where}; {_REMEDY}")
    return replace(seen, text=gold.text, gold=gold.entities)


def _name(document: Viewed | Document) -> str:
    return "the document" if document.id is None else f"document {reprlib.repr(document.id)}"


def _difference(one: str, other: str) -> str:
    """Where two texts part, and what follows there in both."""
    pairs = enumerate(zip(one, other, strict=False))
    at = next((number for number, (a, b) in pairs if a != b), min(len(one), len(other)))
    return f"from character {at:,} on: {one[at : at + 20]!r} against {other[at : at + 20]!r}"
