"""A model reference -> a local path; no connection is tried unless it is asked for."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub.constants
import pytest

from genner_cli import hub
from genner_cli.errors import ModelError

COMMIT = "d" * 40


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Hub cache."""
    folder = tmp_path / "hub"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder))
    return folder


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Everything that is done to reach somebody, a look-up of its name included; nobody gets through."""
    tried: list[object] = []

    def refuse(*args: object, **_: object) -> None:
        tried.append(args)
        raise OSError("the network is blocked in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return tried


def put(cache: Path, *names: str, repo: str = "own/name") -> Path:
    """Files in the cache, as the Hub's own library lays them out."""
    folder = cache / f"models--{repo.replace('/', '--')}"
    snapshot = folder / "snapshots" / COMMIT
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT)
    for name in names:
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / name).write_bytes(b"GGUF")
    return snapshot


def test_no_reference_is_the_bundled_model() -> None:
    assert hub.resolve() == hub.BUNDLED
    assert hub.BUNDLED.is_file()


def test_a_path_is_that_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "any name.bin"
    path.write_bytes(b"")
    assert hub.resolve(str(path)) == path
    monkeypatch.setenv("HOME", str(tmp_path))
    assert hub.resolve("~/any name.bin") == path
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "name").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    assert hub.resolve("own/name") == Path("own/name"), "a file goes before a name on the Hub"


@pytest.mark.parametrize(
    "name", ["none.gguf", "no/such.gguf", "/no/such/model.gguf", "a/b/c/d.gguf", "none", "a:b.gguf"]
)
def test_a_missing_path_says_so_with_a_remedy(name: str, cache: Path, connections: list[object]) -> None:
    with pytest.raises(ModelError, match=r"does not exist; give the path of a \.gguf file or a Hub") as error:
        hub.resolve(name, download=True)
    assert repr(name) in str(error.value)
    assert connections == []


def test_a_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is a folder, not a GGUF file"):
        hub.resolve(str(tmp_path))


@pytest.mark.parametrize("reference", ["own/name", "own/name:m.gguf"])
def test_a_hub_reference_that_is_not_in_the_cache_names_the_option_that_fetches_it(
    reference: str, cache: Path, connections: list[object]
) -> None:
    with pytest.raises(ModelError, match=f"^{reference} is not in the local cache.*--download"):
        hub.resolve(reference)
    assert connections == []


@pytest.mark.parametrize("file", ["m.gguf", "deep/er/m.gguf"])
def test_a_hub_reference_is_found_in_the_cache_without_any_connection(
    file: str, cache: Path, connections: list[object]
) -> None:
    snapshot = put(cache, file, "README.md")
    assert hub.resolve("own/name") == snapshot / file
    assert hub.resolve(f"own/name:{file}") == snapshot / file
    assert connections == []


def test_of_several_files_one_must_be_chosen(cache: Path, connections: list[object]) -> None:
    snapshot = put(cache, "q8.gguf", "q4.gguf")
    with pytest.raises(ModelError, match=r"several GGUF files; choose one: own/name:q4.gguf, own/name:q8.gguf"):
        hub.resolve("own/name")
    assert hub.resolve("own/name:q4.gguf") == snapshot / "q4.gguf"
    with pytest.raises(ModelError, match=r"^own/name:q5\.gguf is not in the local cache"):
        hub.resolve("own/name:q5.gguf")


def test_a_repository_without_a_gguf_says_so(cache: Path, connections: list[object]) -> None:
    put(cache, "model.safetensors")
    with pytest.raises(ModelError, match="no GGUF file"):
        hub.resolve("own/name")


@pytest.mark.parametrize("reference", ["a/b--c", "-a/b", "own/..name", "own/name:../m.gguf", "x" * 99 + "/y"])
@pytest.mark.parametrize("download", [False, True])
def test_a_name_that_cannot_be_on_the_hub_is_a_model_error(
    reference: str, download: bool, cache: Path, connections: list[object]
) -> None:
    with pytest.raises(ModelError):
        hub.resolve(reference, download=download)


class _Hub(BaseHTTPRequestHandler):
    """As much of the Hub as `list_repo_files` and `hf_hub_download` ask for."""

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def _answer(self) -> None:
        headers = {"Content-Type": "application/json"}
        status, data = 404, b"{}"
        if self.path.startswith("/api/models/own/name/tree"):
            files = [{"type": "file", "path": name, "size": 4, "oid": "b" * 40} for name in ("README.md", "m.gguf")]
            status, data = 200, json.dumps(files).encode()
        elif self.path.startswith("/own/name/resolve/main/m.gguf"):
            headers = {"ETag": f'"{"c" * 40}"', "X-Repo-Commit": COMMIT}
            status, data = 200, b"GGUF"
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub_address() -> Iterator[str]:
    """A Hub on this machine that has one repository, own/name."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Hub) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def resolve_elsewhere(reference: str, address: str, home: Path) -> subprocess.CompletedProcess[str]:
    """In a process of its own, for the Hub's library reads its settings when it is loaded."""
    code = f"from genner_cli import hub; path = hub.resolve({reference!r}, download=True); print(path.read_bytes())"
    variables = {"HF_HOME": str(home), "HF_ENDPOINT": address, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )


def test_download_fetches_what_is_not_in_the_cache(hub_address: str, tmp_path: Path) -> None:
    assert resolve_elsewhere("own/name", hub_address, tmp_path).stdout == "b'GGUF'\n"
    assert list(tmp_path.rglob("snapshots/*/m.gguf"))
    assert resolve_elsewhere("own/name:m.gguf", hub_address, tmp_path).stdout == "b'GGUF'\n"


def test_download_of_what_the_hub_does_not_have_is_one_line_with_a_remedy(hub_address: str, tmp_path: Path) -> None:
    last = resolve_elsewhere("own/other", hub_address, tmp_path).stderr.splitlines()[-1]
    assert last.startswith("genner_cli.errors.ModelError: own/other: the Hub refused (")
    assert last.endswith("check the name, and `hf auth login` for gated models")


@pytest.mark.parametrize("reference", ["own/name", "own/name:m.gguf"])
def test_download_without_a_network_says_so(reference: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Hub's library tries for half a minute, so it is stood in for by what it raises then."""
    transport_error = type("ConnectError", (Exception,), {})

    def list_repo_files(repo: str) -> list[str]:
        raise transport_error("connection refused")

    def hf_hub_download(repo: str, file: str) -> str:
        raise huggingface_hub.errors.LocalEntryNotFoundError("cannot find the file on disk or online")

    monkeypatch.setattr(huggingface_hub, "list_repo_files", list_repo_files)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hf_hub_download)
    with pytest.raises(ModelError, match="own/name: the Hub cannot be reached; check the network"):
        hub.resolve(reference, download=True)
