"""Records that survive a crash: lines in one file, and a small entry of fixed size for each in another.

Takes lines, gives back how many of them are whole. The two files are appended to side by side and made durable in
batches; after a crash both are cut to their common whole prefix. Knows nothing of what a run is.
"""

from __future__ import annotations

import errno
import os
import struct
import time
import zlib
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import IO, NamedTuple, Self

import orjson

from genner_cli.errors import GennerError, UsageError
from genner_cli.files import remote
from genner_cli.files.locks import Lock
from genner_cli.files.whole import flush, rename_durably
from genner_cli.ledger import Outcome
from genner_cli.types import Document, FailedDocument, Reason

SYNC_RECORDS = 256
SYNC_SECONDS = 1.0
DIGEST_BYTES = 16
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_ENTRY = struct.Struct(f"<{DIGEST_BYTES}sQIQIIB3x")
_REASONS = (None, *Reason)


class Entry(NamedTuple):
    """`digest` of the document, `end` of its line in the file of lines, CRC-32 of the line, and what is counted."""

    digest: bytes
    end: int
    check: int
    outcome: Outcome

    def packed(self) -> bytes:
        """As it stands in the index."""
        *counts, reason = self.outcome
        return _ENTRY.pack(self.digest, self.end, self.check, *counts, _REASONS.index(reason))


def digest_of(document: Document | FailedDocument, key: bytes) -> bytes:
    """A hash of all that a document brings into its record; `key`: a hash of all else that shapes it.

    A value that JSON cannot carry counts by its `repr`.
    """
    content = document.text if isinstance(document, Document) else [document.message]
    data = orjson.dumps([document.id, content, document.fields], default=repr, option=orjson.OPT_NON_STR_KEYS)
    return blake2b(data, digest_size=DIGEST_BYTES, key=key).digest()


class Journal:
    """Lines that were written one by one, with their entries; a context manager that holds a lock for the index.

    Raises `UsageError` where a file cannot be opened, `BlockingIOError` where another process holds the lock,
    `GennerError` where the disk refuses a line. `lines` is opened by `resume` only: those of an
    index may stand elsewhere.
    """

    def __init__(self, lines: str, index: str) -> None:
        self.lines, self.index = lines, index
        self._lock = Lock(f"{index}.lock")
        self._data: IO[bytes] | None = None
        self._end = self._unsynced = 0

    def __enter__(self) -> Self:
        self._lock.acquire()
        try:
            self._entries = _opened(self.index)
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._lock.release()

    def close(self) -> None:
        """Closes both files; the lock is held on."""
        if self._data:
            self._data.close()
        self._entries.close()

    def __iter__(self) -> Iterator[Entry]:
        """The entries of the index, read again, without a torn last one."""
        with open(self.index, "rb") as file:
            while len(packed := file.read(_ENTRY.size)) == _ENTRY.size:
                digest, end, check, characters, chunks, entities, reason = _ENTRY.unpack(packed)
                known = _REASONS[reason] if reason < len(_REASONS) else Reason.INPUT
                yield Entry(digest, end, check, Outcome(characters, chunks, entities, known))

    def clear(self) -> None:
        """Forgets all lines; `resume` comes next."""
        if self._data:
            self._data.close()
        self._entries.truncate(0)
        Path(self.lines).unlink(missing_ok=True)

    def remove(self) -> None:
        """Deletes both files, and what a process that was killed left of the lock, if they are there."""
        for path in (self.lines, self.index):
            Path(path).unlink(missing_ok=True)
        self._lock.forget()

    def resume(self) -> None:
        """Opens the lines, cuts lines and index to their common whole prefix, and appends behind it."""
        self._data = _opened(self.lines)
        count, self._end = self._whole()
        for file, size in ((self._data, self._end), (self._entries, count * _ENTRY.size)):
            file.truncate(size)
            file.seek(size)
        self._synced = time.monotonic()

    def _whole(self) -> tuple[int, int]:
        """How many entries have their line, and where the last of these lines ends."""
        size = os.path.getsize(self.lines)
        count = end = 0
        with open(self.lines, "rb") as lines:
            for entry in self:
                if not end < entry.end <= size or zlib.crc32(lines.read(entry.end - end)) != entry.check:
                    break
                count, end = count + 1, entry.end
        return count, end

    def append(self, line: bytes, digest: bytes, outcome: Outcome) -> None:
        """Adds a line, which outlives this process at once, and a power cut after the next `sync`."""
        assert self._data, "resume first"
        try:
            _write(self._data, line)
            self._end += len(line)
            _write(self._entries, Entry(digest, self._end, zlib.crc32(line), outcome).packed())
            self._unsynced += 1
            if self._unsynced >= SYNC_RECORDS or time.monotonic() - self._synced > SYNC_SECONDS:
                self.sync()
        except OSError as error:
            raise refused(self.lines, error) from error

    def sync(self) -> None:
        """Makes durable what was written: the lines before what speaks of them."""
        for file in (self._data, self._entries):
            if file and not file.closed:
                flush(file.fileno())
        self._unsynced, self._synced = 0, time.monotonic()

    def take_over(self, other: Journal) -> None:
        """Puts the files of another journal, which ends, in the place of this one's; `resume` comes next.

        Raises GennerError where the disk refuses.
        """
        try:
            other.sync()
            self.close()
            other.close()
            # In this order: new lines beside old entries are found out and cut, old lines under new entries need not
            # be.
            rename_durably(other.lines, self.lines)
            rename_durably(other.index, self.index)
        except OSError as error:
            raise refused(self.lines, error) from error
        other._lock.release()
        self._data, self._entries = None, _opened(self.index)


def _write(file: IO[bytes], data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def _opened(path: str) -> IO[bytes]:
    """For reading and appending, unbuffered; made if it is not there."""
    try:
        return open(path, "r+b", buffering=0, opener=lambda path, flags: os.open(path, flags | os.O_CREAT, 0o666))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; name another file or folder after -o") from error


def refused(path: str, error: OSError) -> GennerError:
    """The disk did not take what was written."""
    place = "address" if remote.is_address(path) else "disk"
    remedy = "make room" if error.errno in NO_SPACE else f"check the {place}"
    return GennerError(
        f"{path}: cannot be written ({error.strerror}); {remedy} and run the same command again to resume, or write"
        " elsewhere with -o"
    )
