"""Parquet: one row per document, with columns for text, id, other fields, and `entities` as a list of structs.

Needs the extra `parquet`. A field whose values are not all strings, all booleans, all integers or all floats is written
as JSON text, in a column marked so, and comes back as it was; an explicit null comes back as no field. The output of
`genner extract` (`pack`) has one column for all other fields, which is marked as well, and columns for error (its
message) and completion; its lines come back byte for byte.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any

import orjson

from genner_cli.data.offsets import Offsets
from genner_cli.errors import DataError, UsageError
from genner_cli.files import COMPRESSIONS, OUTPUT_FIELDS, STDIO
from genner_cli.files.annotations import AnnotationFormat, AnnotationOptions, Dropped
from genner_cli.files.records import Record
from genner_cli.files.streams import opened, readable
from genner_cli.files.writing import Writer
from genner_cli.types import Document

if TYPE_CHECKING:
    import pyarrow

_FIELDS = {"genner": "fields"}
"""Marks a column of JSON objects: they are fields of their rows."""

SUFFIX = ".parquet"
GROUP_ROWS = 10_000
GROUP_BYTES = 32 * 2**20
"""A row group of an output has at most this many rows, and little more than these bytes of lines: it is in memory."""

_JSON = {"genner": "json"}
_OTHERS = "fields"
_BATCH_ROWS = 1024
_INTEGERS = range(-(2**63), 2**63)


class Parquet(AnnotationFormat):
    suffixes = (SUFFIX,)
    is_input = True

    def records(self, path: str, options: AnnotationOptions, dropped: Dropped) -> Iterator[Record]:
        """One record for each row, a batch of rows in memory at a time."""
        pa, pq = _arrow()
        try:
            with readable(path), opened(path) as (_, stream):
                in_memory = path == STDIO or path.lower().endswith(COMPRESSIONS)
                file = pq.ParquetFile(pa.BufferReader(stream.read()) if in_memory else stream)
                marks = {field.name: (field.metadata or {}).get(b"genner", b"").decode() for field in file.schema_arrow}
                number = 0
                for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                    for row in batch.to_pylist():
                        number += 1
                        yield _record(row, marks, f"{path}:{number}", options)
        except (pa.ArrowException, ValueError, OverflowError) as error:  # the latter of bytes and numbers in its cells
            raise DataError(
                f"{path}: not a readable Parquet file ({error}); make or download the file again"
            ) from error

    def write(self, documents: Iterable[Document], path: str, options: AnnotationOptions, dropped: Dropped) -> None:
        """One row for each document."""
        pa, pq = _arrow()
        every = list(documents)
        with Writer(path, suffixes=("",)) as writer:
            sink = pa.BufferOutputStream()
            pq.write_table(_table(pa, every, options), sink)
            writer.write(sink.getvalue().to_pybytes())


def _arrow() -> tuple[Any, Any]:
    """The two modules of pyarrow. Raises UsageError where they are not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UsageError("Parquet files need pyarrow; install it with: pip install 'genner[parquet]'") from error
    return pyarrow, pyarrow.parquet


def _record(row: dict[str, Any], marks: dict[str, str], source: str, options: AnnotationOptions) -> Record:
    given = {name: value for name, value in row.items() if value is not None}
    fields = {name: orjson.loads(value) if marks[name] else _plain(value) for name, value in given.items()}
    for name in [name for name in fields if marks[name] == _FIELDS["genner"]]:
        fields |= fields.pop(name)
    if isinstance(fields.get("entities"), list):
        fields["entities"] = [_without_nulls(item) for item in fields["entities"]]
    return options.document(fields, source)


def _plain(value: Any) -> Any:
    """As a JSON value; what JSON does not have, such as a date, as text."""
    try:
        return orjson.loads(orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS))
    except orjson.JSONEncodeError:
        return str(value)


def _without_nulls(item: Any) -> Any:
    """An entity of its struct, without nulls."""
    return {key: value for key, value in item.items() if value is not None} if isinstance(item, dict) else item


def _table(pa: Any, documents: Sequence[Document], options: AnnotationOptions) -> pyarrow.Table:
    names = dict.fromkeys(name for document in documents for name in document.fields)
    columns: list[tuple[pyarrow.Field, list[Any]]]
    columns = [(pa.field(options.text_field, pa.string()), [document.text for document in documents])]
    columns += [_column(pa, name, [document.fields.get(name) for document in documents]) for name in names]
    entities = [_entities(document, FORMAT.offsets(document.text, options)) for document in documents]
    columns.append((pa.field("entities", pa.list_(_entity_type(pa))), entities))
    arrays = [pa.array(values, field.type) for field, values in columns]
    return pa.table(arrays, schema=pa.schema([field for field, _ in columns]))


