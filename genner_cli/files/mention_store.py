"""Tallies of mentions, however many, in bounded memory: what does not fit lies in a temporary SQLite database.

Its file is in TMPDIR and has no name, so that nothing is left of it. Knows nothing of where documents come from.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import orjson

from genner_cli.data.mentions import Key, Mentions, Tally
from genner_cli.errors import GennerError
from genner_cli.types import Document, Extraction

HELD_CHARACTERS = 48 * 2**20
"""Tallies that take more than this are put into the database."""

_TABLE = "CREATE TABLE part (label TEXT, mention TEXT, batch INTEGER, count INTEGER, tally BLOB)"
_MERGED = """
    SELECT label, mention, merged(batch, tally) FROM part
    GROUP BY label, mention ORDER BY rank(label), sum(count) DESC, mention
"""
_PRAGMAS = "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA temp_store = FILE; PRAGMA cache_size = -65536"


class MentionStore:
    """Counts the mentions of extractions; a context manager. `entities`: how many there are, by label.

    Raises GennerError where the disk is full.
    """

    def __init__(self, *, fold_case: bool = False, contexts: int = 3, held: int = HELD_CHARACTERS) -> None:
        self.entities: Counter[str] = Counter()
        self._mentions = Mentions(fold_case=fold_case, contexts=contexts)
        self._contexts = contexts
        self._held = held
        self._batches = 0

    def __enter__(self) -> Self:
        self._database = sqlite3.connect("")
        self._database.executescript(f"{_PRAGMAS}; {_TABLE}")
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def note(self, extraction: Extraction) -> None:
        """Counts the entities of a record; a failure has none."""
        if not isinstance(extraction.document, Document) or extraction.error is not None:
            return
        self._mentions.note(extraction.document, extraction.entities)
        self.entities.update(entity.label for entity in extraction.entities)
        if self._mentions.characters > self._held:
            self._store()

    def values(self) -> Iterator[dict[str, Any]]:
        """Each mention as a JSON value (`Tally.value`): labels with most entities first, then by count."""
        self._store()
        ranks = {label: rank for rank, (label, _) in enumerate(self._by_count())}
        self._database.create_function("rank", 1, ranks.__getitem__, deterministic=True)
        self._database.create_aggregate("merged", 2, self._merging())
        with _on_disk():
            for label, text, tally in self._database.execute(_MERGED):
                yield _read(tally).value(Key(label, text))

    def _by_count(self) -> list[tuple[str, int]]:
        return sorted(self.entities.items(), key=lambda pair: (-pair[1], pair[0]))

    def _store(self) -> None:
        rows = ((*key, self._batches, tally.count, _written(tally)) for key, tally in self._mentions.tallies.items())
        with _on_disk():
            self._database.executemany("INSERT INTO part VALUES (?, ?, ?, ?, ?)", rows)
        self._batches += 1
        self._mentions.clear()

    def _merging(self) -> type[Any]:
        contexts = self._contexts

        class Merging:
            """The tallies of one mention from all batches, in whatever order they come -> their sum."""

            def __init__(self) -> None:
                self._parts: list[tuple[int, bytes]] = []

            def step(self, batch: int, tally: bytes) -> None:
                self._parts.append((batch, tally))

            def finalize(self) -> bytes:
                first, *others = (tally for _, tally in sorted(self._parts))
                if not others:
                    return first
                whole = _read(first)
                for each in others:
                    whole.add(_read(each), contexts)
                return _written(whole)

        return Merging


def _written(tally: Tally) -> bytes:
    return orjson.dumps(
        [tally.count, tally.documents, tally.scored, tally.scores, tally.contexts, tally.spellings],
    )


def _read(tally: bytes) -> Tally:
    count, documents, scored, scores, contexts, spellings = orjson.loads(tally)
    return Tally(count, documents, scored, scores, [(id, text) for id, text in contexts], Counter(spellings))


@contextmanager
def _on_disk() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        folder = os.environ.get("SQLITE_TMPDIR") or tempfile.gettempdir()
        raise GennerError(
            f"mentions do not fit on the disk of {folder} ({error}); name a folder with more room in SQLITE_TMPDIR"
        ) from error
