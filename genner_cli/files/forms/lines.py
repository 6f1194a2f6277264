"""Files of lines, of JSON values, or of bytes -> their content with a name for each piece; and back.

Shared by the forms. What cannot be read is a `DataError` with the file and line, for the form to hand on.
"""

from __future__ import annotations

import codecs
import reprlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import orjson

from genner_cli.errors import DataError
from genner_cli.files import kind
from genner_cli.files.forms.options import FormOptions, Lost
from genner_cli.files.reading import MAX_DOCUMENT_BYTES, UNREADABLE, Record, is_passing, lines_of, opened, read_error
from genner_cli.files.writing import Writer
from genner_cli.types import FailedDocument

_Read = Callable[[str, FormOptions, Lost], Iterator[Record]]


def failing_as_record(read: _Read) -> _Read:
    """A form's `read` that gives the DataError which ends it as a last record."""

    @wraps(read)
    def reading(path: str, options: FormOptions, lost: Lost) -> Iterator[Record]:
        try:
            yield from read(path, options, lost)
        except DataError as error:
            yield FailedDocument(str(error), path)

    return reading


@contextmanager
def readable(path: str) -> Iterator[None]:
    """Turns what is wrong with a file into a DataError, and what goes wrong on the disk into a ReadError."""
    try:
        yield
    except UNREADABLE as error:
        if is_passing(error):
            raise read_error(f"{path}: cannot be read", error) from error
        raise DataError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error


def text_lines(path: str) -> Iterator[tuple[int, str]]:
    """Each line, without its end, and its number from 1."""
    with readable(path), opened(path) as (_, stream):
        for number, (line, length) in enumerate(lines_of(stream, MAX_DOCUMENT_BYTES), 1):
            if line is None:
                most = f"at most {MAX_DOCUMENT_BYTES:,} are read"
                raise DataError(f"{path}:{number}: the line has {length:,} bytes, {most}")
            yield number, decoded(line.removeprefix(codecs.BOM_UTF8) if number == 1 else line, f"{path}:{number}")


def decoded(data: bytes, source: str) -> str:
    """UTF-8 as text."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise DataError(
            f"{source}: not UTF-8 at byte {error.start}; convert it (iconv -f ENCODING -t UTF-8)"
        ) from error


def content(path: str) -> bytes:
    """All bytes of a file, decompressed."""
    with readable(path), opened(path) as (_, stream):
        return stream.read()


def json_objects(path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a .json file, which holds one or a list of them, or of JSON Lines; each with its name."""
    for source, value in _json_values(path):
        if not isinstance(value, dict):
            raise DataError(f"{source}: {reprlib.repr(value)} is no object")
        yield source, value


def _json_values(path: str) -> Iterator[tuple[str, Any]]:
    if kind(path) == ".json":
        value = _parsed(content(path), path)
        values = value if isinstance(value, list) else [value]
        yield from ((f"{path}[{number}]", item) for number, item in enumerate(values))
        return
    for number, line in text_lines(path):
        if line.strip():
            yield f"{path}:{number}", _parsed(line, f"{path}:{number}")


def _parsed(data: bytes | str, source: str) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise DataError(f"{source}: not JSON, {error.msg} at line {error.lineno}, column {error.colno}") from error


def json_line(value: dict[str, Any]) -> bytes:
    """A value as a line of JSON Lines."""
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)


def write_json(values: Iterable[dict[str, Any]], path: str) -> None:
    """A .json file with a list of the values, or JSON Lines."""
    as_list = kind(path) == ".json"
    with Writer(path, suffixes=("",)) as writer:
        before = b"[\n" if as_list else b""
        for value in values:
            writer.write(before + (orjson.dumps(value) if as_list else json_line(value)))
            before = b",\n" if as_list else b""
        if as_list:
            writer.write(b"[]\n" if before == b"[\n" else b"\n]\n")
