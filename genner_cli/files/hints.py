"""Hints: what another model has found in the same texts, from a file of its predictions.

A document has the hints of the record with its id and its text. The records lie in a temporary database, so that any
number takes the same memory. The manifest beside the file says by which model they were made, whether its scores are
calibrated, and what it was trained on: a model that has seen the very texts is always right about them and nearly sure,
which misleads whoever learns from its hints, so its file is refused.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import TypeVar

import orjson

from genner_cli.errors import UsageError
from genner_cli.files import STDIO
from genner_cli.files.gold import NO_NAMES
from genner_cli.files.hashing import hash_file, hash_of
from genner_cli.files.manifest import Manifest
from genner_cli.files.predictions import read_predictions
from genner_cli.files.reading import expand
from genner_cli.plurals import counted
from genner_cli.types import Document, Entity, FailedDocument

log = logging.getLogger("genner")
TRAINING_DATA = "training data"
"""What a manifest calls the hashes of the files that the model was trained on (`provenance.Provenance`)."""
FOLDS = "folds"
"""What a manifest records where each document was predicted by a model that has not seen it: the number of models."""
D = TypeVar("D", Document, Document | FailedDocument)


def hinted(
    documents: Iterable[D],
    path: str | None,
    *,
    text_field: str,
    id_field: str,
    names: Mapping[str, str] = NO_NAMES,
    of: str = "document",
) -> Iterator[D]:
    """The documents, each with the hints that a file has for it. Without a file they stay as they are.

    `names`: what labels of hints are called instead, by what the file calls them (`LabelTree.names`). Warns at
    the end of those without hints. Raises UsageError where the file is not one of predictions.
    """
    if path is None:
        yield from documents
        return
    hints, count, missing = _hints(path, text_field, id_field), 0, 0
    first = ""
    try:
        for document in documents:
            if isinstance(document, Document):
                found = hints.of(document, names)
                count, missing = count + 1, missing + (found is None)
                first = first or (document.source if found is None else "")
                document = replace(document, hints=found)
            yield document
    finally:  # whoever stops early hears of it too
        if missing:
            where = f", the first {first}" if first else ""
            log.warning("%s: has no hints for %s of %s%s", path, f"{missing:,}", counted(count, of), where)


def refuse_unmatched(
    documents: Iterable[Document | FailedDocument], path: str, option: str, *, text_field: str, id_field: str
) -> None:
    """Raises UsageError where a file has hints for none of the documents. Reads on to the first that has some."""
    hints, count = _hints(path, text_field, id_field), 0
    for document in documents:
        if isinstance(document, Document):
            count += 1
            if hints.of(document) is not None:
                return
    if count:
        raise UsageError(
            f"{option} {path}: has hints for none of {counted(count, 'document')}; a hint belongs to the document with"
            " its id and its text: predict these very documents, with the same --id-field and --text-field"
        )


def _hints(path: str, text_field: str, id_field: str) -> _Hints:
    return _read(tuple(map(_stamp, _files(path))), text_field, id_field)


class _Hints:
    """Entities by the hash of id and text."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", check_same_thread=False)  # one thread at a time, not always the same
        self._database.execute("CREATE TABLE hint (key BLOB PRIMARY KEY, entities BLOB) WITHOUT ROWID")

    def add(self, document: Document, entities: Iterable[Entity]) -> None:
        value = [[entity.start, entity.end, entity.label, entity.score] for entity in entities]
        row = (_key(document), orjson.dumps(value))
        self._database.execute("INSERT OR REPLACE INTO hint VALUES (?, ?)", row)

    def of(self, document: Document, names: Mapping[str, str] = NO_NAMES) -> tuple[Entity, ...] | None:
        """None where there is no record."""
        for (entities,) in self._database.execute("SELECT entities FROM hint WHERE key = ?", (_key(document),)):
            return tuple(
                Entity(start, end, names.get(label, label), document.text[start:end], score)
                for start, end, label, score in orjson.loads(entities)
            )
        return None


def _key(document: Document) -> bytes:
    known = repr((document.id, document.text)).encode(errors="surrogatepass")
    return blake2b(known, digest_size=16).digest()


def _files(path: str) -> list[str]:
    """What a path or a glob names. Raises UsageError, for standard input too, for hints are read more than once."""
    if path == STDIO:
        raise UsageError("hints cannot come from standard input; name a file of them")
    return expand([path])


def _stamp(path: str) -> tuple[str, int, int]:
    """A file, and what changes with its content."""
    found = os.stat(path)
    return path, found.st_mtime_ns, found.st_size


@lru_cache(maxsize=1)
def _read(files: tuple[tuple[str, int, int], ...], text_field: str, id_field: str) -> _Hints:
    """The hints of files, with their `_stamp`. They are kept, for a cluster reads its documents block by block."""
    hints = _Hints()
    for extraction in read_predictions([path for path, *_ in files], text_field=text_field, id_field=id_field):
        if isinstance(extraction.document, Document) and extraction.error is None:
            hints.add(extraction.document, extraction.entities)
    return hints


def check_hints(path: str, texts: Iterable[str], option: str) -> None:
    """Refuses hints of a model that was trained on these files of texts; warns where that cannot be known, or where the
    probabilities are raw scores.

    Raises UsageError.
    """
    seen = _hashes(list(map(Path, texts)))
    for file in _files(path):
        _check_file(file, seen, option)


def _check_file(path: str, seen: set[str], option: str) -> None:
    """`seen`: hashes that the texts have as training data."""
    manifest = Manifest.read(f"{path}.run.json")
    if manifest is None:
        log.warning(
            "%s %s: there is no %s.run.json beside it, so whether its model was trained on these texts, and whether its"
            " scores are calibrated, is not known", option, path, path,
        )  # fmt: skip
        return
    settings = manifest.settings
    if not settings.model.get(FOLDS) and seen & set(settings.model.get(TRAINING_DATA, ())):
        raise UsageError(
            f"{option} {path}: its model was trained on these very texts, about which it is always right and nearly"
            " sure; make hints for labelled texts with genner data folds"
        )
    if not settings.options.get("calibration"):
        log.warning(
            "%s %s: its scores are not calibrated, so they are no probabilities; see genner calibrate", option, path
        )


def _hashes(files: list[Path]) -> set[str]:
    """The hashes that these files have as training data, together and one by one; each file is read once."""
    hashes = list(map(hash_file, files))
    return {hash_of(hashes), *(hash_of([each]) for each in hashes), *hashes}
