"""What was measured once for a model's shapes and types on a machine, kept as JSON in the user's cache folder.

Knows nothing of what is measured.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from genner_cli.engine import llama
from genner_cli.engine.gguf_header import Header
from genner_cli.files.whole import rename_durably

Kept = tuple[str, str]
"""What was measured, and the hash of what it was measured for."""


def kept(what: str, *headers: Header, threads: int, types: bool = True) -> Kept:
    """The name of a measurement. It holds for these shapes, and these types if they matter, on this processor with
    this llama.cpp and this number of threads."""
    parts = [line for header in headers for line in _structure(header, types)]
    parts += [llama.VERSION, llama.llama_print_system_info().decode(), *_processor(), str(threads)]
    parts += [f"{name}={value}" for name, value in sorted(os.environ.items()) if name.startswith("GGML_")]
    return what, hashlib.sha256("\n".join(parts).encode()).hexdigest()


def read(name: Kept) -> Any:
    """The JSON value that was written under this name; None where there is none."""
    with suppress(OSError, ValueError):
        return json.loads(path_of(name).read_bytes())
    return None


def write(name: Kept, value: Any) -> None:
    """Keeps a JSON value for later runs; without a folder to write to they measure again."""
    file = path_of(name)
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps(value), encoding="utf-8")
        rename_durably(partial, file)


def _structure(header: Header, types: bool) -> Iterator[str]:
    yield str(header.metadata.get("general.architecture"))
    for key, value in sorted(header.metadata.items()):
        if not key.startswith(("general.", "tokenizer.", "genner.")):
            yield f"{key}={value}"
    for name, tensor in sorted(header.tensors.items()):
        yield f"{name} {tensor.kind if types else ''} {tensor.shape}"


@cache
def _processor() -> tuple[str, ...]:
    """Its name and what it can do."""
    wanted = ("model name", "flags", "Features")
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
        return tuple(sorted({line.strip() for line in lines if line.startswith(wanted)}))
    return platform.machine(), platform.processor()


def path_of(name: Kept, suffix: str = "json") -> Path:
    """The file of a measurement, or of something else that is kept for a model."""
    what, key = name
    folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(folder) / "genner" / what / f"{key}.{suffix}"
