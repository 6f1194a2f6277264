"""Reads a GGUF file's header without loading it, so that a broken or too large file is reported early.

Takes a path, gives its metadata and sizes. Knows nothing of llama.cpp. Layout: ggml `docs/gguf.md`.
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from genner_cli.errors import ModelError, ModelNotFound

_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
_ALIGNMENT = 32
_MOST_ITEMS = 1 << 24
_LONGEST_STRING = 1 << 26
_BLOCK = 1 << 16
_LARGEST_TENSOR = 1 << 40
_BY_LAYER = (".attention.head_count", ".attention.head_count_kv")
_LFS_POINTER = b"ion https://git-lfs.github.com/spec/"

TENSOR_TYPES = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 40), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66), 39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36), 41: ("Q1_0", 128, 18), 42: ("Q2_0", 64, 18),
}  # fmt: skip
"""ggml's number of a tensor type -> name, numbers in a block, bytes of a block (ggml.h, ggml-common.h)."""

FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS",
    21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S",
    29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4_MOE", 39: "NVFP4",
    40: "Q1_0", 41: "Q2_0",
}  # fmt: skip
"""llama.cpp's number of a quantization type (`general.file_type`; enum llama_ftype in llama.h) -> name."""


class TensorInfo(NamedTuple):
    """Sizes, the innermost first; ggml's number of the type; the first byte in the file."""

    shape: tuple[int, ...]
    kind: int
    offset: int

    @property
    def numbers(self) -> int:
        """How many numbers the tensor holds."""
        return math.prod(self.shape)

    @property
    def kind_name(self) -> str:
        """ggml's name of the type; `type 77` for one that this genner does not know."""
        return TENSOR_TYPES[self.kind][0] if self.kind in TENSOR_TYPES else f"type {self.kind}"

    @property
    def size(self) -> int:
        """Bytes in the file; 1, the least, for a type of unknown size."""
        _, block, size = TENSOR_TYPES.get(self.kind, ("", 0, 0))
        return -(-self.numbers // block) * size if block else 1


@dataclass(frozen=True, slots=True)
class Header:
    """`metadata` holds scalars and strings, arrays by their length or as lists; sizes are bytes.

    Numbers of heads may differ from layer to layer, 0 in those without attention: these are lists in any case.
    """

    metadata: Mapping[str, Any]
    tensors: Mapping[str, TensorInfo]
    file_bytes: int

    @property
    def quantization(self) -> str:
        """The file's quantization type; where the metadata does not say, the type of most of its numbers."""
        named = self.metadata.get("general.file_type")
        if isinstance(named, int) and named in FILE_TYPES:
            return FILE_TYPES[named]
        return next(iter(self.numbers_by_type()), "none")

    def numbers_by_type(self) -> dict[str, int]:
        """How many numbers are stored in each tensor type, the most first."""
        counts: Counter[str] = Counter()
        for tensor in self.tensors.values():
            counts[tensor.kind_name] += tensor.numbers
        return dict(counts.most_common())

    def kv_cache_bytes(self, cells: int) -> int:
        """Memory of an F16 KV cache with this many cells; 0 where the metadata does not say."""
        architecture = self.metadata.get("general.architecture", "")

        def value(key: str, default: int) -> int:
            found = self.metadata.get(f"{architecture}.{key}", default)
            return found if isinstance(found, int) else default

        def by_layer(key: str) -> list[int]:
            found = self.metadata.get(f"{architecture}.{key}")
            return [count for count in found if isinstance(count, int)] if isinstance(found, list) else []

        heads = max(by_layer("attention.head_count"), default=value("attention.head_count", 0))
        size = value("embedding_length", 0) // max(1, heads)
        both = value("attention.key_length", size) + value("attention.value_length", size)
        in_all = value("block_count", 0) * value("attention.head_count_kv", heads)
        return 2 * cells * (sum(by_layer("attention.head_count_kv")) or in_all) * both


def read_header(path: Path, *, arrays: bool = False) -> Header:
    """Reads the header, arrays of the metadata as lists if asked for; raises ModelError where the file is missing, no
    GGUF, or cut short."""
    try:
        with path.open("rb") as file:
            return _read(file, path, arrays)
    except FileNotFoundError:
        raise ModelNotFound(f"{path}: model file not found; check the path") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except (struct.error, UnicodeDecodeError, ValueError):
        raise ModelError(f"{path}: the file is cut short or damaged; fetch or export it again") from None


def check_whole(path: Path) -> None:
    """Raises ModelError unless the file is one GGUF from its first byte to its last: the tensors follow each other
    without a gap, as llama.cpp wants them (gguf_init_from_file), and nothing is behind the last one's padding."""
    header = read_header(path)
    alignment = int(header.metadata.get("general.alignment", _ALIGNMENT))
    expected = min((info.offset for info in header.tensors.values()), default=header.file_bytes)
    for name, info in header.tensors.items():
        if info.offset != expected:
            raise ModelError(f"{path}: the tensor {name} begins at byte {info.offset}, not {expected}; fetch it again")
        end = info.offset + info.size
        expected = -(-end // alignment) * alignment
    if header.file_bytes > expected:
        raise ModelError(f"{path}: {header.file_bytes - expected} bytes follow the last tensor; fetch it again")


def _read(file: BinaryIO, path: Path, arrays: bool) -> Header:
    magic = file.read(4)
    if magic == b"vers" and file.read(len(_LFS_POINTER)) == _LFS_POINTER:
        raise ModelError(f"{path}: is a Git LFS pointer, not the model itself; fetch it with git lfs pull")
    if magic != b"GGUF":
        raise ModelError(
            f"{path}: this is not a GGUF file (it starts with {magic!r}); export one with genner or llama.cpp"
        )
    version, tensors, pairs = struct.unpack("<IQQ", file.read(20))
    if version not in (2, 3):
        raise ModelError(f"{path}: GGUF version {version} is not supported; convert the model again")
    metadata = {}
    for _ in range(_at_most(pairs, _MOST_ITEMS)):
        key = _string(file)
        metadata[key] = _value(file, _number(file, "<I"), arrays or key.endswith(_BY_LAYER))
    found = dict(_tensor(file) for _ in range(_at_most(tensors, _MOST_ITEMS)))
    alignment = metadata.get("general.alignment", _ALIGNMENT)
    if not isinstance(alignment, int) or alignment < 1:
        raise ValueError(f"alignment {alignment}")
    data = -(-file.tell() // alignment) * alignment
    size = file.seek(0, 2)
    infos = {name: info._replace(offset=data + info.offset) for name, info in found.items()}
    if size < max((info.offset + info.size for info in infos.values()), default=0):
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


def _value(file: BinaryIO, kind: int, arrays: bool) -> Any:
    if kind == _STRING:
        return _string(file)
    if kind != _ARRAY:
        return _number(file, _scalar(kind))
    kind, count = _number(file, "<I"), _at_most(_number(file, "<Q"), _MOST_ITEMS)
    if kind == _ARRAY:
        raise ValueError("arrays of arrays are not used by models")
    if arrays:
        return [_value(file, kind, arrays) for _ in range(count)]
    if kind == _STRING:
        _skip_strings(file, count)
    else:
        file.seek(count * struct.calcsize(_scalar(kind)), 1)
    return count


def _skip_strings(file: BinaryIO, count: int) -> None:
    """Seeks past an array of strings. A vocabulary has 100,000 and more: their lengths are read by the block."""
    length_at, block, at, last = struct.Struct("<Q").unpack_from, b"", 0, -1
    for _ in range(count):
        if at > last:
            file.seek(at - len(block), 1)
            block, at = file.read(_BLOCK), 0
            last = len(block) - 8
        (length,) = length_at(block, at)
        if length > _LONGEST_STRING:
            raise ValueError(f"a string of {length} bytes")
        at += 8 + length
    file.seek(at - len(block), 1)


def _scalar(kind: int) -> str:
    if kind not in _SCALARS:
        raise ValueError(f"value type {kind}")
    return _SCALARS[kind]


def _tensor(file: BinaryIO) -> tuple[str, TensorInfo]:
    name, dimensions = _string(file), _at_most(_number(file, "<I"), 8)
    shape = struct.unpack(f"<{dimensions}Q", file.read(8 * dimensions))
    _at_most(math.prod(shape), _LARGEST_TENSOR)
    kind, offset = struct.unpack("<IQ", file.read(12))
    return name, TensorInfo(shape, kind, offset)
