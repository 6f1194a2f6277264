"""Vectors of a pool of texts: kept on disk, and compared with those of a text.

The file of a model is in the user's cache folder: an entry for each text and its spans, by hash, added while the pool
is read, so that an interrupted run resumes with what is there. Without a folder to write to, texts are read again.

The folder holds at most `MOST_BYTES`. A file that was written to and is larger loses its oldest entries, to half of
that; then the files of other models go, those first that were not used for longest.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genner_cli.engine.embedding import Embedder, Vectors
from genner_cli.types import Passage

log = logging.getLogger("genner")
BATCH = 256
"""Passages between two commits."""
BUSY_SECONDS = 10.0
MOST_BYTES = 2**30
"""Bytes of vectors that are kept, of all models together."""
_TABLE = "CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, rows BLOB, written REAL)"
_TRIM = """DELETE FROM vectors WHERE written <= (SELECT MAX(written) FROM (
    SELECT written, SUM(LENGTH(rows)) OVER (ORDER BY written DESC) AS kept FROM vectors) WHERE kept > ?)"""
"""Keeps the newest entries, as far as they have no more bytes."""


class VectorFile:
    """Vectors by passage, in one SQLite database; a context manager. What cannot be read or written is not kept."""

    def __init__(self, path: Path, *, most_bytes: int = MOST_BYTES) -> None:
        self._path, self._most_bytes, self._written = path, most_bytes, False
        self._database: sqlite3.Connection | None = None
        with suppress(OSError, sqlite3.Error):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, timeout=BUSY_SECONDS)
            self._database.execute("PRAGMA auto_vacuum = FULL")
            self._database.execute(_TABLE)
            os.utime(path)

    def close(self) -> None:
        """Closes the file, and trims what is kept if it has grown."""
        if not self._database:
            return
        with suppress(OSError, sqlite3.Error):  # OSError: another process has trimmed this file away
            if self._written and self._path.stat().st_size > self._most_bytes:
                self._database.execute(_TRIM, (self._most_bytes // 2,))
                self._database.commit()
        self._database.close()
        if self._written:
            _trim(self._path, self._most_bytes)

    def read(self, passages: Sequence[Passage], width: int) -> list[Vectors | None]:
        """The vectors of each passage that are there."""
        return [None if rows is None else np.frombuffer(rows, np.float32).reshape(-1, width)
                for rows in map(self._rows, passages)]  # fmt: skip

    def _rows(self, passage: Passage) -> Any:
        with suppress(sqlite3.Error):
            for (rows,) in self._execute("SELECT rows FROM vectors WHERE key = ?", (_key(passage),)):
                return rows
        return None

    def write(self, passages: Iterable[Passage], vectors: Iterable[Vectors]) -> None:
        """Adds vectors, and commits."""
        now = time.time()
        with suppress(sqlite3.Error):
            for passage, rows in zip(passages, vectors, strict=True):
                values = (_key(passage), rows.tobytes(), now)
                self._execute("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)", values)
            self._written = True
            if self._database:
                self._database.commit()

    def _execute(self, statement: str, values: tuple[Any, ...]) -> Iterable[Any]:
        return self._database.execute(statement, values) if self._database else ()


def _trim(own: Path, most_bytes: int) -> None:
    """Removes the files of other models, those first that were not used for longest, until all have fewer bytes."""
    with suppress(OSError):
        files = {path: path.stat() for path in own.parent.glob(f"*{own.suffix}")}
        total = sum(each.st_size for each in files.values())
        for path in sorted(files.keys() - {own}, key=lambda path: files[path].st_mtime):
            if total <= most_bytes:
                break
            path.unlink(missing_ok=True)
            total -= files[path].st_size


def _key(passage: Passage) -> bytes:
    return blake2b(repr((passage.text, passage.spans and [tuple(span) for span in passage.spans])).encode(
        errors="surrogatepass"), digest_size=16).digest()  # fmt: skip


def embedded(embedder: Embedder, passages: Iterable[Passage], file: VectorFile) -> Iterator[Vectors]:
    """The vectors of each passage, in order, from the file where they are there, else read, and added to it.

    Raises DataError where the vocabulary cannot write a text.
    """
    source, read = iter(passages), 0
    while batch := list(islice(source, BATCH)):
        known = file.read(batch, embedder.width)
        missing = [passage for passage, rows in zip(batch, known, strict=True) if rows is None]
        made = list(embedder.embed(missing))
        if missing:
            file.write(missing, made)
            read += len(missing)
            if len(batch) == BATCH:  # there may be many more
                log.warning("%d examples read for their vectors, which are kept for later runs", read)
        fresh = iter(made)
        yield from (next(fresh) if rows is None else rows for rows in known)


class Index:
    """The vectors of documents, of which each may have any number, none too."""

    def __init__(self, vectors: Iterable[NDArray[Any]], width: int) -> None:
        """`vectors`: (count, width) for each document, in order; rows of length 1."""
        parts = list(vectors)
        counts = np.array([len(part) for part in parts], np.int64)
        self._rows = np.concatenate([*parts, np.zeros((0, width), parts[0].dtype if parts else np.float32)])
        self._documents = len(parts)
        self._having = np.flatnonzero(counts)
        self._starts = (np.cumsum(counts) - counts)[self._having]

    def similarities(self, vectors: NDArray[Any]) -> list[list[float]]:
        """For each of the given unit vectors, (count, width): its greatest cosine to a vector of each document, minus
        infinity where a document has none."""
        found = np.full((len(vectors), self._documents), -np.inf)
        if len(self._having):
            found[:, self._having] = np.maximum.reduceat(vectors @ self._rows.T, self._starts, axis=1)
        values: list[list[float]] = found.tolist()
        return values
