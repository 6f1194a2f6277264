"""The boundary to files on disk, and the only home of orjson, zstandard, yaml, pyarrow, spacy and fsspec.

Takes paths, gives the values of `genner_cli.types`, and writes them. Knows nothing of models, output formats or the
terminal. Here is what all its modules know of paths.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from typing import NamedTuple

from genner_cli.files import remote

STDIO = "-"
"""The path that stands for standard input or standard output."""

INSIDE = f"{os.sep}.{os.sep}"
"""Stands in a path that was found in a folder, between the folder and what is the id of a document of this file."""

WHOLE_PATH = f"{INSIDE}.{os.sep}"
"""Stands in a path, before the name of the file, where the whole path is the id of a document of this file."""

COMPRESSIONS = (".gz", ".zst")

RECORDS = ".records.jsonl"
"""What is added to the name of a table for the records that it was made of."""

OUTPUT_FIELDS = ("entities", "error", "completion")
"""The keys that only an output record has: never carried through from an input record."""


class Block(NamedTuple):
    """The lines of a file that begin in its bytes [start, end); `end` None: all from `start` on.

    `lines`: the number of lines that end before `start`; `digest`: a hash of its bytes, "" where they were not read.
    Files that are compressed, or not lines, are one block each.
    """

    path: str
    start: int = 0
    end: int | None = None
    lines: int = 0
    digest: str = ""


def kind(path: str) -> str:
    """The suffix that says what a file holds: ".jsonl" of "a.jsonl.gz"."""
    stem, suffix = os.path.splitext(path.lower())
    return os.path.splitext(stem)[1] if suffix in COMPRESSIONS else suffix


def unmarked(path: str) -> str:
    """A path without the mark that says which part of it is the id of its document."""
    return path.replace(WHOLE_PATH, os.sep).replace(INSIDE, os.sep)


def total_bytes(paths: Sequence[str | Block]) -> int | None:
    """The size of all files or blocks as they lie on disk (compressed), None if one of them is a stream."""
    blocks = [path if isinstance(path, Block) else Block(path) for path in paths]
    sizes = [size(block.path) if block.end is None else block.end - block.start for block in blocks]
    return None if None in sizes else sum(size for size in sizes if size is not None)


def size(path: str) -> int | None:
    """The bytes of a file as it lies there, None for a stream."""
    if remote.is_address(path):
        return remote.size(unmarked(path))
    try:
        status = None if path == STDIO else os.stat(path)
    except OSError:
        return 0  # gone since it was named; reading reports it
    return status.st_size if status and stat.S_ISREG(status.st_mode) else None
