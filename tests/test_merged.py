"""genner export adapter.gguf: one model of an adapter and its base, checked, without torch."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from adapters import trained_on_gguf
from conftest import Run
from gguf_metadata import with_pairs
from small_bases import write_small_base

from convert.gguf_to_hf import gguf_to_hf
from convert.hf_to_gguf import hf_to_gguf
from convert.merge_gguf import merge_gguf
from genner_cli.engine.gguf_header import read_header

Genner = Callable[..., Run]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A quantized base, and an adapter's GGUF that was trained on it and names its path."""
    return trained_on_gguf(tmp_path_factory.mktemp("base"))


def test_an_adapter_and_the_base_that_it_names_become_one_model(
    files: tuple[Path, Path], genner: Genner, tmp_path: Path
) -> None:
    _, adapter = files
    done = genner("export", adapter, "-o", tmp_path / "model.gguf", "--quantize", "Q8_0", "--threads", 1)
    assert done.status == 0, done.stderr
    header = read_header(tmp_path / "model.gguf")
    assert header.quantization == "Q8_0"
    assert header.metadata["genner.format"] == read_header(adapter).metadata["genner.format"]
    assert [path.name for path in tmp_path.iterdir()] == ["model.gguf"]
    (record,) = genner(
        "extract", "-", "--model", tmp_path / "model.gguf", stdin=b'{"text": "Ann went to Rome."}\n'
    ).records
    assert record["text"] == "Ann went to Rome."


def test_the_base_may_be_named_and_another_one_is_refused(
    files: tuple[Path, Path], genner: Genner, tmp_path: Path
) -> None:
    base, adapter = files
    moved = shutil.copy(base, tmp_path / "moved.gguf")
    assert genner("export", adapter, "--base", moved, "-o", tmp_path / "model.gguf", "--quantize", "F16").status == 0
    other = hf_to_gguf(write_small_base(tmp_path / "other"), tmp_path / "other.gguf")
    refused = genner("export", adapter, "--base", other, "-o", tmp_path / "none.gguf")
    assert refused.status == 1
    assert "other weights" in refused.stderr
    assert not (tmp_path / "none.gguf").exists()


def test_a_merge_that_is_wrong_gets_no_name(
    files: tuple[Path, Path], genner: Genner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_change(base: Path, adapter: Path, out: Path) -> Path:
        return hf_to_gguf(gguf_to_hf(base, out.parent / "folder"), out, dtype="f16")

    monkeypatch.setattr("convert.merged.merge_gguf", without_change)
    refused = genner("export", files[1], "-o", tmp_path / "model.gguf")
    assert refused.status == 1
    assert "side by side" in refused.stderr
    assert not list(tmp_path.glob("*.gguf"))


def test_the_merged_model_has_the_name_that_the_adapter_gives_it(files: tuple[Path, Path], tmp_path: Path) -> None:
    base, adapter = files
    named = Path(shutil.copy(adapter, tmp_path / "named.gguf"))
    with_pairs(named, {"general.name": "mine"})
    before, after = (read_header(merge_gguf(base, path, tmp_path / "out.gguf")).metadata for path in (adapter, named))
    assert after == {**before, "general.name": "mine"}
    assert after.get("general.type", "model") == "model"


def test_a_base_for_what_is_no_adapter_is_refused(files: tuple[Path, Path], genner: Genner, tmp_path: Path) -> None:
    base, _ = files
    assert genner("export", base, "--base", base, "-o", tmp_path / "model.gguf").status == 2


def test_merging_loads_no_torch() -> None:
    loaded = "import sys, convert.merged, convert.fastest, convert.bundled"
    code = f"{loaded}; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
