"""A tensor of a GGUF, in whatever type it is stored -> its numbers in F32.

Reads the rows that are asked for alone. Knows nothing of models.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, dequantize
from numpy.typing import NDArray

from genner_cli.engine.gguf_header import TensorInfo


def numbers_of(path: Path, tensor: TensorInfo, *, step: int = 1) -> NDArray[np.float32] | None:
    """Every step-th row [rows, numbers of a row]; None for a type that the gguf package cannot read."""
    rows = tensor.numbers // tensor.shape[0]
    stored = np.memmap(path, np.uint8, "r", offset=tensor.offset, shape=(rows, tensor.size // rows))
    try:
        found: NDArray[np.float32] = dequantize(stored[::step], GGMLQuantizationType(tensor.kind))
    except (NotImplementedError, ValueError):  # a type without a reader, or one that is newer than the package
        return None
    return found