def _entity_type(pa: Any) -> pyarrow.DataType:
    """The struct of an entity."""
    integer, string = pa.int64(), pa.string()
    parts = {"start": integer, "end": integer, "label": string, "text": string, "score": pa.float64(), "source": string}
    return pa.struct(list(parts.items()))


def _entities(document: Document, offsets: Offsets) -> list[dict[str, Any]]:
    return [
        {
            "start": offsets.of(e.start),
            "end": offsets.of(e.end),
            "label": e.label,
            "text": e.text,
            "score": e.score,
            "source": e.source,
        }
        for e in document.entities
    ]


def _column(pa: Any, name: str, values: list[Any]) -> tuple[pyarrow.Field, list[Any]]:
    kinds = {type(value) for value in values if value is not None}
    types = {str: pa.string(), bool: pa.bool_(), int: pa.int64(), float: pa.float64()}
    small = all(value in _INTEGERS for value in values if type(value) is int)
    if len(kinds) == 1 and kinds <= types.keys() and small:
        return pa.field(name, types[kinds.pop()]), values
    texts = [None if value is None else orjson.dumps(value).decode() for value in values]
    return pa.field(name, pa.string(), metadata=_JSON), texts


def check_names(path: str, text_field: str, id_field: str) -> None:
    """Raises `UsageError` where there is no pyarrow, or where two columns would have one name."""
    _arrow()
    for option, name in (("--text-field", text_field), ("--id-field", id_field)):
        if name == _OTHERS:
            raise UsageError(
                f"{path}: Parquet output has a column {_OTHERS!r} of its own; write .jsonl, or rename {option} {name}"
            )


def pack(lines: Iterable[bytes], target: IO[bytes], *, text_field: str, id_field: str) -> None:
    """Writes lines as rows, a row group in memory at a time."""
    pa, pq = _arrow()
    schema = _schema(pa, text_field, id_field)
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        for rows in _groups(lines, text_field, id_field):
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))


def unpack(source: IO[bytes], *, text_field: str, id_field: str) -> Generator[bytes, None, None]:
    """The lines that were packed. Raises OSError for what is not a Parquet file."""
    pa, pq = _arrow()
    try:
        with pq.ParquetFile(source) as file:
            for group in range(file.num_row_groups):
                for row in file.read_row_group(group).to_pylist():
                    yield _line(row, text_field, id_field)
    except (pa.ArrowException, orjson.JSONDecodeError, KeyError) as error:
        raise OSError(f"not an output of genner in Parquet: {error}") from error


def _schema(pa: Any, text_field: str, id_field: str) -> pyarrow.Schema:
    string = pa.string()
    return pa.schema(
        [
            pa.field(id_field, string),
            pa.field(text_field, string),
            pa.field(_OTHERS, string, metadata=_FIELDS),
            pa.field("entities", pa.list_(_entity_type(pa))),
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
    """An id that is not a string is text in its column, and as it was among the fields."""
    own = {name: record[name] for name in (text_field, *OUTPUT_FIELDS) if name in record}
    if "error" in own:
        own["error"] = own["error"]["message"]
    id = record.get(id_field)
    fields = {name: value for name, value in record.items() if name not in own}
    if isinstance(id, str):
        del fields[id_field]
    return {
        **own,
        id_field: None if id is None else str(id),
        _OTHERS: orjson.dumps(fields).decode() if fields else None,
    }


def _line(row: dict[str, Any], text_field: str, id_field: str) -> bytes:
    fields = orjson.loads(row[_OTHERS] or "{}")
    record: dict[str, Any] = {}
    if id_field in fields or row[id_field] is not None:
        record[id_field] = fields.pop(id_field, row[id_field])
    if row[text_field] is not None:
        record[text_field] = row[text_field]
    record |= fields | {"entities": [_without_nulls(entity) for entity in row["entities"]]}
    if row["error"] is not None:
        record["error"] = {"message": row["error"]}
    if row["completion"] is not None:
        record["completion"] = row["completion"]
    return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)


FORMAT = Parquet()
