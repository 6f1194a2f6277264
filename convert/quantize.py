"""A GGUF in F32, F16 or BF16 -> the same model with smaller numbers; its metadata is kept.

An importance matrix, as llama.cpp's `llama-imatrix` writes it in GGUF or in its older format, says how much each column
of each tensor matters (llama.cpp: tools/imatrix/imatrix.cpp; tools/quantize/quantize.cpp, load_imatrix and
load_legacy_imatrix). Knows nothing of what the model is for. llama.cpp does the work; its output is kept from stderr.
"""

from __future__ import annotations

import ctypes
import math
import os
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from convert.gguf_numbers import numbers_of
from genner_cli.engine import llama
from genner_cli.engine.gguf_header import FILE_TYPES, read_header
from genner_cli.engine.model import llama_errors
from genner_cli.errors import ModelError, UsageError
from genner_cli.files.whole import whole
from genner_cli.provenance import BASE_TYPE

Importance = Mapping[str, NDArray[np.float32]]
SUMS, COUNTS = ".in_sum2", ".counts"
OTHER_MATRIX = "make it again with llama.cpp's llama-imatrix on this model"
NUMBERS = {name: number for number, name in FILE_TYPES.items() if name != "NVFP4"}  # which llama.cpp only reads
FINE_TYPES = ("F32", "F16", "BF16", "Q8_0")
"""Types whose steps are smaller than what training changes."""
REMEDY = "give a whole GGUF in F32, F16 or BF16, and for a type that needs one, an importance matrix (--imatrix)"


def quantize(
    source: Path,
    out: Path,
    type: str = "Q8_0",
    *,
    imatrix: Path | None = None,
    threads: int | None = None,
    requantize: bool = False,
) -> Path:
    """Writes `source` to `out` in the quantization type (llama.cpp: llama_model_quantize).

    `type` is a name such as Q8_0, Q4_K_M or F16, in either case; `imatrix` says which columns matter (`read_imatrix`);
    `threads` None takes all cores; `requantize`: the source may be quantized already. Raises UsageError for an unknown
    type, and for that of a trained model's base; ModelError where the source is missing, broken or already quantized,
    for a matrix of another model, and for a type that needs one. Not for two threads at a time: llama.cpp has one log.
    """
    params = llama.llama_model_quantize_default_params()
    params.ftype, params.nthread, params.allow_requantize = file_type(type), threads or 0, requantize
    if not source.is_file():
        raise ModelError(f"{source} is not a file; give the path of a GGUF model")
    refuse_type_of_base(type, read_header(source).metadata)
    if imatrix:
        importance = read_imatrix(imatrix)
        _refuse_strangers(imatrix, importance, source)
        params.imatrix = _rows(importance)
    with whole(out) as partial, llama_errors() as errors:
        if llama.llama_model_quantize(os.fsencode(source), os.fsencode(partial), ctypes.byref(params)):
            reason = re.sub(r"[\s=]+", " ", " ".join(errors)).strip() or "llama.cpp gave no reason"
            raise ModelError(f"{source} cannot be quantized to {type}: {reason}; {REMEDY}")
    return out


def refuse_type_of_base(type: str, metadata: Mapping[str, Any]) -> None:
    """Raises UsageError for a type that would take back what a model was trained on (`takes_back`)."""
    if takes_back(type, metadata):
        raise UsageError(
            f"{type}: the weights of the base are {metadata[BASE_TYPE]}, and rounding to this type again would take"
            " back what training changed; choose another one, or use base and adapter side by side (--adapter-only)"
        )


def takes_back(type: str, metadata: Mapping[str, Any]) -> bool:
    """Whether rounding a trained model to this type gives its base again.

    The weights of a base that was read from a GGUF lie on the grid of its type, and training moves most of them by less
    than half a step of a coarse one.
    """
    of_base = str(metadata.get(BASE_TYPE, "")).upper()
    return of_base not in ("", *FINE_TYPES) and of_base.split("_")[:2] == type.upper().split("_")[:2]


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
            raise ModelError(f"{path} has the importance of {name}, which is not a matrix of {source}; {OTHER_MATRIX}")
        columns, _, *experts = tensors[name].shape
        if len(values) != math.prod((columns, *experts)):
            raise ModelError(f"{path}: {name} has {len(values)} columns, and in {source} {columns}; {OTHER_MATRIX}")


def _rows(importance: Importance) -> Any:
    """As llama.cpp takes it: an array that ends with a row without a name. ctypes keeps what the rows point to."""
    rows = (llama.llama_model_imatrix_data * (len(importance) + 1))()
    for row, (name, values) in zip(rows, importance.items(), strict=False):
        row.name, row.size = name.encode(), len(values)
        row.data = np.ascontiguousarray(values).ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    return rows


def read_imatrix(path: Path) -> Importance:
    """The mean square of what each column was multiplied by [columns, times experts], by tensor name.

    Raises UsageError where the file cannot be read, ModelError where it is not an importance matrix.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(4)
            file.seek(0)
            found = _from_gguf(path) if magic == b"GGUF" else _older(file)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except (ValueError, struct.error) as error:
        raise ModelError(f"{path} is not an importance matrix ({error}); {OTHER_MATRIX}") from error
    if not found:
        raise ModelError(f"{path} holds no importance of any tensor; {OTHER_MATRIX}")
    if broken := [name for name, values in found.items() if not np.isfinite(values).all()]:
        raise ModelError(f"{path}: the importance of {broken[0]} is not finite everywhere; {OTHER_MATRIX}")
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
    """Sums of means over a number of calls; what follows the tensors says what they were computed on."""
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
