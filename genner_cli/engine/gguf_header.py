"""Reads a GGUF file's header without loading it, so that a broken file or a too large one is told early.

Takes a path, gives its metadata and sizes. Knows nothing of llama.cpp. Layout: ggml `docs/gguf.md`.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from genner_cli.errors import ModelError

_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
_MOST_ITEMS = 1 << 24
_LONGEST_STRING = 1 << 26


class TensorInfo(NamedTuple):
    """Sizes, the innermost first; ggml's number of the type; the first byte in the file."""

    shape: tuple[int, ...]
    kind: int
    offset: int


@dataclass(frozen=True, slots=True)
class Header:
    """`metadata` holds scalars and strings, arrays by their length; sizes are bytes."""

    metadata: Mapping[str, Any]
    tensors: Mapping[str, TensorInfo]
    file_bytes: int

    def kv_cache_bytes(self, cells: int) -> int:
        """Memory of an F16 KV cache with this many cells; 0 where the metadata does not say."""
        architecture = self.metadata.get("general.architecture", "")

        def value(key: str, default: int) -> int:
            found = self.metadata.get(f"{architecture}.{key}", default)
            return found if isinstance(found, int) else default

        heads = value("attention.head_count", 0)
        size = value("embedding_length", 0) // max(1, heads)
        both = value("attention.key_length", size) + value("attention.value_length", size)
        return 2 * cells * value("block_count", 0) * value("attention.head_count_kv", heads) * both


def read_header(path: Path) -> Header:
    """Reads the header; raises ModelError where the file is missing, no GGUF, or cut short."""
    try:
        with path.open("rb") as file:
            return _read(file, path)
    except FileNotFoundError:
        raise ModelError(f"{path}: there is no such model file; check the path given with --model") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); check the path given with --model") from error
    except (struct.error, UnicodeDecodeError, ValueError):
        raise ModelError(f"{path}: the file is cut short or damaged; fetch or export it again") from None


def _read(file: BinaryIO, path: Path) -> Header:
    magic = file.read(4)
    if magic != b"GGUF":
        raise ModelError(
            f"{path}: this is no GGUF file (it starts with {magic!r}); export one with genner or llama.cpp"
        )
    version, tensors, pairs = struct.unpack("<IQQ", file.read(20))
    if version not in (2, 3):
        raise ModelError(f"{path}: GGUF version {version} is not supported; convert the model again")
    metadata = {}
    for _ in range(_at_most(pairs, _MOST_ITEMS)):
        key = _string(file)
        metadata[key] = _value(file, _number(file, "<I"))
    found = dict(_tensor(file) for _ in range(_at_most(tensors, _MOST_ITEMS)))
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment < 1:
        raise ValueError(f"alignment {alignment}")
    data = -(-file.tell() // alignment) * alignment
    size = file.seek(0, 2)
    infos = {name: info._replace(offset=data + info.offset) for name, info in found.items()}
    if size <= max((info.offset for info in infos.values()), default=data):
        raise ValueError("tensor data is missing")
    return Header(metadata, infos, size)


def _number(file: BinaryIO, form: str) -> Any:
    return struct.unpack(form, file.read(struct.calcsize(form)))[0]


def _at_most(count: int, most: int) -> int:
    if count > most:
        raise ValueError(f"{count} items")
    return count


def _string(file: BinaryIO) -> str:
    length = _at_most(_number(file, "<Q"), _LONGEST_STRING)
    data = file.read(length)
    if len(data) < length:
        raise ValueError("string is cut short")
    return data.decode(errors="replace")


def _value(file: BinaryIO, kind: int) -> Any:
    if kind == _STRING:
        return _string(file)
    if kind != _ARRAY:
        return _number(file, _scalar(kind))
    kind, count = _number(file, "<I"), _at_most(_number(file, "<Q"), _MOST_ITEMS)
    if kind == _STRING:
        for _ in range(count):
            file.seek(_at_most(_number(file, "<Q"), _LONGEST_STRING), 1)
    elif kind == _ARRAY:
        raise ValueError("arrays of arrays are not used by models")
    else:
        file.seek(count * struct.calcsize(_scalar(kind)), 1)
    return count


def _scalar(kind: int) -> str:
    if kind not in _SCALARS:
        raise ValueError(f"value type {kind}")
    return _SCALARS[kind]


def _tensor(file: BinaryIO) -> tuple[str, TensorInfo]:
    name, dimensions = _string(file), _at_most(_number(file, "<I"), 8)
    shape = struct.unpack(f"<{dimensions}Q", file.read(8 * dimensions))
    kind, offset = struct.unpack("<IQ", file.read(12))
    return name, TensorInfo(shape, kind, offset)
