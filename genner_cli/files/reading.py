"""Paths -> documents, one at a time, in constant memory.

Takes JSON Lines (one object a line) and plain text, either also as gzip or zstd, and standard input; and Parquet, CoNLL
and brat, which `files.forms` reads. Gives one record for each line that is not blank, for each text file, row or
sentence: a `Document`, or a `FailedDocument` that says where, what and what to do. Knows nothing of chunks or models.
"""

from __future__ import annotations

import codecs
import gzip
import io
import json
import logging
import os
import reprlib
import sys
import textwrap
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import IO, TYPE_CHECKING, Any, NamedTuple, cast

import orjson
import zstandard

from genner_cli.data.losses import Losses
from genner_cli.errors import ReadError, UsageError
from genner_cli.files import OUTPUT_FIELDS, STDIO, Block, expand, kind, remote, size, total_bytes
from genner_cli.types import Document, FailedDocument

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["MAX_DOCUMENT_BYTES", "Record", "document_of", "expand", "read_documents", "total_bytes"]

MAX_DOCUMENT_BYTES = 16 * 2**20
Record = Document | FailedDocument
UNREADABLE = (OSError, EOFError, zlib.error, zstandard.ZstdError)
"""What goes wrong on the disk, or in a compressed file."""
_ABSENT = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)

_log = logging.getLogger("genner")

_FORMS = {".parquet": "parquet", ".conll": "conll", ".ann": "brat"}
_BLOCK = 64 * 1024
_ZSTD_STEP = 256  # zstd gives at most 32,768 times as much at once: hostile input stays under 8 MiB a step
_HALF = "has half a surrogate pair (\\ud800 to \\udfff), which is no character; remove it"


class _Names(NamedTuple):
    text: str
    id: str
    dropped: Collection[str]


def read_documents(
    paths: Sequence[str | Block],
    *,
    text_field: str = "text",
    id_field: str = "id",
    dropped: Collection[str] = OUTPUT_FIELDS,
    max_document_bytes: int = MAX_DOCUMENT_BYTES,
    progress: Callable[[int], None] = lambda n: None,
) -> Iterator[Record]:
    """One record for each line that is not blank, in order; the paths are those that `expand` gives, or blocks of them.

    `Document.id` is the id field as text. Its value itself stays in `fields`, so that output has it as it
    was; so do all other fields but the text and the `dropped` ones, which belong to output (integers beyond
    64 bits become floats, as orjson reads them). A text file is one document; its id is its file name.
    A UTF-8 byte order mark is left out. An .ann file gives the text beside it.

    `max_document_bytes` limits a line as it stands in the file (decompressed), or a text file. A file that
    breaks off gives what was read before and one `FailedDocument`; the next file follows. So does a file that is not
    there any more, but for one that is read in blocks, which is a ReadError.
    `progress` gets the bytes just consumed of the files as they lie on disk; they add up to `total_bytes`.

    Raises `UsageError` at the call for field names that cannot be, `ReadError` where a disk or server fails in the
    middle: what follows may be read another time. Bad data is given, not raised.
    """
    for option, name in (("--text-field", text_field), ("--id-field", id_field)):
        if name in OUTPUT_FIELDS:
            raise UsageError(f"{option} {name}: output records use this name; rename the field in the input")
        if _has_half_character(name):
            raise UsageError(f"{option} {name!r}: is no text (UTF-8); name a field as the input does")
    if text_field == id_field:
        raise UsageError(f"--text-field and --id-field are both {text_field!r}; name two fields")
    return _read_all(paths, _Names(text_field, id_field, dropped), max_document_bytes, progress)


def _read_all(
    paths: Sequence[str | Block], names: _Names, limit: int, progress: Callable[[int], None]
) -> Iterator[Record]:
    for path in paths:
        block = path if isinstance(path, Block) else Block(path)
        done = block.start
        for record, position in _read_block(block, names, limit):
            position = position if block.end is None else min(position, block.end)
            progress(position - done)
            done = position
            yield record
        progress(max(0, (block.end or size(block.path) or done) - done))


