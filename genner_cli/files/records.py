"""A text, or a record with its fields -> a document, or what is wrong with it. Knows nothing of files."""

from __future__ import annotations

import json
import reprlib
import textwrap
from collections.abc import Collection, Mapping
from typing import Any

from genner_cli.files import OUTPUT_FIELDS
from genner_cli.types import Document, FailedDocument

Record = Document | FailedDocument
HALF_CHARACTER = "has half a surrogate pair (\\ud800 to \\udfff), which is not a character; remove it"


def document_of(
    value: str | Mapping[str, Any],
    source: str,
    *,
    text_field: str = "text",
    id_field: str = "id",
    dropped: Collection[str] = OUTPUT_FIELDS,
) -> Record:
    """A text, or a record with its fields, as `read_documents` gives it; `source` is its place in messages."""
    record = {text_field: value} if isinstance(value, str) else value
    fields = {name: field for name, field in record.items() if name != text_field and name not in dropped}
    document_id = None if fields.get(id_field) is None else str(fields[id_field])
    problem = _record_problem(record, text_field)
    if problem:
        return FailedDocument(f"{source}: {problem}", source, document_id, fields)
    return Document(record[text_field], document_id, fields=fields, source=source)


def _record_problem(record: Mapping[str, Any], text_field: str) -> str | None:
    if text_field not in record:
        present = textwrap.shorten(", ".join(map(repr, record)), 200, placeholder=" ...") or "none"
        return f"no field {text_field!r}; the fields are: {present}; choose the one with the text with --text-field"
    text = record[text_field]
    if not isinstance(text, str):
        shown = "null" if text is None else reprlib.repr(text)
        return f"field {text_field!r} is {shown}, not a string; write the text as a string"
    return _text_problem(text)


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
