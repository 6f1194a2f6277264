"""The border to files on disk, and the only home of orjson, zstandard, yaml, pyarrow, spacy and fsspec.

Takes paths, gives the values of `genner_cli.types`, and writes them; which files a path or a glob
names is said here. Knows nothing of models, formats or the terminal.
"""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Sequence
from typing import NamedTuple

from genner_cli.errors import UsageError
from genner_cli.files import remote

STDIO = "-"
"""The path that stands for standard input or standard output."""

KINDS = (".jsonl", ".ndjson", ".txt", ".parquet", ".conll", ".ann")
COMPRESSIONS = (".gz", ".zst")

OUTPUT_FIELDS = ("entities", "error", "completion")
"""The keys that only an output record has: never carried through from an input record."""


class Block(NamedTuple):
    """The lines of a file that begin in its bytes [start, end); `end` None: all from `start` on.

    `lines`: how many lines end before `start`; `digest`: a hash of its bytes, "" where nobody has read them yet.
    Files that are compressed, or no lines, are one block each.
    """

    path: str
    start: int = 0
    end: int | None = None
    lines: int = 0
    digest: str = ""


def expand(patterns: Sequence[str], *, addresses: bool = False) -> list[str]:
    """The files that paths and globs (`**` too) name, each once; a glob's in sorted order; "-" is stdin.

    `addresses`: whether files may also be elsewhere (`remote`). Raises `UsageError` for what names nothing, a folder, a
    file that may not be read, or a suffix that is not one of `KINDS`, alone or followed by one of `COMPRESSIONS`.
    """
    found: dict[str, str] = {}
    for pattern in patterns:
        if remote.is_address(pattern) and not addresses:
            raise UsageError(f"{pattern}: only genner extract and genner plan read addresses; copy it, name the copy")
        for path in _matches(pattern):
            same = path == STDIO or remote.is_address(path)
            found.setdefault(path if same else os.path.realpath(path), path)
    if not found:
        raise UsageError("no input: name at least one file, or '-' for standard input")
    return list(found.values())


def _matches(pattern: str) -> list[str]:
    if pattern == STDIO:
        return [pattern]
    if remote.is_address(pattern):
        return _at_address(pattern)
    if os.path.isdir(pattern):
        raise UsageError(f"{pattern}: is a folder; name its files, as in '{os.path.join(pattern, '*.jsonl')}'")
    paths = [pattern] if os.path.exists(pattern) else sorted(glob.glob(pattern, recursive=True))
    paths = [path for path in paths if not os.path.isdir(path)]
    if not paths:
        what = "matches no file" if glob.has_magic(pattern) else "no such file"
        raise UsageError(f"{pattern}: {what}; check the path (it is read from {os.getcwd()})")
    for path in paths:
        _check_file(path)
    return paths


def _at_address(pattern: str) -> list[str]:
    addresses = remote.matching(pattern)
    if not addresses:
        raise UsageError(f"{pattern}: there is no such file; check the address, or name its files by a glob")
    for address in addresses:
        _check_kind(address)
        if kind(address) == ".ann":
            raise UsageError(f"{address}: brat's two files of a text are read on the disk only; copy both")
    return addresses


def _check_file(path: str) -> None:
    _check_kind(path)
    if not os.access(path, os.R_OK):
        raise UsageError(f"{path}: may not be read; give yourself permission (chmod u+r)")


def _check_kind(path: str) -> None:
    suffix = kind(path)
    if suffix == ".json":
        raise UsageError(
            f"{path}: a .json file holds one value; make one object a line: jq -c '.[]' in.json > out.jsonl"
        )
    if suffix not in KINDS:
        known = ", ".join(KINDS)
        raise UsageError(
            f"{path}: unknown kind of file; known are {known}, each also with {' or '.join(COMPRESSIONS)}; "
            "rename it, convert it (genner data convert), or pipe JSON Lines into '-'"
        )


def kind(path: str) -> str:
    """The suffix that says what a file holds: ".jsonl" of "a.jsonl.gz"."""
    stem, suffix = os.path.splitext(path.lower())
    return os.path.splitext(stem)[1] if suffix in COMPRESSIONS else suffix


def total_bytes(paths: Sequence[str | Block]) -> int | None:
    """The size of all files or blocks as they lie on disk (compressed), None if one of them is a stream."""
    blocks = [path if isinstance(path, Block) else Block(path) for path in paths]
    sizes = [size(block.path) if block.end is None else block.end - block.start for block in blocks]
    return None if None in sizes else sum(size for size in sizes if size is not None)


def size(path: str) -> int | None:
    """The bytes of a file as it lies there, None for a stream."""
    if remote.is_address(path):
        return remote.size(path)
    try:
        status = None if path == STDIO else os.stat(path)
    except OSError:
        return 0  # gone since it was named; reading says so
    return status.st_size if status and stat.S_ISREG(status.st_mode) else None
