"""Tensors, one after the other -> a safetensors file, with one tensor in memory at a time.

The same tensors give the same bytes. Knows nothing of models. Layout: safetensors' README, "Format".
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""safetensors' names of the types that models are kept in."""
_ALIGNMENT = 8


class Entry(NamedTuple):
    """A tensor to be written: `dtype` is one of DTYPES."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return math.prod(self.shape) * DTYPES[self.dtype].itemsize


def write_safetensors(path: Path, entries: Iterable[Entry], value: Callable[[Entry], torch.Tensor]) -> None:
    """Writes what `value` gives for each entry, in the entry's dtype and shape; it is asked once for each."""
    ordered = sorted(entries, key=lambda entry: (-DTYPES[entry.dtype].itemsize, entry.name))
    with path.open("wb") as file:
        header = _header(ordered)
        file.write(len(header).to_bytes(8, "little") + header)
        for entry in ordered:
            stored = value(entry).to(DTYPES[entry.dtype]).reshape(entry.shape).contiguous()
            file.write(stored.reshape(-1).view(torch.uint8).numpy().data)


def _header(entries: Sequence[Entry]) -> bytes:
    """Names, types and places of all tensors, padded with spaces; wide types come first, so that all are aligned."""
    listed: dict[str, object] = {"__metadata__": {"format": "pt"}}
    start = 0
    for entry in entries:
        place = [start, start := start + entry.size]
        listed[entry.name] = {"dtype": entry.dtype, "shape": list(entry.shape), "data_offsets": place}
    text = json.dumps(listed, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % _ALIGNMENT)
