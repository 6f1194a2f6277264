"""A GGUF in F32, F16 or BF16 -> the same model with smaller numbers; its metadata is kept.

Knows nothing of what the model is for. llama.cpp does the work; its talk is kept from stderr.
"""

from __future__ import annotations

import ctypes
import math
import os
import re
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np

from convert.imatrix import REMEDY as OTHER_MATRIX
from convert.imatrix import Importance, read_imatrix
from genner_cli.engine.gguf_header import FILE_TYPES, read_header
from genner_cli.engine.model import llama_errors
from genner_cli.errors import ModelError, UsageError
from genner_cli.files.whole import whole

NUMBERS = {name: number for number, name in FILE_TYPES.items() if name != "NVFP4"}  # which llama.cpp only reads
REMEDY = "give a whole GGUF in F32, F16 or BF16, and for a type that needs one, an importance matrix (--imatrix)"


def quantize(
    source: Path, out: Path, type: str = "Q8_0", *, imatrix: Path | None = None, threads: int | None = None
) -> Path:
    """Writes `source` to `out` in the quantization type (llama.cpp: llama_model_quantize).

    `type` is a name such as Q8_0, Q4_K_M or F16, in either case; `imatrix` says which columns matter (`imatrix.py`);
    `threads` None takes all cores. Raises UsageError for an unknown type; ModelError where the source is missing,
    broken or already quantized, for a matrix of another model, and for a type that needs one. Not for two threads at a
    time: llama.cpp has one log.
    """
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype, params.nthread = file_type(type), threads or 0
    if not source.is_file():
        raise ModelError(f"{source} is not a file; give the path of a GGUF model")
    if imatrix:
        importance = read_imatrix(imatrix)
        _refuse_strangers(imatrix, importance, source)
        params.imatrix = _rows(importance)
    with whole(out) as partial, llama_errors() as errors:
        if llama_cpp.llama_model_quantize(os.fsencode(source), os.fsencode(partial), ctypes.byref(params)):
            said = re.sub(r"[\s=]+", " ", " ".join(errors)).strip() or "llama.cpp gave no reason"
            raise ModelError(f"{source} cannot be quantized to {type}: {said}; {REMEDY}")
    return out


def file_type(name: str) -> int:
    """llama.cpp's number of a quantization type. Raises UsageError with the list of them for another name."""
    if name.upper() not in NUMBERS:
        raise UsageError(f"unknown quantization type {name!r}; choose one of {', '.join(sorted(NUMBERS))}")
    return NUMBERS[name.upper()]


def _refuse_strangers(path: Path, importance: Importance, source: Path) -> None:
    """Raises ModelError where the matrix is that of another model, which llama.cpp would partly ignore."""
    tensors = read_header(source).tensors
    for name, values in importance.items():
        if name not in tensors or len(tensors[name].shape) < 2:
            raise ModelError(f"{path} has the importance of {name}, which is no matrix of {source}; {OTHER_MATRIX}")
        columns, _, *experts = tensors[name].shape
        if len(values) != math.prod((columns, *experts)):
            raise ModelError(f"{path}: {name} has {len(values)} columns, and in {source} {columns}; {OTHER_MATRIX}")


def _rows(importance: Importance) -> Any:
    """As llama.cpp takes it: an array that ends with a row without a name. ctypes keeps what the rows point to."""
    rows = (llama_cpp.llama_model_imatrix_data * (len(importance) + 1))()
    for row, (name, values) in zip(rows, importance.items(), strict=False):
        row.name, row.size = name.encode(), len(values)
        row.data = np.ascontiguousarray(values).ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    return rows
