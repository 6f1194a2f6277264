"""Paths -> bytes, lines, text and JSON objects, decompressed, in constant memory where they can be read so.

What is wrong with a file (damaged, cut, not there) is distinguished from a disk or a server that fails (`is_passing`),
which may be read another time. Knows nothing of documents.
"""

from __future__ import annotations

import codecs
import gzip
import io
import json
import math
import os
import reprlib
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import IO, TYPE_CHECKING, Any, cast

import orjson
import zstandard

from genner_cli.errors import DataError, ReadError
from genner_cli.files import INSIDE, STDIO, WHOLE_PATH, kind, remote, unmarked

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAX_DOCUMENT_BYTES = 16 * 2**20
UNREADABLE = (OSError, EOFError, zlib.error, zstandard.ZstdError)
"""What is raised by a failing disk, or for a damaged compressed file."""
CONVERT = "convert the file (iconv -f WINDOWS-1252 -t UTF-8, or from the encoding that it has)"
"""The remedy where a text is not UTF-8."""
_ABSENT = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
_BLOCK = 64 * 1024
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_ZSTD_STEP = 256  # zstd gives at most 32,768 times as much at once: hostile input stays under 8 MiB a step


def is_passing(error: Exception) -> bool:
    """Whether a disk or a server has failed, and no file is damaged or missing: it may be read another time."""
    return isinstance(error, OSError) and error.errno is not None and not isinstance(error, _ABSENT)


def read_error(what: str, error: Exception) -> ReadError:
    """The error to raise for one that `is_passing`."""
    return ReadError(f"{what} ({reason(error)}); check the disk or the server, and run the same command again")


def reason(error: Exception) -> str:
    """An error's own words."""
    return getattr(error, "strerror", None) or str(error)


def shown_name(path: str) -> str:
    """A path as it stands in messages and record sources."""
    return "stdin" if path == STDIO else os.fsencode(unmarked(path)).decode("utf-8", "backslashreplace")


def id_of(path: str) -> str:
    """The id of a document that is a file: its name, its path inside the folder that was named, or its whole path."""
    if WHOLE_PATH in path:
        return shown_name(path)
    return shown_name(path.rpartition(INSIDE)[2] if INSIDE in path else os.path.basename(path))


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
    return remote.opened(unmarked(path)) if remote.is_address(path) else open(path, "rb")


def length_of(raw: IO[bytes]) -> int:
    """Bytes of the file as it is now; 0 for a stream."""
    try:
        return os.fstat(raw.fileno()).st_size
    except OSError:
        return 0


def refuse_cut(raw: IO[bytes], length_before: int) -> None:
    """Raises EOFError if the file has become shorter: what was read is not all of its documents."""
    if (now := length_of(raw)) < length_before:
        raise EOFError(f"it was cut from {length_before:,} to {now:,} bytes while it was read")


class _ZstdStream(io.RawIOBase):
    """zstd frames, decompressed. zstandard's own reader takes a frame that is cut off for a whole one."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._pieces = _zstd_pieces(raw)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        while not self._rest:
            self._rest = memoryview(b"")  # frees the last piece before the next is made
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
        length += rest_of_line(stream)
    content = line.removesuffix(b"\n").removesuffix(b"\r")
    return None if length > most or len(content) > limit else content, length


def rest_of_line(stream: IO[bytes]) -> int:
    """Reads to the end of the line; the number of bytes read, its end included."""
    count = 0
    while rest := stream.readline(_BLOCK):
        count += len(rest)
        if rest.endswith(b"\n"):
            break
    return count


def read_at_most(stream: IO[bytes], count: int) -> bytes:
    """Reads in blocks, for a read of `count` bytes would take that much memory at once."""
    content = bytearray()
    while len(content) < count and (block := stream.read(min(_BLOCK, count - len(content)))):
        content += block
    return bytes(content)


@contextmanager
def readable(path: str) -> Iterator[None]:
    """Turns what is wrong with a file into a DataError, and what goes wrong on the disk into a ReadError."""
    try:
        yield
    except UNREADABLE as error:
        if is_passing(error):
            raise read_error(f"{path}: cannot be read", error) from error
        raise DataError(f"{path}: cannot be read ({reason(error)}); make or download the file again") from error


def text_lines(path: str) -> Iterator[tuple[int, str]]:
    """Each line, without its end, and its number from 1. Raises DataError, ReadError."""
    with readable(path), opened(path) as (_, stream):
        for number, (line, length) in enumerate(lines_of(stream, MAX_DOCUMENT_BYTES), 1):
            if line is None:
                most = f"at most {MAX_DOCUMENT_BYTES:,} are read"
                raise DataError(f"{path}:{number}: the line has {length:,} bytes, {most}")
            line = line.removeprefix(codecs.BOM_UTF8)  # of joined files, on any line
            if problem := lfs_pointer(line):
                raise DataError(f"{path}:{number}: {problem}")
            yield number, decoded(line, f"{path}:{number}")


def content(path: str) -> bytes:
    """All bytes of a file, decompressed. Raises DataError, ReadError."""
    with readable(path), opened(path) as (_, stream):
        data = stream.read()
    if problem := lfs_pointer(data):
        raise DataError(f"{path}: {problem}")
    return data


def lfs_pointer(data: bytes) -> str | None:
    """What is wrong with bytes that begin a Git LFS pointer; None for any other."""
    if data.startswith(_LFS_POINTER):
        return "a Git LFS pointer, not the file itself; fetch it with git lfs pull"
    return None


def decoded(data: bytes, source: str) -> str:
    """UTF-8 as text. Raises DataError that begins with `source`."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"{source}: {not_utf8(error)}") from error


