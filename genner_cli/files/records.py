"""A text, or a record with its fields -> a document, or what is wrong with it. Knows nothing of files."""

from __future__ import annotations

import json
import reprlib
import textwrap
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from genner_cli.errors import DataError
from genner_cli.files import OUTPUT_FIELDS
from genner_cli.types import Document, FailedDocument

Record = Document | FailedDocument
JOINT = "\n\n"
"""Stands between fields that are joined to a text."""
HALF_CHARACTER = "has half a surrogate pair (\\ud800 to \\udfff), which is not a character; remove it"


def document_of(
    value: str | Mapping[str, Any],
    source: str,
    *,
    text_field: str = "text",
    id_field: str = "id",
    dropped: Collection[str] = OUTPUT_FIELDS,
) -> Record:
    """A text, or a record with its fields, as `read_documents` gives it; `source` is its place in messages.

    `text_field` names the field of the text. Where no field has this name, `data.body` is the field `body` of the field
    `data`, and `title,data.body` joins two, between an empty line; null and "" are left out. The fields stay.
    """
    if not isinstance(value, str | Mapping):
        return FailedDocument(f"{source}: {reprlib.repr(value)} is neither a text nor a record; leave it out", source)
    record = {text_field: value} if isinstance(value, str) else value
    fields = {name: field for name, field in record.items() if name != text_field and name not in dropped}
    document_id = None if fields.get(id_field) is None else str(fields[id_field])
    try:
        text = _string(record, (text_field,)) if text_field in record else _joined(record, text_field)
        problem = _text_problem(text)
    except DataError as error:
        problem = str(error)
    if problem:
        return FailedDocument(f"{source}: {problem}", source, document_id, fields)
    return Document(text, document_id, fields=fields, source=source)


def text_parts(text_field: str) -> list[str]:
    """The fields, in fields perhaps, that a text is joined of."""
    return text_field.split(",")


def _joined(record: Mapping[str, Any], text_field: str) -> str:
    parts = text_parts(text_field)
    texts = [_string(record, (part,) if part in record else part.split("."), null=len(parts) > 1) for part in parts]
    return JOINT.join(filter(None, texts))


def _string(record: Mapping[str, Any], path: Sequence[str], *, null: bool = False) -> str:
    """What stands at a path of fields; `null`: it may be null, which is "". Raises DataError."""
    value: Any = record
    for name in path:
        if not isinstance(value, Mapping) or name not in value:
            present = textwrap.shorten(", ".join(map(repr, record)), 200, placeholder=" ...") or "none"
            where = f"no field {'.'.join(path)!r}; the fields are: {present}"
            raise DataError(f"{where}; choose the one with the text with --text-field")
        value = value[name]
    if value is None and null:
        return ""
    if not isinstance(value, str):
        shown = "null" if value is None else reprlib.repr(value)
        raise DataError(f"field {'.'.join(path)!r} is {shown}, not a string; write the text as a string")
    return value


def _text_problem(text: str) -> str | None:
    if "\0" in text:
        return f"the text has a NUL at character {text.index(chr(0))}; remove it"
    return f"the text {HALF_CHARACTER}" if has_half_character(text) else None


def has_half_character(value: Any) -> bool:
    """Whether half a surrogate pair stands anywhere in a JSON value."""
    try:
        (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)).encode()
    except (UnicodeEncodeError, RecursionError) as error:
        return isinstance(error, UnicodeEncodeError)
    return False


def too_long(source: str, what: str, limit: int, document_id: str | None = None) -> FailedDocument:
    """The failure of a document beyond the limit."""
    message = f"{source}: {what}, at most {limit:,} bytes are read; split it, or raise --max-document-bytes"
    return FailedDocument(message, source, document_id)
