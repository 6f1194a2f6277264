"""Records -> a table with one row per entity, as CSV or TSV.

    id,start,end,label,text,score,context
    7,0,10,PER,John Smith,0.7975,John Smith flew from London to New York.

A table has neither texts nor documents without entities: the records stay beside it (`output_target`).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from typing import IO, Any

import orjson

from genner_cli.data.contexts import context
from genner_cli.files import COMPRESSIONS, kind

SUFFIXES = tuple(kind + compression for kind in (".csv", ".tsv") for compression in ("", *COMPRESSIONS))
COLUMNS = ("id", "start", "end", "label", "text", "score", "context")


def is_table(path: str) -> bool:
    """Whether the name is that of a table."""
    return path.lower().endswith(SUFFIXES)


def rows(values: Iterable[Iterable[object]], path: str) -> bytes:
    """Lines of the table at a path, with its separator; None is an empty cell."""
    buffer = io.StringIO(newline="")
    delimiter = "\t" if kind(path) == ".tsv" else ","
    minimal = csv.writer(buffer, delimiter=delimiter, lineterminator="\n")
    all_quoted = csv.writer(buffer, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in map(tuple, values):
        has_return = any(isinstance(cell, str) and "\r" in cell for cell in row)
        (all_quoted if has_return else minimal).writerow(row)  # `minimal` quotes what is in its line end alone
    return buffer.getvalue().encode()


def write_entities(
    lines: Iterable[bytes], target: IO[bytes], path: str, *, text_field: str = "text", id_field: str = "id"
) -> None:
    """Writes the entities of output records, in their order; a record without an id gets its number, as `#12`."""
    target.write(rows([COLUMNS], path))
    for number, line in enumerate(lines, 1):
        values = entity_values(orjson.loads(line), number, text_field=text_field, id_field=id_field)
        target.write(rows((value.values() for value in values), path))


def entity_values(record: dict[str, Any], number: int, *, text_field: str, id_field: str) -> Iterator[dict[str, Any]]:
    """The entities of an output record, each as a row by the names of its columns. `number`: of the record, from 1."""
    id = record.get(id_field)
    name = f"#{number}" if id is None else id
    for each in record["entities"]:
        cells = {column: each.get(column) for column in COLUMNS[1:-1]}
        around = context(record[text_field], each["start"], each["end"])
        yield {"id": name, **cells, "context": around}
