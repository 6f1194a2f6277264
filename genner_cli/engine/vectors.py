"""Vectors of a pool of texts: kept on disk, and compared with those of a text.

The file of a model is in the user's cache folder: an entry for each text and its spans, by hash, added while the pool
is read, so that an interrupted run resumes with what is there. Without a folder to write to, texts are read again.
"""

from __future__ import annotations

import logging
import sqlite3
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
_TABLE = "CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, rows BLOB) WITHOUT ROWID"


class VectorFile:
    """Vectors by passage, in one SQLite database; a context manager. What cannot be read or written is not kept."""

    def __init__(self, path: Path) -> None:
        self._database: sqlite3.Connection | None = None
        with suppress(OSError, sqlite3.Error):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, timeout=BUSY_SECONDS)
            self._database.execute(_TABLE)

    def close(self) -> None:
        """Closes the file."""
        if self._database:
            self._database.close()

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
        with suppress(sqlite3.Error):
            for passage, rows in zip(passages, vectors, strict=True):
                self._execute("INSERT OR REPLACE INTO vectors VALUES (?, ?)", (_key(passage), rows.tobytes()))
            if self._database:
                self._database.commit()

    def _execute(self, statement: str, values: tuple[Any, ...]) -> Iterable[Any]:
        return self._database.execute(statement, values) if self._database else ()


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
