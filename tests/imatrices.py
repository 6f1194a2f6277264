"""Importance matrices as llama.cpp's llama-imatrix writes them, in both of its formats."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from changed_gguf import finish
from gguf import GGUFWriter
from numpy.typing import NDArray

Sums = Mapping[str, NDArray[np.float32]]
"""Sums of squares [experts, columns] by tensor name."""


def write_imatrix(path: Path, sums: Sums, *, count: float = 4.0) -> Path:
    """As GGUF, each expert with so many inputs."""
    writer = GGUFWriter(path, "imatrix")
    writer.add_type("imatrix")
    for name, values in sums.items():
        writer.add_tensor(f"{name}.in_sum2", values)
        writer.add_tensor(f"{name}.counts", np.full((len(values), 1), count, np.float32))
    finish(writer)
    return path


def write_older_imatrix(path: Path, sums: Sums, *, calls: int = 4) -> Path:
    """As llama-imatrix wrote it until 2025, with the name of the text behind it."""
    data = struct.pack("<i", len(sums))
    for name, values in sums.items():
        data += struct.pack("<i", len(name)) + name.encode() + struct.pack("<ii", calls, values.size) + values.tobytes()
    path.write_bytes(data + struct.pack("<ii", 7, 8) + b"text.txt")
    return path


def some_sums(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, NDArray[np.float32]]:
    """Random ones for the matrices among shapes, whose innermost size is the first."""
    random = np.random.default_rng(1)
    wide = {name: shape[0] for name, shape in shapes.items() if len(shape) == 2 and name != "token_embd.weight"}
    return {name: random.uniform(0.1, 9, (1, columns)).astype(np.float32) for name, columns in wide.items()}
