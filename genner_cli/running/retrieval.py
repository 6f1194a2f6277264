"""The examples of a run as vectors, made by the run's own model: what ranks them for a text.

Vectors of texts and of entities are made when they are first needed, and kept in the user's cache folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from genner_cli.demonstrations import Query, Way
from genner_cli.engine.embedding import Embedder, Vectors
from genner_cli.engine.measured import kept, path_of
from genner_cli.engine.model import Model
from genner_cli.engine.vectors import Index, VectorFile, embedded
from genner_cli.errors import DataError
from genner_cli.generation import EngineOptions
from genner_cli.methods.nearest import Ranking
from genner_cli.types import Document, Passage, Range

VERSION = 2
"""Of how vectors are made; another one does not read what this one kept."""


class _Indexes(NamedTuple):
    """Of a pool: vectors of its texts, and of the entities in them."""

    texts: Index
    mentions: Index


class Retrieval:
    """Ranks the documents of a pool by vectors (`demonstrations.Rank`). `close` frees what llama.cpp holds."""

    def __init__(
        self, model: Model, options: EngineOptions, fingerprint: str, pool: Sequence[Document], *, most: int
    ) -> None:
        """`fingerprint`: of the model's files; `most`: documents that are ranked for a text."""
        self._model = model
        self._options = options
        self._fingerprint = fingerprint
        self._pool = pool
        self._most = most
        self._embedder: Embedder | None = None
        self._ranking = Ranking(pool, self._to_texts, self._to_mentions)

    def __enter__(self) -> Retrieval:
        return self

    def __exit__(self, *_: object) -> None:
        if self._embedder:
            self._embedder.close()

    def ranked(self, way: Way, query: Query) -> Sequence[int]:
        """The nearest documents first; none where the vocabulary cannot write the text, about which the model cannot be
        asked either."""
        try:
            return self._ranking.nearest(way, query, self._most)
        except DataError:
            return []

    def _to_texts(self, passage: Passage) -> list[list[float]]:
        return self._indexes.texts.similarities(self._vectors(passage))

    def _to_mentions(self, passage: Passage) -> list[list[float]]:
        return self._indexes.mentions.similarities(self._vectors(passage))

    def _vectors(self, passage: Passage) -> Vectors:
        (rows,) = self._open.embed([passage])
        return rows

    @property
    def _open(self) -> Embedder:
        self._embedder = self._embedder or Embedder(self._model, self._options)
        return self._embedder

    @cached_property
    def _indexes(self) -> _Indexes:
        """One reading gives all: of each document the vector of its text, then those of its entities."""
        width, file = self._open.width, VectorFile(vector_file(self._model, self._options, self._fingerprint))
        try:
            rows = list(embedded(self._open, map(self._passage, self._pool), file))
        finally:
            file.close()
        return _Indexes(Index((each[:1] for each in rows), width), Index((each[1:] for each in rows), width))

    def _passage(self, document: Document) -> Passage:
        """Nothing to compare where the vocabulary cannot write the text."""
        try:
            self._model.plain(document.text)
        except DataError:
            return Passage("", ())
        return Passage(document.text, (Range(0, len(document.text)), *spans_of(document)))


def vector_file(model: Model, options: EngineOptions, fingerprint: str) -> Path:
    """Where the vectors of a model are kept: bits differ between processors, and between numbers of threads."""
    headers = [model.header, *([model.adapter_header] if model.adapter_header else [])]
    what, key = kept("vectors", *headers, threads=options.thread_count)
    return path_of((what, blake2b(f"{VERSION} {fingerprint} {key}".encode(), digest_size=16).hexdigest()), "sqlite")


def spans_of(document: Document) -> tuple[Range, ...]:
    """Where the entities of a document are, each once."""
    return tuple(dict.fromkeys(Range(entity.start, entity.end) for entity in document.entities))
