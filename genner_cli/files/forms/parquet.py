"""Parquet: a row a document, with columns for text, id, other fields, and `entities` as a list of structs.

Needs the extra `parquet`. A field whose values are not all strings, all booleans, all integers or all floats is written
as JSON text, in a column marked so, and comes back as it was; an explicit null comes back as no field. What `genner
extract` writes (`files.rows`) has one column for all other fields, which is marked as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from genner_cli.data.offsets import Offsets, Unit
from genner_cli.errors import DataError, UsageError
from genner_cli.files import COMPRESSIONS, STDIO
from genner_cli.files.forms.lines import failing_as_record, readable
from genner_cli.files.forms.options import FormOptions, Lost
from genner_cli.files.reading import Record, document_of, opened
from genner_cli.files.writing import Writer
from genner_cli.types import Document

if TYPE_CHECKING:
    import pyarrow

SUFFIXES: tuple[str, ...] = (".parquet",)
UNIT = Unit.CODEPOINT

FIELDS = {"genner": "fields"}
"""Marks a column of JSON objects: they are fields of their rows."""

_JSON = {"genner": "json"}
_ROWS = 1024
_INTEGERS = range(-(2**63), 2**63)


@failing_as_record
def read(path: str, options: FormOptions, lost: Lost) -> Iterator[Record]:
    """One record for each row, a batch of rows in memory at a time."""
    pa, pq = arrow()
    try:
        with readable(path), opened(path) as (_, stream):
            in_memory = path == STDIO or path.lower().endswith(COMPRESSIONS)
            file = pq.ParquetFile(pa.BufferReader(stream.read()) if in_memory else stream)
            marks = {field.name: (field.metadata or {}).get(b"genner", b"").decode() for field in file.schema_arrow}
            number = 0
            for batch in file.iter_batches(batch_size=_ROWS):
                for row in batch.to_pylist():
                    number += 1
                    yield _record(row, marks, f"{path}:{number}", options)
    except (pa.ArrowException, ValueError, OverflowError) as error:  # the latter of bytes and numbers in its cells
        raise DataError(f"{path}: no Parquet that can be read ({error}); make or download the file again") from error


def arrow() -> tuple[Any, Any]:
    """The two modules of pyarrow. Raises UsageError where they are not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UsageError("Parquet files need pyarrow; install it with: pip install 'genner[parquet]'") from error
    return pyarrow, pyarrow.parquet


def _record(row: dict[str, Any], marks: dict[str, str], source: str, options: FormOptions) -> Record:
    given = {name: value for name, value in row.items() if value is not None}
    fields = {name: orjson.loads(value) if marks[name] else _plain(value) for name, value in given.items()}
    for name in [name for name in fields if marks[name] == FIELDS["genner"]]:
        fields |= fields.pop(name)
    if isinstance(fields.get("entities"), list):
        fields["entities"] = [without_nulls(item) for item in fields["entities"]]
    return document_of(fields, source, text_field=options.text_field, id_field=options.id_field, dropped=())


def _plain(value: Any) -> Any:
    """As JSON knows it: what it does not, such as a date, as text."""
    try:
        return orjson.loads(orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS))
    except orjson.JSONEncodeError:
        return str(value)


def without_nulls(item: Any) -> Any:
    """An entity as its struct says it; what is null is not there."""
    return {key: value for key, value in item.items() if value is not None} if isinstance(item, dict) else item


def write(documents: Iterable[Document], path: str, options: FormOptions, lost: Lost) -> None:
    """One row for each document."""
    pa, pq = arrow()
    every = list(documents)
    with Writer(path, suffixes=("",)) as writer:
        sink = pa.BufferOutputStream()
        pq.write_table(_table(pa, every, options), sink)
        writer.write(sink.getvalue().to_pybytes())


def _table(pa: Any, documents: Sequence[Document], options: FormOptions) -> pyarrow.Table:
    names = dict.fromkeys(name for document in documents for name in document.fields)
    columns: list[tuple[pyarrow.Field, list[Any]]]
    columns = [(pa.field(options.text_field, pa.string()), [document.text for document in documents])]
    columns += [_column(pa, name, [document.fields.get(name) for document in documents]) for name in names]
    entities = [_entities(document, options.offsets or UNIT) for document in documents]
    columns.append((pa.field("entities", pa.list_(entity_type(pa))), entities))
    arrays = [pa.array(values, field.type) for field, values in columns]
    return pa.table(arrays, schema=pa.schema([field for field, _ in columns]))


def entity_type(pa: Any) -> pyarrow.DataType:
    """The struct of an entity."""
    integer, string = pa.int64(), pa.string()
    parts = {"start": integer, "end": integer, "label": string, "text": string, "score": pa.float64()}
    return pa.struct(list(parts.items()))


def _entities(document: Document, unit: Unit) -> list[dict[str, Any]]:
    offsets = Offsets(document.text, unit)
    return [
        {"start": offsets.of(e.start), "end": offsets.of(e.end), "label": e.label, "text": e.text, "score": e.score}
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