def _read_block(block: Block, names: _Names, limit: int) -> Iterator[tuple[Record, int]]:
    """Each record with the place in the file up to which it had been consumed by then; the last line may end behind
    the block."""
    path = block.path
    if kind(path) in _FORMS:
        yield from ((record, 0) for record in _read_form(path, names, limit))
        return
    name = "stdin" if path == STDIO else os.fsencode(path).decode("utf-8", "backslashreplace")
    position, number = block.start, block.lines
    try:
        with opened(path) as (raw, stream):
            length_then = _length(raw)
            if kind(path) == ".txt":
                content = _read_at_most(stream, limit + 1)
                _refuse_cut(raw, length_then)
                yield _text_document(content, name, limit), 0
                return
            compressed = stream is not raw and raw.seekable()
            if block.start:
                stream.seek(block.start - 1)
                skipped = _rest_of_line(stream)  # of the line that begins before the block
                position, number = position + skipped - 1, number + (skipped > 1)
            for line, length in lines_of(stream, limit):
                if block.end is not None and position >= block.end:
                    return
                number += 1
                position = raw.tell() if compressed else position + length
                if number == 1 and line:
                    line = line.removeprefix(codecs.BOM_UTF8)
                if line is None:
                    yield _too_long(f"{name}:{number}", f"the line has {length:,} bytes", limit), position
                elif line.strip():
                    record = _json_document(line, f"{name}:{number}", names)
                    del line  # which is as long as the text
                    yield record, position
            if block.end is not None and position < block.end:
                raise EOFError(f"it ends before byte {block.end:,}, which it had when its blocks were shared out")
            _refuse_cut(raw, length_then)
    except UNREADABLE as error:
        if is_passing(error) or (block.end is not None and isinstance(error, OSError)):
            raise read_error(f"{name}: {_where(number, position)}", error) from error
        yield _broken(path, name, number, position, error), position


def is_passing(error: Exception) -> bool:
    """Whether a disk or a server has failed, and no file is damaged or not there: it may be read another time."""
    return isinstance(error, OSError) and error.errno is not None and not isinstance(error, _ABSENT)


def read_error(what: str, error: Exception) -> ReadError:
    """What is told of that."""
    why = getattr(error, "strerror", None) or error
    return ReadError(f"{what} ({why}); check the disk or the server, and run the same command again")


def _length(raw: IO[bytes]) -> int:
    """Bytes of the file as it is now; 0 for a stream."""
    try:
        return os.fstat(raw.fileno()).st_size
    except OSError:
        return 0


def _refuse_cut(raw: IO[bytes], length_then: int) -> None:
    """Raises EOFError if the file has become shorter since: its end is not that of the documents."""
    if (now := _length(raw)) < length_then:
        raise EOFError(f"it was cut from {length_then:,} to {now:,} bytes while it was read")


def _read_form(path: str, names: _Names, limit: int) -> Iterator[Record]:
    """The records of a form, without the dropped fields; entities that it tells of but cannot give are warned of."""
    from genner_cli.files.forms import FORMS  # which reads by means of this module
    from genner_cli.files.forms.options import FormOptions

    losses = Losses()
    options = FormOptions(text_field=names.text, id_field=names.id)
    for record in FORMS[_FORMS[kind(path)]].read(path, options, losses):
        fields = {name: value for name, value in record.fields.items() if name not in names.dropped}
        length = len(record.text.encode()) if isinstance(record, Document) else 0
        if length > limit:
            yield _too_long(record.source, f"the text has {length:,} bytes", limit, record.id)
        else:
            yield replace(record, fields=fields)
    if "entities" not in names.dropped:
        for line in losses.lines():
            _log.warning("%s: %s", path, line)


@contextmanager
def opened(path: str) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """The file as it lies on disk, and its content decompressed (the same stream if it is not compressed)."""
    with nullcontext(sys.stdin.buffer) if path == STDIO else _raw(path) as raw:
        if path.lower().endswith(".gz"):
            yield raw, cast(IO[bytes], gzip.GzipFile(fileobj=raw, mode="rb"))
        elif path.lower().endswith(".zst"):
            yield raw, io.BufferedReader(_ZstdStream(raw), _BLOCK)
        else:
            yield raw, raw


def _raw(path: str) -> IO[bytes]:
    return remote.opened(path) if remote.is_address(path) else open(path, "rb")


