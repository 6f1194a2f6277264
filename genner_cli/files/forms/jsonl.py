"""genner's own form: JSON Lines with `text` and `entities` (see `files.gold`). It carries everything."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from genner_cli.data.offsets import Offsets, Unit
from genner_cli.files.forms.lines import json_line
from genner_cli.files.forms.options import FormOptions, Lost
from genner_cli.files.reading import Record, read_documents
from genner_cli.files.writing import Writer, record_of
from genner_cli.types import Document, Extraction

SUFFIXES: tuple[str, ...] = (".jsonl", ".ndjson")
UNIT = Unit.CODEPOINT


def read(path: str, options: FormOptions, lost: Lost) -> Iterator[Record]:
    """One record for each line."""
    yield from read_documents([path], text_field=options.text_field, id_field=options.id_field, dropped=("completion",))


def write(documents: Iterable[Document], path: str, options: FormOptions, lost: Lost) -> None:
    """One line for each document."""
    with Writer(path, suffixes=("",)) as writer:
        for document in documents:
            offsets = Offsets(document.text, options.offsets or UNIT)
            record = record_of(
                Extraction(document, document.entities), text_field=options.text_field, id_field=options.id_field
            )
            for said, entity in zip(record["entities"], document.entities, strict=True):
                said |= {"start": offsets.of(entity.start), "end": offsets.of(entity.end)}
                said |= {} if entity.score is None else {"score": entity.score}  # not rounded
            writer.write(json_line(record))