def not_utf8(error: UnicodeDecodeError) -> str:
    """What is wrong, and the remedy."""
    byte = error.object[error.start]
    if error.object[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return "UTF-16, not UTF-8; convert the file (iconv -f UTF-16 -t UTF-8)"
    return binary(error.object) or f"not UTF-8 at byte {error.start} (0x{byte:02x}); {CONVERT}"


def binary(data: bytes) -> str | None:
    """What is wrong with bytes that are not a text, and the remedy; None for any other."""
    at = data.find(0)
    if at < 0:
        return None
    return f"a NUL at byte {at}: it looks like a binary file; name a text (one in UTF-16: iconv -f UTF-16LE -t UTF-8)"


def json_objects(path: str, dropped: Callable[[str, str], None]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a .json file, which holds one or a list of them, or of JSON Lines; each with its place.

    `dropped` gets what became null, and where. Raises DataError, ReadError.
    """
    for source, value in _json_values(path, dropped):
        if not isinstance(value, dict):
            raise DataError(f"{source}: {reprlib.repr(value)} is not an object")
        yield source, value


def _json_values(path: str, dropped: Callable[[str, str], None]) -> Iterator[tuple[str, Any]]:
    if kind(path) == ".json":
        data = content(path).removeprefix(codecs.BOM_UTF8)
        if not _is_lines(data):
            value = _parsed(data, path, dropped)
            values = value if isinstance(value, list) else [value]
            yield from ((f"{path}[{number}]", item) for number, item in enumerate(values))
            return
    for number, line in text_lines(path):
        if problem := several_lines(line.encode()):
            raise DataError(f"{path}:{number}: {problem}")
        if line.strip():
            yield f"{path}:{number}", _parsed(line, f"{path}:{number}", dropped)


def _is_lines(data: bytes) -> bool:
    """Whether the first line that is not empty is an object of its own, and others follow."""
    first, _, rest = data.lstrip().partition(b"\n")
    return bool(rest.strip()) and first.startswith(b"{") and is_json(first)


def is_json(data: bytes) -> bool:
    """Whether these bytes are a JSON value."""
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        return False
    return True


def several_lines(line: bytes) -> str | None:
    """What is wrong with a line that begins a list, or an object, over several lines; None for any other."""
    line = line.strip()
    if line[:1] == b"[" and not is_json(line):
        return "begins a list over several lines; put one object on each line: jq -c '.[]' IN > OUT.jsonl"
    if line == b"{":
        return "begins an object over several lines; put one object on each line: jq -c . IN > OUT.jsonl"
    return None


def _parsed(data: bytes | str, source: str, dropped: Callable[[str, str], None]) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        lenient = with_nulls(data)
        if lenient is None:
            raise DataError(f"{source}: not JSON, {error.msg} at line {error.lineno}, column {error.colno}") from error
        value, names = lenient
        for name in names:
            dropped(name, source)
        return value


def with_nulls(data: bytes | str) -> tuple[Any, list[str]] | None:
    """The value of what is JSON but for NaN and Infinity, with null for these, and a name for each of them; None for
    what is not."""
    try:
        value = json.loads(data)
        names = [f"{name} in field {key!r}, now null" for key, name in _constants(value)]
        return (orjson.loads(orjson.dumps(value)), names) if names else None
    except (ValueError, RecursionError, orjson.JSONEncodeError):
        return None


def _constants(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """The numbers that JSON does not have, each with the nearest name around it."""
    if isinstance(value, float) and not math.isfinite(value):
        yield key, "NaN" if math.isnan(value) else "Infinity"
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _constants(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from _constants(item, key)
