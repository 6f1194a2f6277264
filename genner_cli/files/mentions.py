"""Mentions, or the entities of extractions one by one -> a table or JSON Lines; the most frequent as lines of text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import Any

from genner_cli.files import STDIO, tables, writing
from genner_cli.files.writing import Writer, check_target, json_line, record_of
from genner_cli.plurals import counted
from genner_cli.types import Extraction

SUFFIXES = (*tables.SUFFIXES, *writing.SUFFIXES)
COLUMNS = ("label", "text", "count", "documents", "score")
Value = dict[str, Any]
Cells = Callable[[Value | None], Sequence[object]]
"""The cells of a value in a table; of None, those of the header."""


def refuse_target(output: str | None, inputs: Sequence[str]) -> None:
    """Raises UsageError for an output that cannot be written."""
    if output not in (None, STDIO):
        check_target(output, inputs=inputs, suffixes=SUFFIXES)


def write_each(extractions: Iterable[Extraction], output: str, *, text_field: str, id_field: str) -> None:
    """Every entity, in the order of the records; a record without an id gets its number."""

    def values() -> Iterator[Value]:
        for number, extraction in enumerate(extractions, 1):
            record = record_of(extraction, text_field=text_field, id_field=id_field)
            yield from tables.entity_values(record, number, text_field=text_field, id_field=id_field)

    _write(values(), output, lambda value: tables.COLUMNS if value is None else [*value.values()])


def write_mentions(values: Iterable[Value], output: str, contexts: int) -> None:
    """Tallies of mentions (`MentionStore.values`), in a table with this number of columns of contexts."""
    _write(values, output, partial(_cells, contexts))


def _write(values: Iterable[Value], output: str, cells: Cells) -> None:
    with Writer(output, suffixes=SUFFIXES) as writer:
        if tables.is_table(output):
            writer.write(tables.rows([cells(None)], output))
        for value in values:
            writer.write(tables.rows([cells(value)], output) if tables.is_table(output) else json_line(value))


def _cells(contexts: int, value: Value | None) -> Sequence[object]:
    if value is None:
        return [*COLUMNS, *(f"context_{number}" for number in range(1, contexts + 1))]
    shown = [each["context"] for each in value["contexts"]]
    return [*map(value.get, COLUMNS), *shown, *[None] * (contexts - len(shown))]


def most_frequent(values: Iterable[Value], top: int | None) -> Iterator[Value]:
    """The first of each label."""
    for _, group in groupby(values, lambda value: value["label"]):
        for number, value in enumerate(group):
            if top is None or number < top:
                yield value


def mention_lines(
    values: Iterable[Value], entities: Mapping[str, int], width: int | None, printable: Callable[[str], str]
) -> Iterator[str]:
    """For each label its mentions in columns, cut to a width. `entities`: how many there are, by label; `printable`:
    makes texts fit to be shown."""
    for label, group in groupby(values, lambda value: value["label"]):
        yield f"{printable(label)}: {counted(entities[label], 'entity')}"
        cells = (tuple(map(printable, _texts(each))) for each in group)
        rows = [("count", "documents", "score", "mention", "context"), *cells]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            right = [cell.rjust(size) for cell, size in zip(row[:3], widths, strict=False)]
            yield "  ".join(["", *right, row[3].ljust(widths[3]), row[4]])[:width].rstrip()
        yield ""
    if not entities:
        yield "no entities"


def _texts(value: Value) -> tuple[str, ...]:
    score = f"{value['score']:.3f}" if "score" in value else ""
    context = value["contexts"][0]["context"] if value["contexts"] else ""
    return f"{value['count']:,}", f"{value['documents']:,}", score, value["text"], context