class _ZstdStream(io.RawIOBase):
    """zstd frames, decompressed. zstandard's own reader takes a frame that is cut off for a whole one."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._pieces = _zstd_pieces(raw)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        while not self._rest:
            self._rest = memoryview(b"")  # lets go of the last piece before the next is made
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        target = memoryview(buffer)
        count = min(len(target), len(self._rest))
        target[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def _zstd_pieces(raw: IO[bytes]) -> Iterator[bytes]:
    block = raw.read(_ZSTD_STEP)
    while block:
        frame = zstandard.ZstdDecompressor().decompressobj()
        yield frame.decompress(block)
        while not frame.eof:
            block = raw.read(_ZSTD_STEP)
            if not block:
                raise EOFError("the file ends within a zstd frame")
            yield frame.decompress(block)
        block = frame.unused_data or raw.read(_ZSTD_STEP)


def lines_of(stream: IO[bytes], limit: int) -> Iterator[tuple[bytes | None, int]]:
    """Each line without its end, None if that has more than `limit` bytes, and the bytes it took with its end."""
    return iter(partial(_line, stream, limit), (b"", 0))  # which, unlike a loop, holds no line


def _line(stream: IO[bytes], limit: int) -> tuple[bytes | None, int]:
    """The next line; an empty one of no bytes at the end."""
    most = limit + len(b"\r\n")
    line = stream.readline(most)
    length = len(line)
    if length == most and not line.endswith(b"\n"):
        length += _rest_of_line(stream)
    content = line.removesuffix(b"\n").removesuffix(b"\r")
    return None if length > most or len(content) > limit else content, length


def _rest_of_line(stream: IO[bytes]) -> int:
    """Reads to the end of the line; how many bytes that were, its end included."""
    count = 0
    while rest := stream.readline(_BLOCK):
        count += len(rest)
        if rest.endswith(b"\n"):
            break
    return count


def _read_at_most(stream: IO[bytes], count: int) -> bytes:
    """Reads in blocks, for a read of `count` bytes would take that much memory at once."""
    found = bytearray()
    while len(found) < count and (block := stream.read(min(_BLOCK, count - len(found)))):
        found += block
    return bytes(found)


def _text_document(content: bytes, name: str, limit: int) -> Record:
    document_id = os.path.basename(name)
    if len(content) > limit:
        return _too_long(name, "the text is too long", limit, document_id)
    try:
        text = content.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        return FailedDocument(f"{name}: {_not_utf8(error)}", name, document_id)
    return replace(document_of(text, name), id=document_id)


def _json_document(line: bytes, source: str, names: _Names) -> Record:
    try:
        value = orjson.loads(line)
        problem = None if isinstance(value, dict) else f"{reprlib.repr(value)} is no object; write one object a line"
    except orjson.JSONDecodeError as error:
        value = _salvaged(line)
        problem = _encoding_problem(line, value) or f"not JSON, {error.msg} at column {error.colno}; correct the line"
    fields = value if isinstance(value, dict) else {}
    writable = {name: field for name, field in fields.items() if _is_writable(name, field)}
    if len(writable) < len(fields) and not problem:
        lost = next(name for name in fields if name not in writable)
        problem = f"field {reprlib.repr(lost)} is nested too deep to be carried through; make it flatter"
    document = document_of(writable, source, text_field=names.text, id_field=names.id, dropped=names.dropped)
    return FailedDocument(f"{source}: {problem}", source, document.id, document.fields) if problem else document


def _salvaged(line: bytes) -> dict[str, Any]:
    """What Python's lenient parser makes of a line that is not quite JSON or not quite UTF-8."""
    try:
        value = json.loads(line.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _is_writable(name: str, field: Any) -> bool:
    try:
        orjson.dumps({name: field})
    except orjson.JSONEncodeError:
        return False
    return True


def document_of(
    value: str | Mapping[str, Any],
    source: str,
    *,
    text_field: str = "text",
    id_field: str = "id",
    dropped: Collection[str] = OUTPUT_FIELDS,
) -> Record:
    """A text, or a record with its fields, as `read_documents` gives it; `source` is its name in messages."""
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
        return f"no field {text_field!r}; the fields are: {present}; name the one with the text by --text-field"
    text = record[text_field]
    if not isinstance(text, str):
        return f"field {text_field!r} is {reprlib.repr(text)}, not a string; write the text as a string"
    return _text_problem(text)


def _text_problem(text: str) -> str | None:
    if not text:
        return "the text is empty; leave the document out, or give it a text"
    if "\0" in text:
        return f"the text has a NUL at character {text.index(chr(0))}; remove it"
    return f"the text {_HALF}" if _has_half_character(text) else None


def _encoding_problem(line: bytes, record: Mapping[str, Any]) -> str | None:
    try:
        line.decode()
    except UnicodeDecodeError as error:
        return _not_utf8(error)
    return next(
        (f"field {reprlib.repr(name)} {_HALF}" for name in record if _has_half_character({name: record[name]})), None
    )


def _has_half_character(value: Any) -> bool:
    try:
        (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)).encode()
    except (UnicodeEncodeError, RecursionError) as error:
        return isinstance(error, UnicodeEncodeError)
    return False


def _not_utf8(error: UnicodeDecodeError) -> str:
    byte = error.object[error.start]
    return f"not UTF-8 at byte {error.start} (0x{byte:02x}); convert the file (iconv -f ENCODING -t UTF-8)"


def _too_long(source: str, what: str, limit: int, document_id: str | None = None) -> FailedDocument:
    message = f"{source}: {what}, at most {limit:,} bytes are read; split it, or raise --max-document-bytes"
    return FailedDocument(message, source, document_id)


def _where(number: int, position: int) -> str:
    return f"broken after line {number:,}, at byte {position:,} of the file" if number else "cannot be read"


def _broken(path: str, name: str, number: int, position: int, error: Exception) -> FailedDocument:
    why = getattr(error, "strerror", None) or error
    message = f"{name}: {_where(number, position)} ({why}); what follows was not read, make or download the file again"
    if kind(path) == ".txt":
        return FailedDocument(message, name, os.path.basename(name))
    return FailedDocument(message, f"{name}:{number + 1}")
