"""An importance matrix, as llama.cpp's `llama-imatrix` writes it -> how much each column of each tensor matters.

Reads both of its formats, GGUF and the older one. Knows nothing of quantization. Source: llama.cpp's
tools/imatrix/imatrix.cpp, and tools/quantize/quantize.cpp (load_imatrix, load_legacy_imatrix).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from convert.gguf_numbers import numbers_of
from genner_cli.engine.gguf_header import read_header
from genner_cli.errors import ModelError

Importance = Mapping[str, NDArray[np.float32]]
SUMS, COUNTS = ".in_sum2", ".counts"
REMEDY = "make it again with llama.cpp's llama-imatrix on this model"


def read_imatrix(path: Path) -> Importance:
    """The mean square of what each column was multiplied by [columns, times experts], by tensor name.

    Raises ModelError where the file is missing, broken, or no importance matrix.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(4)
            file.seek(0)
            found = _from_gguf(path) if magic == b"GGUF" else _older(file)
    except (OSError, ValueError, struct.error) as error:
        raise ModelError(f"{path} is no importance matrix ({error}); {REMEDY}") from error
    if not found:
        raise ModelError(f"{path} holds no importance of any tensor; {REMEDY}")
    if broken := [name for name, values in found.items() if not np.isfinite(values).all()]:
        raise ModelError(f"{path}: the importance of {broken[0]} is not finite everywhere; {REMEDY}")
    return found


def _from_gguf(path: Path) -> dict[str, NDArray[np.float32]]:
    """Sums of squares, and how many inputs were summed for each expert; what had no input matters alike."""
    stored = read_header(path).tensors
    found = {}
    for name in (name.removesuffix(SUMS) for name in stored if name.endswith(SUMS)):
        if name + COUNTS not in stored:
            raise ValueError(f"{name} has no counts")
        sums, counts = (numbers_of(path, stored[name + end]) for end in (SUMS, COUNTS))
        if sums is None or counts is None or counts.size != len(sums):
            raise ValueError(f"{name} has other sums than counts")
        counts = counts.reshape(-1, 1)
        found[name] = np.where(counts > 0, sums / np.maximum(counts, 1), 1).astype(np.float32).ravel()
    return found


def _older(file: BinaryIO) -> dict[str, NDArray[np.float32]]:
    """Sums of means over so many calls; what follows the tensors says what they were computed on."""
    found = {}
    for _ in range(_int(file)):
        name = _bytes(file, _int(file)).decode()
        calls, columns = _int(file), _int(file)
        sums = np.frombuffer(_bytes(file, 4 * columns), "<f4")
        found[name] = (sums / max(calls, 1)).astype(np.float32)
    return found


def _int(file: BinaryIO) -> int:
    return int(struct.unpack("<i", file.read(4))[0])


def _bytes(file: BinaryIO, count: int) -> bytes:
    data = file.read(count) if count >= 0 else b""
    if len(data) != count:
        raise ValueError("the file is cut short, or of another kind")
    return data
