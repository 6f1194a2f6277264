"""Output records as lines of JSON <-> rows of a Parquet file, in constant memory; a line comes back byte for byte.

Columns: id, text, `fields` (the other fields of the input, as a JSON object), entities (a list of structs), error (its
message) and completion. What a row has not is null. Needs the extra `parquet`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from typing import IO, TYPE_CHECKING, Any

import orjson

from genner_cli.errors import UsageError
from genner_cli.files.forms.parquet import FIELDS, arrow, entity_type, without_nulls

if TYPE_CHECKING:
    import pyarrow

SUFFIX = ".parquet"
GROUP_ROWS = 10_000
GROUP_BYTES = 32 * 2**20
"""A row group has so many rows or so many bytes of lines, or little more: it is held in memory."""

_OWN = ("entities", "error", "completion")
_FIELDS = "fields"


def check_names(path: str, text_field: str, id_field: str) -> None:
    """Raises `UsageError` where there is no pyarrow, or where two columns would have one name."""
    arrow()
    for option, name in (("--text-field", text_field), ("--id-field", id_field)):
        if name == _FIELDS:
            raise UsageError(
                f"{path}: Parquet output has a column {_FIELDS!r} of its own; write .jsonl, or rename {option} {name}"
            )


def pack(lines: Iterable[bytes], target: IO[bytes], *, text_field: str, id_field: str) -> None:
    """Writes lines as rows, a row group in memory at a time."""
    pa, pq = arrow()
    schema = _schema(pa, text_field, id_field)
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        for rows in _groups(lines, text_field, id_field):
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))


def unpack(source: IO[bytes], *, text_field: str, id_field: str) -> Generator[bytes, None, None]:
    """The lines that were packed. Raises OSError for what is no Parquet file."""
    pa, pq = arrow()
    try:
        with pq.ParquetFile(source) as file:
            for group in range(file.num_row_groups):
                for row in file.read_row_group(group).to_pylist():
                    yield _line(row, text_field, id_field)
    except (pa.ArrowException, orjson.JSONDecodeError, KeyError) as error:
        raise OSError(f"no output of genner in Parquet: {error}") from error


def _schema(pa: Any, text_field: str, id_field: str) -> pyarrow.Schema:
    string = pa.string()
    return pa.schema(
        [
            pa.field(id_field, string),
            pa.field(text_field, string),
            pa.field(_FIELDS, string, metadata=FIELDS),
            pa.field("entities", pa.list_(entity_type(pa))),
            pa.field("error", string),
            pa.field("completion", pa.list_(string)),
        ]
    )


def _groups(lines: Iterable[bytes], text_field: str, id_field: str) -> Iterator[list[dict[str, Any]]]:
    rows, size = [], 0
    for line in lines:
        rows.append(_row(orjson.loads(line), text_field, id_field))
        size += len(line)
        if len(rows) == GROUP_ROWS or size >= GROUP_BYTES:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows


def _row(record: dict[str, Any], text_field: str, id_field: str) -> dict[str, Any]:
    """An id that is no string stands in its column as text, and as it was among the fields."""
    own = {name: record[name] for name in (text_field, *_OWN) if name in record}
    if "error" in own:
        own["error"] = own["error"]["message"]
    id = record.get(id_field)
    fields = {name: value for name, value in record.items() if name not in own}
    if isinstance(id, str):
        del fields[id_field]
    return {
        **own,
        id_field: None if id is None else str(id),
        _FIELDS: orjson.dumps(fields).decode() if fields else None,
    }


def _line(row: dict[str, Any], text_field: str, id_field: str) -> bytes:
    fields = orjson.loads(row[_FIELDS] or "{}")
    record: dict[str, Any] = {}
    if id_field in fields or row[id_field] is not None:
        record[id_field] = fields.pop(id_field, row[id_field])
    if row[text_field] is not None:
        record[text_field] = row[text_field]
    record |= fields | {"entities": [without_nulls(entity) for entity in row["entities"]]}
    if row["error"] is not None:
        record["error"] = {"message": row["error"]}
    if row["completion"] is not None:
        record["completion"] = row["completion"]
    return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
