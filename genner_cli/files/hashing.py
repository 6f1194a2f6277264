"""Files -> one SHA-256: which weights and which data a model was made from, which model a file belongs to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

_MIB = 2**20


def hash_file(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_files(paths: Iterable[Path]) -> str:
    """The SHA-256, in hexadecimal, of the SHA-256 of each file's bytes, in the order given."""
    return hash_of(map(hash_file, paths))


def hash_of(hashes: Iterable[str]) -> str:
    """`hash_files` of files with these hashes (`hash_file`), in the order given."""
    return hashlib.sha256(b"".join(map(bytes.fromhex, hashes))).hexdigest()


def fingerprint(paths: Iterable[Path]) -> str:
    """The SHA-256, in hexadecimal, of each file's size, first and last MiB: quick for files of many GB.

    Enough to tell one model from another, whose metadata stand at the start and whose weights at the end.
    """
    whole = hashlib.sha256()
    for path in paths:
        size = path.stat().st_size
        with path.open("rb") as file:
            whole.update(b"%d:" % size + file.read(_MIB))
            file.seek(max(0, size - _MIB))
            whole.update(file.read(_MIB))
    return whole.hexdigest()


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model folder, by name."""
    return sorted(folder.glob("*.safetensors"))
