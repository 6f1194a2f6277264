"""The header of a GGUF: read without loading it; whatever is wrong with it is a ModelError, never a crash."""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from changed_gguf import finish
from conftest import ONE_THREAD
from gguf import GGML_QUANT_SIZES, GGUFReader, GGUFValueType, GGUFWriter, LlamaFileType
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples

from genner_cli import hub
from genner_cli.engine import model as model_module
from genner_cli.engine.engine import Engine
from genner_cli.engine.gguf_header import _BLOCK, FILE_TYPES, TENSOR_TYPES, Header, TensorInfo, check_whole, read_header
from genner_cli.engine.model import Model
from genner_cli.errors import ModelError

VALUES: dict[str, tuple[Any, GGUFValueType, GGUFValueType | None]] = {
    "a.string": ("Zoë\n", GGUFValueType.STRING, None),
    "a.number": (7, GGUFValueType.UINT32, None),
    "a.negative": (-7, GGUFValueType.INT8, None),
    "a.large": (2**40, GGUFValueType.UINT64, None),
    "a.fraction": (0.5, GGUFValueType.FLOAT64, None),
    "a.flag": (True, GGUFValueType.BOOL, None),
    "some.numbers": ([1, 2, 3], GGUFValueType.ARRAY, GGUFValueType.INT32),
    "some.strings": (["a", "", "語"], GGUFValueType.ARRAY, GGUFValueType.STRING),
}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GGUF with every kind of value and two tensors, a few hundred bytes long."""
    return write(tmp_path_factory.mktemp("gguf") / "small.gguf")


def write(path: Path, **more: tuple[Any, GGUFValueType]) -> Path:
    writer = GGUFWriter(path, "llama")
    for key, (value, kind, items) in VALUES.items():
        writer.add_key_value(key, value, kind, items)
    for key, (value, kind) in more.items():
        writer.add_key_value(key.replace("_", "."), value, kind)
    writer.add_tensor("one", np.zeros((2, 40), dtype=np.float32))
    writer.add_tensor("two", np.zeros(8, dtype=np.float32))
    finish(writer)
    return path


def header_of(data: bytes, folder: Path) -> Header:
    path = folder / "tried.gguf"
    path.write_bytes(data)
    return read_header(path)


def test_scalars_and_strings_are_read_and_arrays_by_their_length(small: Path) -> None:
    header = read_header(small)
    expected = {key: len(value) if items else value for key, (value, _, items) in VALUES.items()}
    assert header.metadata == {"general.architecture": "llama", **expected}
    assert header.file_bytes == small.stat().st_size


def test_arrays_are_read_as_lists_if_asked_for(small: Path) -> None:
    expected = {key: value for key, (value, _, _) in VALUES.items()}
    assert read_header(small, arrays=True).metadata == {"general.architecture": "llama", **expected}
    cut = small.with_name("cut.gguf")
    cut.write_bytes(small.read_bytes()[:200])
    with pytest.raises(ModelError, match=r"cut\.gguf.* cut short"):
        read_header(cut, arrays=True)


@given(
    sizes=st.lists(st.sampled_from((0, 1, 7, _BLOCK // 2 - 8, *range(_BLOCK - 18, _BLOCK + 2), 3 * _BLOCK)), min_size=1)
)
@examples(50)
def test_strings_are_passed_over_wherever_a_block_of_lengths_ends(small: Path, sizes: list[int]) -> None:
    strings = ["x" * size for size in sizes]
    path = write(
        small.with_name("strings.gguf"), many_strings=(strings, GGUFValueType.ARRAY), z_last=VALUES["a.number"][:2]
    )
    header = read_header(path)
    assert header.metadata["many.strings"] == len(sizes)
    assert header.metadata["z.last"] == 7
    assert [info.shape for info in header.tensors.values()] == [(40, 2), (8,)]
    check_whole(path)
    cut = path.read_bytes()[: -1 - sum(info.size for info in header.tensors.values()) - sizes[-1]]
    with pytest.raises(ModelError):
        header_of(cut, small.parent)


def test_the_bundled_models_header_gives_what_a_key_value_cache_takes() -> None:
    header = read_header(hub.BUNDLED)
    heads, size, layers = (
        header.metadata[f"llama.{key}"] for key in ("attention.head_count_kv", "attention.key_length", "block_count")
    )
    assert header.kv_cache_bytes(1000) == 1000 * layers * heads * (size + size) * 2
    assert header.kv_cache_bytes(0) == 0


def test_the_types_are_those_of_ggml_and_llama_cpp() -> None:
    newer = {42: ("Q2_0", 64, 18)}  # than the gguf package
    theirs = {int(kind): (kind.name, *sizes) for kind, sizes in GGML_QUANT_SIZES.items()}
    assert {**theirs, **newer} == TENSOR_TYPES
    named = {int(kind): kind.name.removeprefix("MOSTLY_").removeprefix("ALL_") for kind in LlamaFileType}
    assert {number: FILE_TYPES[number] for number in named if number != LlamaFileType.GUESSED} == {
        number: name for number, name in named.items() if name != "GUESSED"
    }


def test_sizes_and_types_of_tensors_are_those_that_ggufs_own_reader_finds() -> None:
    header = read_header(hub.BUNDLED)
    theirs = {
        tensor.name: (tensor.tensor_type.name, int(tensor.n_elements), int(tensor.n_bytes), int(tensor.data_offset))
        for tensor in GGUFReader(hub.BUNDLED).tensors
    }
    ours = {
        name: (tensor.kind_name, tensor.numbers, tensor.size, tensor.offset) for name, tensor in header.tensors.items()
    }
    assert ours == theirs
    assert header.quantization == "Q8_0"
    assert sum(header.numbers_by_type().values()) == sum(numbers for _, numbers, _, _ in theirs.values())


def test_the_quantization_of_a_file_that_names_none_is_the_type_of_most_numbers(small: Path) -> None:
    assert read_header(small).quantization == "F32"
    assert Header({"general.file_type": 9999}, {"one": TensorInfo((8,), 77, 0)}, 1).quantization == "type 77"
    assert Header({}, {}, 1).quantization == "none"


def test_a_cache_of_unknown_size_counts_nothing() -> None:
    assert Header({}, {}, 1).kv_cache_bytes(1000) == 0
    assert Header({"general.architecture": "x", "x.block_count": "many"}, {}, 1).kv_cache_bytes(1000) == 0


def test_a_missing_file_and_a_folder_say_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.gguf: .*model file not found"):
        read_header(tmp_path / "none.gguf")
    with pytest.raises(ModelError, match=f"{tmp_path}.* cannot be read"):
        read_header(tmp_path)


@pytest.mark.parametrize("content", [b"", b"GGU", b"PK\x03\x04 a zip file", b"\x89PNG\r\n", b"FUGG" + bytes(40)])
def test_what_is_no_gguf_says_so_with_what_it_starts_with(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ModelError, match="not a GGUF file") as error:
        header_of(content, tmp_path)
    assert repr(content[:4]) in str(error.value)


@pytest.mark.parametrize("version", [0, 1, 4, 2**31])
def test_another_version_is_refused(small: Path, tmp_path: Path, version: int) -> None:
    data = small.read_bytes()
    with pytest.raises(ModelError, match=f"version {version} "):
        header_of(data[:4] + struct.pack("<I", version) + data[8:], tmp_path)


def test_a_file_cut_short_anywhere_is_a_model_error(small: Path, tmp_path: Path) -> None:
    data = small.read_bytes()
    assert header_of(data, tmp_path)
    last = max(info.offset + info.size for info in read_header(small).tensors.values())
    assert len(data) - 32 < last <= len(data), "what may be missing is padding"
    for length in range(last):
        with pytest.raises(ModelError):
            header_of(data[:length], tmp_path)


def damaged(data: bytes, *places: tuple[int, int]) -> bytes:
    changed = bytearray(data)
    for place, value in places:
        changed[place % len(data)] = value
    return bytes(changed)


def test_any_single_byte_may_be_wrong(small: Path, tmp_path: Path) -> None:
    data = small.read_bytes()
    for place in range(len(data)):
        for value in (0, 0xFF):
            reads_or_refuses(damaged(data, (place, value)), tmp_path)


@given(places=st.lists(st.tuples(st.integers(4, 900), st.integers(0, 255)), min_size=2, max_size=6))
@examples(200)
def test_any_bytes_may_be_wrong(
    small: Path, tmp_path_factory: pytest.TempPathFactory, places: list[tuple[int, int]]
) -> None:
    reads_or_refuses(damaged(small.read_bytes(), *places), tmp_path_factory.getbasetemp())


def reads_or_refuses(data: bytes, folder: Path) -> None:
    try:
        header = header_of(data, folder)
    except ModelError:
        return
    assert header.file_bytes == len(data)
    assert isinstance(header.kv_cache_bytes(100), int)


@pytest.mark.parametrize(
    ("value", "kind"),
    [(0, GGUFValueType.UINT32), (-1, GGUFValueType.INT32), ("x", GGUFValueType.STRING), (0.5, GGUFValueType.FLOAT32)],
)
def test_an_alignment_that_is_none_is_a_model_error(tmp_path: Path, value: Any, kind: GGUFValueType) -> None:
    with pytest.raises(ModelError, match="damaged"):
        read_header(write(tmp_path / "aligned.gguf", general_alignment=(value, kind)))


@pytest.mark.parametrize("count", [2**25, 2**63, 2**64 - 1])
@pytest.mark.parametrize("at", [8, 16], ids=["tensors", "pairs"])
def test_absurd_counts_are_refused_at_once(small: Path, tmp_path: Path, at: int, count: int) -> None:
    data = small.read_bytes()
    with pytest.raises(ModelError):
        header_of(data[:at] + struct.pack("<Q", count) + data[at + 8 :], tmp_path)


def test_a_model_cut_short_anywhere_does_not_load_and_says_so(tmp_path: Path) -> None:
    """With llama.cpp behind the header: in the metadata, between the tensors, and one byte before the end."""
    data = hub.BUNDLED.read_bytes()
    lengths = random.Random(1).sample(range(len(data)), 8)
    for length in [0, 3, 4, 23, 24, 1000, *lengths, len(data) - 1]:
        path = tmp_path / f"{length}.gguf"
        path.write_bytes(data[:length])
        with pytest.raises(ModelError, match=str(path)):
            Model(path, gpu_layers=0)


@pytest.fixture
def free_bytes(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], None]:
    """Says how much memory is free."""
    return lambda count: monkeypatch.setattr(model_module, "free_memory", lambda: count)


def test_a_model_larger_than_free_memory_is_refused_before_it_is_loaded(free_bytes: Callable[[int], None]) -> None:
    free_bytes(2**20)
    with pytest.raises(ModelError, match=r"weights .*0\.0 GiB .*0\.0 GiB .*quantization"):
        Model(hub.BUNDLED)


def test_a_context_larger_than_free_memory_is_refused_with_a_smaller_one_as_remedy(
    bundled: Model, free_bytes: Callable[[int], None]
) -> None:
    free_bytes(2**20)
    with pytest.raises(ModelError, match=r"8192 tokens .*--context"):
        Engine(bundled, ONE_THREAD)


def test_unknown_free_memory_refuses_nothing(free_bytes: Callable[[None], None]) -> None:
    free_bytes(None)
    model_module.check_memory(Path("x.gguf"), 2**60, "the weights")


@pytest.mark.skipif(not os.path.exists("/proc/meminfo"), reason="needs /proc/meminfo")
def test_free_memory_is_what_the_system_says_is_available() -> None:
    free = model_module.free_memory()
    assert free is not None
    assert 2**20 < free < 2**50


def test_a_whole_file_has_no_gap_and_nothing_behind_its_last_tensor(tmp_path: Path) -> None:
    path = tmp_path / "whole.gguf"
    writer = GGUFWriter(path, "llama")
    for name in ("first.weight", "second.weight"):
        writer.add_tensor(name, np.ones((3, 5), np.float32))
    finish(writer)
    check_whole(path)
    check_whole(hub.BUNDLED)
    data = path.read_bytes()
    path.write_bytes(data + bytes(32))
    with pytest.raises(ModelError, match="32 bytes follow"):
        check_whole(path)
    at = data.index(b"second.weight") + len("second.weight") + 4 + 2 * 8 + 4  # behind dimensions, sizes and type
    (offset,) = struct.unpack_from("<Q", data, at)
    path.write_bytes(data[:at] + struct.pack("<Q", offset + 32) + data[at + 8 :] + bytes(32))
    with pytest.raises(ModelError, match=r"second\.weight begins at"):
        check_whole(path)


def test_a_git_lfs_pointer_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0a\nsize 9\n")
    with pytest.raises(ModelError, match="git lfs pull"):
        read_header(path)
    path.write_bytes(b"version 2 of something else")
    with pytest.raises(ModelError, match="not a GGUF"):
        read_header(path)
