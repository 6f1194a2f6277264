"""Gold documents and extractions -> which belong together, or where the two files part.

Knows files by their names in messages only, and nothing of scoring and showing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from genner_cli.errors import DataError
from genner_cli.types import Document, Extraction

_LONGEST_ID = 100
"""Characters of an id that messages show: ids are searched for."""
_REMEDY = "give gold and predictions of the same documents"


def pair_with_gold(
    gold: Sequence[Document], extractions: Iterable[Extraction], *, whole: bool = True
) -> Iterator[tuple[Document, Extraction]]:
    """Each extraction with its gold document: by id where it has one and each gold document one of its own, else by
    position.

    Raises `DataError`, with lines of both files, for a record that cannot be read, a document without gold, ids or
    texts that differ, and, if `whole`, gold left over.
    """
    by_id = len({document.id for document in gold} - {None}) == len(gold)
    keys: list[str | int | None] = [document.id if by_id else number for number, document in enumerate(gold)]
    waiting = dict(zip(keys, gold, strict=True))
    last = "nothing"
    for number, extraction in enumerate(extractions):
        found = extraction.document
        if not isinstance(found, Document) and extraction.error is None:
            raise DataError(f"{found.message} (what cannot be read cannot be compared with gold)")
        key = found.id if by_id and found.id is not None else keys[number] if number < len(keys) else None
        document = waiting.pop(key, None)
        yield _same(document, extraction, gold), extraction
        last = found.source
    if whole and waiting:
        left = next(iter(waiting.values()))
        also = f" (one of {len(waiting):,} without)" if len(waiting) > 1 else ""
        raise DataError(f"{left.source}: {_name(left.id)} has no prediction{also}; the last is {last}; {_REMEDY}")


def in_order(gold: Sequence[Document], extractions: Iterable[Extraction]) -> list[Extraction]:
    """The extraction of each gold document, in order, as if made from that document (see `pair_with_gold`)."""
    found = {
        id(document): Extraction(document, each.entities, each.error, each.completions)
        for document, each in pair_with_gold(gold, extractions)
    }
    return [found[id(document)] for document in gold]


def _same(gold: Document | None, extraction: Extraction, all_gold: Sequence[Document]) -> Document:
    seen = extraction.document
    if gold is None:
        where = f"{all_gold[0].source} to {all_gold[-1].source}" if all_gold else "which is empty"
        raise DataError(
            f"{seen.source}: {_name(seen.id)} is not in the gold data, {where}, or is here twice; {_REMEDY}"
        )
    if seen.id is not None and gold.id is not None and seen.id != gold.id:
        raise DataError(f"{seen.source}: {_name(seen.id)} stands where {gold.source} has {_name(gold.id)}; {_REMEDY}")
    if isinstance(seen, Document) and seen.text != gold.text:
        where = _difference(seen.text, gold.text)
        raise DataError(f"{seen.source}: its text differs from that of {gold.source} {where}; {_REMEDY}")
    return gold


def _name(id: str | None) -> str:
    if id is None:
        return "the document"
    return f"document {id if len(id) <= _LONGEST_ID else f'{id[:_LONGEST_ID]} ...'!r}"


def _difference(one: str, other: str) -> str:
    """Where two texts part, and what follows there in both."""
    pairs = enumerate(zip(one, other, strict=False))
    at = next((number for number, (a, b) in pairs if a != b), min(len(one), len(other)))
    return f"from character {at:,} on: {one[at : at + 20]!r} against {other[at : at + 20]!r}"
