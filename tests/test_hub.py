"""A model reference -> a local path; no connection is tried unless it is asked for."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path

import huggingface_hub.constants
import pytest

from genner_cli import hub
from genner_cli.errors import ModelError, ModelNotFound

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


def put(cache: Path, *names: str, repo: str = "own/name", revision: str = "main") -> Path:
    """Files in the cache, as the Hub's own library lays them out."""
    folder = cache / f"models--{repo.replace('/', '--')}"
    snapshot = folder / "snapshots" / COMMIT
    ref = folder / "refs" / revision
    ref.parent.mkdir(parents=True)
    ref.write_text(COMMIT)
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
    with pytest.raises(ModelNotFound, match=f"{re.escape(repr(name))} .*owner/name:file.gguf"):
        hub.resolve(name, download=True)
    assert connections == []


def test_a_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match=f"'{tmp_path}' .* folder"):
        hub.resolve(str(tmp_path))


@pytest.mark.parametrize("reference", ["own/name", "own/name:m.gguf"])
def test_a_hub_reference_that_is_not_in_the_cache_names_the_option_that_fetches_it(
    reference: str, cache: Path, connections: list[object]
) -> None:
    with pytest.raises(ModelNotFound, match=f"^{reference} .*local cache.*--download"):
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
    with pytest.raises(ModelError, match=r"own/name:q4\.gguf, own/name:q8\.gguf"):
        hub.resolve("own/name")
    assert hub.resolve("own/name:q4.gguf") == snapshot / "q4.gguf"
    with pytest.raises(ModelNotFound, match=r"^own/name:q5\.gguf .*local cache"):
        hub.resolve("own/name:q5.gguf")


def test_a_base_model_in_the_cache_is_no_gguf(cache: Path, connections: list[object]) -> None:
    put(cache, "model.safetensors")
    with pytest.raises(ModelNotFound, match=r"^own/name .*local cache"):
        hub.resolve("own/name")


@pytest.mark.parametrize("revision", ["v1.0", "refs/pr/3", COMMIT])
def test_a_revision_is_found_by_its_name(revision: str, cache: Path, connections: list[object]) -> None:
    snapshot = put(cache, "m.gguf", "config.json", "model.safetensors", "tokenizer.json", revision=revision)
    assert hub.resolve(f"own/name@{revision}") == snapshot / "m.gguf"
    assert hub.resolve(f"own/name@{revision}:m.gguf") == snapshot / "m.gguf"
    assert hub.resolve_base(f"own/name@{revision}") == snapshot
    assert hub.resolve_base("own/name", revision=revision) == snapshot
    for other in ("own/name", "own/name@other", "own/name@" + "a" * 40):
        with pytest.raises(ModelNotFound, match=f"^{other} .*local cache"):
            hub.resolve(other)
        with pytest.raises(ModelNotFound, match=f"^{other} .*local cache.*`genner pull {other}`"):
            hub.resolve_base(other)
    assert connections == []


def test_two_revisions_for_one_model_are_refused() -> None:
    with pytest.raises(ModelError, match=r"own/name@v1 .*'v2'"):
        hub.resolve_base("own/name@v1", revision="v2")


def shards(folder: Path, *names: str) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {n: n for n in names}}))


def test_a_base_model_in_the_cache_is_whole_or_says_what_is_missing(cache: Path, connections: list[object]) -> None:
    snapshot = put(cache, "config.json", "model-1-of-2.safetensors", "tokenizer.json")
    shards(snapshot, "model-1-of-2.safetensors", "model-2-of-2.safetensors")
    with pytest.raises(ModelError, match=r"\(model-2-of-2\.safetensors .*`genner pull own/name`"):
        hub.resolve_base("own/name")
    (snapshot / "model-2-of-2.safetensors").write_bytes(b"x")
    assert hub.resolve_base("own/name") == snapshot
    assert connections == []


@pytest.mark.parametrize("gone", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_folder_is_a_base_model_only_with_all_its_files(gone: str, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (tmp_path / name).write_bytes(b"x")
    assert hub.resolve_base(str(tmp_path)) == tmp_path
    (tmp_path / gone).unlink()
    with pytest.raises(ModelError, match=f"'{tmp_path}' .* {gone}; .*save_pretrained"):
        hub.resolve_base(str(tmp_path))


def test_a_file_is_no_base_model(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"")
    with pytest.raises(ModelError, match=r"model\.bin.* file"):
        hub.resolve_base(str(tmp_path / "model.bin"))


def test_a_broken_index_of_shards_says_so(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text("[]")
    with pytest.raises(ModelError, match=r"index\.json is broken"):
        hub.resolve_base(str(tmp_path))


@pytest.mark.parametrize("reference", ["a/b--c", "-a/b", "own/..name", "own/name:../m.gguf", "x" * 99 + "/y"])
@pytest.mark.parametrize("download", [False, True])
def test_a_name_that_cannot_be_on_the_hub_is_a_model_error(
    reference: str, download: bool, cache: Path, connections: list[object]
) -> None:
    with pytest.raises(ModelError):
        hub.resolve(reference, download=download)


def test_weights_that_are_a_git_lfs_pointer_are_named(tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0a\nsize 9\n")
    with pytest.raises(ModelError, match=r"model\.safetensors: .*git lfs pull"):
        hub.resolve_base(str(tmp_path))


@pytest.mark.parametrize(
    ("reference", "meant"),
    [("bsae", "base"), ("genner-base", "base"), ("BASE", "base"), ("smal", "small"), ("my-model.gguf", None)],
)
def test_a_name_like_that_of_an_own_model_is_answered_with_that(reference: str, meant: str | None) -> None:
    for resolve in (hub.resolve, hub.resolve_base):
        with pytest.raises(ModelNotFound) as caught:
            resolve(reference)
        assert (f"did you mean {meant}?" in str(caught.value)) == (meant is not None)
        assert ("did you mean" in str(caught.value)) == (meant is not None)
