"""Extractions -> JSON Lines, in a file that is either whole or not there, or on standard output.

Takes extractions and a path, gives bytes on disk. Knows nothing of how an extraction came about.
"""

from __future__ import annotations

import errno
import gzip
import io
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from tempfile import TemporaryFile
from types import TracebackType
from typing import IO, Any, Self, cast

import orjson
import zstandard

from genner_cli.errors import DataError, GennerError, UsageError
from genner_cli.files import COMPRESSIONS, OUTPUT_FIELDS, STDIO, kind, remote
from genner_cli.files.whole import rename_durably
from genner_cli.types import Document, Entity, Extraction

SUFFIXES = tuple(kind + compression for kind in (".jsonl", ".ndjson") for compression in ("", *COMPRESSIONS))
PARTIAL = ".partial"

_ENTITIES = 1000
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def record_of(
    extraction: Extraction, *, text_field: str = "text", id_field: str = "id", keep_completion: bool = False
) -> dict[str, Any]:
    """The output record: id, text, the input's other fields in their order, entities, error, completion.

    The id is the value that the input had, a number as a number; no id gives no id. `error` is there for
    a failure only, which has no entities, and no text if none was read. `completion` has one string for
    each chunk. A score has four decimals. An input field by the name of an output field is left out.
    """
    entities = [entity_value(entity) for entity in _valid(extraction)]
    return _record(extraction, entities, text_field, id_field, keep_completion)


def _record(
    extraction: Extraction, entities: Any, text_field: str, id_field: str, keep_completion: bool
) -> dict[str, Any]:
    document = extraction.document
    record: dict[str, Any] = {}
    if document.id is not None or id_field in document.fields:
        record[id_field] = document.fields.get(id_field, document.id)
    if isinstance(document, Document):
        record[text_field] = document.text
    taken = {id_field, text_field, *OUTPUT_FIELDS}
    record |= {name: value for name, value in document.fields.items() if name not in taken}
    record["entities"] = entities
    if (error := _error(extraction)) is not None:
        record["error"] = {"message": error}
    if keep_completion:
        record["completion"] = list(extraction.completions)
    return record


def _error(extraction: Extraction) -> str | None:
    if extraction.error is None and not isinstance(extraction.document, Document):
        return extraction.document.message
    return extraction.error


def _valid(extraction: Extraction) -> tuple[Entity, ...]:
    return extraction.entities if _error(extraction) is None else ()


def entity_value(entity: Entity) -> dict[str, Any]:
    """An entity as it stands in a record."""
    value: dict[str, Any] = {"start": entity.start, "end": entity.end, "label": entity.label, "text": entity.text}
    value |= {} if entity.score is None else {"score": round(entity.score, 4)}
    return value if entity.source is None else {**value, "source": entity.source}


def encode(
    extraction: Extraction, *, text_field: str = "text", id_field: str = "id", keep_completion: bool = False
) -> bytes:
    """`record_of` as one line of UTF-8, its end included.

    Raises `DataError` for fields that JSON cannot carry; documents that were read from a file have none.
    """
    entities = orjson.Fragment(_entities_json(_valid(extraction)))
    record = _record(extraction, entities, text_field, id_field, keep_completion)
    try:
        return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
    except orjson.JSONEncodeError as error:
        source = extraction.document.source or extraction.document.id or "document"
        raise DataError(f"{source}: cannot be written as JSON ({error}); remove or convert that field") from error


def _entities_json(entities: Sequence[Entity]) -> bytes:
    """A list; its values are made a few at a time, for a long document has hundreds of thousands."""
    batches = (entities[at : at + _ENTITIES] for at in range(0, len(entities), _ENTITIES))
    return b"[" + b",".join(orjson.dumps([entity_value(each) for each in batch])[1:-1] for batch in batches) + b"]"


def encode_value(value: Any) -> bytes:
    """A JSON value for people to read, its last line's end included."""
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_INDENT_2)


def json_line(value: dict[str, Any]) -> bytes:
    """A value as a line of JSON Lines."""
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)


