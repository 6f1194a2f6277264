"""A GGUF in F32, F16 or BF16 -> the same model with smaller numbers; its metadata is kept.

Knows nothing of what the model is for. llama.cpp does the work; its talk is kept from stderr.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from convert import whole
from genner_cli.errors import ModelError, UsageError

PREFIX = "LLAMA_FTYPE_MOSTLY_"
REMEDY = "give a whole GGUF in F32, F16 or BF16 and a type that needs no importance matrix, such as Q8_0"
ERROR, CONTINUED = 4, 5  # of enum ggml_log_level in ggml.h; the list in llama_cpp's _logger.py is an older one


def quantize(source: Path, out: Path, type: str = "Q8_0") -> Path:
    """Writes `source` to `out` in the quantization type (llama.cpp: llama_model_quantize), on all cores.

    `type` is a name such as Q8_0, Q4_K_M or F16, in either case. Raises UsageError for an unknown one;
    ModelError where the source is missing, broken or already quantized, and for a type that needs an
    importance matrix. Not for two threads at a time: llama.cpp has one log.
    """
    import llama_cpp

    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = _file_type(type)
    if not source.is_file():
        raise ModelError(f"{source} is not a file; give the path of a GGUF model")
    with whole(out) as partial, _errors_of_llama() as errors:
        if llama_cpp.llama_model_quantize(os.fsencode(source), os.fsencode(partial), ctypes.byref(params)):
            said = " ".join("".join(errors).split()) or "llama.cpp gave no reason"
            raise ModelError(f"{source} cannot be quantized to {type}: {said}; {REMEDY}")
    return out


def _file_type(name: str) -> int:
    import llama_cpp

    types: dict[str, int] = {
        key.removeprefix(PREFIX): value for key, value in vars(llama_cpp).items() if key.startswith(PREFIX)
    }
    if name.upper() not in types:
        raise UsageError(f"unknown quantization type {name!r}; choose one of {', '.join(sorted(types))}")
    return types[name.upper()]


@contextmanager
def _errors_of_llama() -> Iterator[list[str]]:
    """The error lines that llama.cpp logs in the block, everything else dropped."""
    import llama_cpp

    errors: list[str] = []
    last = 0

    @llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
    def collect(level: int, text: bytes, _: object) -> None:
        nonlocal last
        last = last if level == CONTINUED else level
        if last == ERROR:
            errors.append(text.decode(errors="replace"))

    before, data = llama_cpp.llama_log_callback(), ctypes.c_void_p()
    llama_cpp.llama_log_get(ctypes.byref(before), ctypes.byref(data))
    llama_cpp.llama_log_set(collect, None)
    try:
        yield errors
    finally:
        llama_cpp.llama_log_set(before, data)
