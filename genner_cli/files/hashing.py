"""Files -> one SHA-256: which weights and which data a model was made from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path


def hash_files(paths: Iterable[Path]) -> str:
    """The SHA-256, in hexadecimal, of the SHA-256 of each file's bytes, in the order given."""
    whole = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model folder, by name."""
    return sorted(folder.glob("*.safetensors"))