class Writer:
    """Writes lines to a file or, for "-", to standard output; a context manager.

    A file is written to PATH + ".partial" and takes its name (and replaces what stood there) when the
    with-block ends without an exception; after one the partial file stays, and a later run overwrites it.
    Lines are flushed one by one, but for compressed files, where that would cost the compression.

    `option` names the path on the command line, for messages. Raises `UsageError` at once, before any work, for a
    suffix not in `suffixes`, a folder that is missing or may not be written, and a path that is also an input;
    `GennerError` when the disk refuses a line.
    `BrokenPipeError` means that standard output is closed (`genner ... | head`): it is passed on as it is. End then
    without a message and without writing more; nothing is left to be flushed.
    """

    def __init__(
        self, path: str, *, inputs: Sequence[str] = (), option: str = "-o", suffixes: tuple[str, ...] = SUFFIXES
    ) -> None:
        self.path = path
        self._option = option
        self._target = os.path.realpath(path)
        self._partial = self._target + PARTIAL
        if path != STDIO:
            check_target(path, inputs=inputs, option=option, suffixes=suffixes)

    def __enter__(self) -> Self:
        self._raw = _standard_output() if self.path == STDIO else self._open()
        self._stream = compressing(self._raw, self.path)
        return self

    def _open(self) -> IO[bytes]:
        try:
            return open(self._partial, "wb")
        except OSError as error:
            remedy = f"name another file or folder after {self._option}"
            raise UsageError(f"{self.path}: {error.strerror}; {remedy}") from error

    def write(self, line: bytes) -> None:
        """Writes one line. Raises `GennerError` for a full or failing disk, `BrokenPipeError` (see the class)."""
        rest = memoryview(line)
        try:
            while rest:
                rest = rest[self._stream.write(rest) or 0 :]
            if self._stream is self._raw:
                self._stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise self._failure(error) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self._finish()
            return
        self._abandon()
        if self.path != STDIO and self._partial not in str(error):
            error.add_note(f"what was written until then is in {self._partial}")

    def _finish(self) -> None:
        try:
            if self._stream is not self._raw:
                self._stream.close()
            self._raw.flush()
            if self.path != STDIO:
                self._raw.close()
                rename_durably(self._partial, self._target)
        except OSError as error:
            self._abandon()
            raise self._failure(error) from error

    def _abandon(self) -> None:
        """Closes the file; what is left of it is as readable as it can be."""
        for stream in (self._stream, self._raw) if self.path != STDIO else ():
            with suppress(OSError):
                stream.close()

    def _failure(self, error: OSError) -> GennerError:
        name = "standard output" if self.path == STDIO else self.path
        remedy = "make room, or write elsewhere" if error.errno in _NO_SPACE else "check the disk, or write elsewhere"
        kept = "" if self.path == STDIO else f"; what was written until then is in {self._partial}"
        return GennerError(f"{name}: cannot be written ({error.strerror}); {remedy} with {self._option}{kept}")


def check_target(
    path: str,
    *,
    inputs: Sequence[str] = (),
    option: str = "-o",
    suffixes: tuple[str, ...] = SUFFIXES,
    addresses: bool = False,
) -> None:
    """Raises `UsageError` for a file that cannot be written (see `Writer`), or for an address."""
    elsewhere = remote.is_address(path)
    local = remote.local_name(path) if elsewhere else path
    if os.path.isdir(local):
        raise UsageError(f"{path}: is a folder; name a file in it after {option}")
    _check_suffix(path, suffixes)
    if elsewhere and not addresses:
        raise UsageError(f"{path}: only the output of genner extract may be at an address; name a file after {option}")
    _check_place(path, local if elsewhere else os.path.realpath(path), inputs, option)


def _check_suffix(path: str, suffixes: tuple[str, ...]) -> None:
    if path.lower().endswith(suffixes):
        return
    if set(SUFFIXES) <= set(suffixes):
        what = "JSON Lines, Parquet or a table" if len(suffixes) > len(SUFFIXES) else "JSON Lines"
        raise UsageError(f"{path}: output is {what}; let the name end in one of {', '.join(suffixes)}, or use '-'")
    raise UsageError(f"{path}: unknown kind of file; let the name end in {' or '.join(suffixes)}")


def _check_place(path: str, target: str, inputs: Sequence[str], option: str) -> None:
    same = remote.canonical(path) if remote.is_address(path) else path
    if same in inputs or any(name != STDIO and os.path.realpath(name) == target for name in inputs):
        raise UsageError(f"{path}: is an input file, and output would overwrite it; name another file after {option}")
    folder = os.path.dirname(target)
    if not os.path.isdir(folder):
        raise UsageError(f"{path}: there is no folder {folder}; make it (mkdir -p), or name another after {option}")
    try:
        with TemporaryFile(dir=folder):  # permissions do not tell: of /proc, of a server
            pass
    except OSError as error:
        what = f"the folder {folder} cannot be written ({error.strerror})"
        raise UsageError(f"{path}: {what}; name another after {option}") from error


def _standard_output() -> IO[bytes]:
    """Unbuffered, so that nothing that could not be written is left for the interpreter to flush at its end."""
    sys.stdout.flush()
    try:
        return open(sys.stdout.fileno(), "wb", buffering=0, closefd=False)
    except io.UnsupportedOperation:  # it was replaced by something without a file, as in a test
        return sys.stdout.buffer


def compressing(raw: IO[bytes], path: str) -> IO[bytes]:
    """A stream that compresses into `raw` as the suffix of `path` says, or `raw` itself."""
    if path.lower().endswith(".gz"):
        return cast(IO[bytes], gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0))
    if path.lower().endswith(".zst"):
        return cast(IO[bytes], zstandard.ZstdCompressor().stream_writer(raw, closefd=False))
    return raw


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
