"""Fetching from the Hub, against one on this machine: whole, checked, gone on with, and offline ever after."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub.constants
import pytest
from conftest import Run
from fake_hub import TOKEN, FakeHub, Repository, fake_hub, sha256

from genner_cli import hub
from genner_cli.errors import ModelError
from genner_cli.hub.pulling import pull

GGUF = hub.BUNDLED.read_bytes()
SHARDS = ("model-1-of-2.safetensors", "model-2-of-2.safetensors")
BASE = {
    "config.json": b"{}",
    "tokenizer.json": b'{"model": {}}',
    "tokenizer_config.json": b'{"eos_token": "x"}',
    "chat_template.jinja": b"{{ messages }}",
    "model.safetensors.index.json": json.dumps({"weight_map": dict(enumerate(SHARDS))}).encode(),
    "model-1-of-2.safetensors": bytes(range(256)) * 9000,
    "model-2-of-2.safetensors": b"second" * 1000,
}
NOT_NEEDED = {
    "README.md": b"#",
    ".gitattributes": b"",
    "consolidated.safetensors": b"the same again",
    "original/params.json": b"[]",
    "onnx/model.onnx": b"x",
    "pytorch_model.bin": b"x",
}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Hub cache."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture
def remote(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A Hub with a base model and a repository of GGUFs, which the library takes for the real one."""
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with fake_hub() as running:
        running.repositories["own/base"] = Repository({**BASE, **NOT_NEEDED}, revisions=("main", "v1", "refs/pr/1"))
        running.repositories["own/small"] = Repository({"m.gguf": GGUF, "README.md": b"#"}, commit="e" * 40)
        running.repositories["own/many"] = Repository({"q4.gguf": b"GGUF4", "deep/q8.gguf": b"GGUF8"}, commit="f" * 40)
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", running.address)
        template = running.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield running
    huggingface_hub.close_session()


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def leftovers(folder: Path) -> list[Path]:
    return list(folder.rglob("*.incomplete"))


def test_a_base_model_is_fetched_without_what_is_not_needed_and_found_offline(remote: FakeHub, cache: Path) -> None:
    pulled = pull("own/base")
    assert content(pulled.path) == BASE
    assert (pulled.pinned, pulled.files) == (f"own/base@{'d' * 40}", len(BASE))
    assert pulled.size == sum(map(len, BASE.values()))
    asked = len(remote.asked)
    assert hub.resolve_base("own/base") == pulled.path
    assert hub.resolve_base(pulled.pinned) == pulled.path
    assert hub.resolve_base("own/base", download=True) == pulled.path
    assert len(remote.asked) == asked


def test_of_weights_in_one_file_and_in_shards_the_file_is_fetched(remote: FakeHub, cache: Path) -> None:
    remote.repositories["own/both"] = Repository({**BASE, "model.safetensors": b"whole"})
    expected = {name: data for name, data in BASE.items() if not name.startswith("model")}
    assert content(pull("own/both").path) == {**expected, "model.safetensors": b"whole"}


def test_a_gguf_is_fetched_and_found_offline(remote: FakeHub, cache: Path) -> None:
    pulled = pull("own/small")
    assert pulled.path.read_bytes() == GGUF
    assert pulled.path.name == "m.gguf"
    asked = len(remote.asked)
    assert hub.resolve("own/small") == hub.resolve("own/small:m.gguf", download=True) == pulled.path
    assert len(remote.asked) == asked


def test_a_whole_gguf_is_fetched_though_there_is_one_in_shards(remote: FakeHub, cache: Path) -> None:
    remote.repositories["own/both"] = Repository({"m.gguf": GGUF, "q8-00001-of-00001.gguf": b"x"})
    assert pull("own/both").path.name == "m.gguf"


def test_extraction_with_download_fetches_the_checked_file(remote: FakeHub, cache: Path) -> None:
    assert hub.resolve("own/many:deep/q8.gguf", download=True).read_bytes() == b"GGUF8"
    assert hub.resolve_base("own/base", download=True).is_dir()
    with pytest.raises(ModelError, match=r"own/base .*no GGUF"):
        hub.resolve("own/base", download=True)


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("own/many", r"own/many:deep/q8\.gguf, own/many:q4\.gguf"),
        ("own/many:q5.gguf", r"own/many:q5\.gguf .* deep/q8\.gguf, q4\.gguf"),
        ("own/bin", r"own/bin .*GGUF.*config\.json"),
        ("own/shards", "own/shards .*--merge"),
        ("own/shards:m-00001-of-00002.gguf", "in shards.*--merge"),
        (str(hub.BUNDLED), "on this machine already"),
        ("own/none", "own/none .*`hf auth login`"),
        ("own/base@v9", "'v9' .*/own/base/refs"),
        ("not a name", "'not a name' .*owner/name"),
        ("own/na--me", "own/na--me: .*name"),
    ],
)
def test_what_is_not_there_is_one_line_with_a_remedy(remote: FakeHub, cache: Path, reference: str, said: str) -> None:
    remote.repositories["own/bin"] = Repository({"config.json": b"{}", "pytorch_model.bin": b"x"})
    remote.repositories["own/shards"] = Repository({f"m-0000{number}-of-00002.gguf": GGUF for number in (1, 2)})
    with pytest.raises(ModelError, match=said) as error:
        pull(reference)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("access", ["gated", "private"])
def test_gated_and_private_models_say_what_to_do_and_are_fetched_with_a_token(
    remote: FakeHub, cache: Path, access: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token goes to the Hub and never to where it redirects."""
    remote.repositories["own/shut"] = Repository(BASE, access=access)
    remedy = "terms at .*/own/shut, .*`hf auth login`" if access == "gated" else "own/shut .*private.*`hf auth login`"
    with pytest.raises(ModelError, match=remedy):
        pull("own/shut")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert content(pull("own/shut").path) == BASE
    assert f"Bearer {TOKEN}" in remote.seen_tokens["hub"]
    assert remote.seen_tokens["content"] == {""}


def test_a_revision_is_pinned(remote: FakeHub, cache: Path) -> None:
    first = pull("own/base", revision="v1")
    remote.repositories["own/base"] = Repository({**BASE, "config.json": b'{"new": 1}'}, commit="a" * 40)
    second = pull("own/base")
    assert (first.path / "config.json").read_bytes() == b"{}"
    assert (second.path / "config.json").read_bytes() == b'{"new": 1}'
    assert hub.resolve_base("own/base@v1") == hub.resolve_base(first.pinned) == first.path
    assert hub.resolve_base("own/base") == second.path
    assert remote.ranges.count("model-1-of-2.safetensors") == 1, "what both revisions have is fetched once"


@pytest.mark.parametrize("file", ["model-2-of-2.safetensors", "config.json"])
def test_a_file_that_differs_from_its_hash_is_removed_and_the_next_call_fetches_it(
    remote: FakeHub, cache: Path, file: str
) -> None:
    remote.damaged = {file}
    with pytest.raises(ModelError, match=f"{file} .* hash .*removed"):
        pull("own/base")
    assert not leftovers(cache)
    with pytest.raises(ModelError, match="local cache"):
        hub.resolve_base("own/base")
    remote.damaged = set()
    assert content(pull("own/base").path) == BASE


def test_a_file_that_went_bad_in_the_cache_is_fetched_again(remote: FakeHub, cache: Path) -> None:
    path = pull("own/small").path
    path.write_bytes(b"GGUF" + bytes(len(GGUF) - 4))
    assert pull("own/small").path.read_bytes() == GGUF


@pytest.mark.parametrize("ignores_ranges", [False, True])
def test_a_broken_connection_is_gone_on_with(remote: FakeHub, cache: Path, ignores_ranges: bool) -> None:
    remote.break_after, remote.ignores_ranges = [5_000_000], ignores_ranges
    assert pull("own/small").path.read_bytes() == GGUF
    assert remote.ranges[0] == "m.gguf"
    assert len(remote.ranges) == 2
    assert 0 < int(remote.ranges[1].split()[1]) <= 5_000_000


def test_an_interrupted_call_is_gone_on_with_by_the_next(remote: FakeHub, cache: Path) -> None:
    def stop(file: str, done: int, total: int) -> None:
        if file == "m.gguf" and done > 3_000_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull("own/small", progress=stop)
    (unfinished,) = leftovers(cache)
    here = unfinished.stat().st_size
    assert 3_000_000 < here < len(GGUF)
    with pytest.raises(ModelError, match="local cache"):
        hub.resolve("own/small")
    assert pull("own/small").path.read_bytes() == GGUF
    assert remote.ranges == ["m.gguf", f"m.gguf {here}"]
    assert not leftovers(cache)


def test_a_hub_that_sends_nothing_is_an_error_and_no_endless_loop(remote: FakeHub, cache: Path) -> None:
    remote.break_after = [0, 0, 0]
    with pytest.raises(ModelError, match=r"own/small: .*reached"):
        pull("own/small")
    assert len(remote.ranges) == 1


@pytest.mark.parametrize(("status", "said"), [(503, "own/small: .*503"), (429, "own/small: .*429")])
def test_a_hub_in_trouble_is_one_line(remote: FakeHub, cache: Path, status: int, said: str) -> None:
    remote.status = status
    with pytest.raises(ModelError, match=said):
        pull("own/small")


def test_a_hub_that_is_not_there_is_one_line(remote: FakeHub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ModelError, match=r"own/small: .*reached .*network"):
        pull("own/small")


def test_a_file_without_a_hash_is_not_fetched(remote: FakeHub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = [{"rfilename": "m.gguf", "size": 4}]
    monkeypatch.setattr(Repository, "siblings", lambda self: listed)
    with pytest.raises(ModelError, match=r"m\.gguf cannot be checked"):
        pull("own/small")


def test_a_full_disk_is_told_before_anything_is_fetched(
    remote: FakeHub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=9))
    with pytest.raises(ModelError, match="9 are free"):
        pull("own/small")
    assert remote.ranges == []


def test_progress_counts_the_bytes_of_all_files(remote: FakeHub, cache: Path) -> None:
    told: list[tuple[str, int, int]] = []
    pull("own/base", progress=lambda *step: told.append(step))
    done = [step[1] for step in told]
    assert done == sorted(done)
    assert {step[2] for step in told} == {sum(map(len, BASE.values()))} == {done[-1]}
    assert {step[0] for step in told} == set(BASE)


def test_a_place_of_ones_own_is_filled_and_other_files_there_are_left_alone(
    remote: FakeHub, cache: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "base"
    assert pull("own/base", out=folder).path == folder
    assert content(folder) == BASE
    assert pull("own/base", out=folder).path == folder, "a second time nothing differs"
    assert pull("own/small", out=tmp_path / "my.gguf").path == tmp_path / "my.gguf"
    assert (tmp_path / "my.gguf").read_bytes() == GGUF
    assert pull("own/small", out=folder).path == folder / "m.gguf"
    assert not cache.exists() or not list(cache.rglob("snapshots"))
    (folder / "config.json").write_bytes(b"mine")
    with pytest.raises(ModelError, match=r"config\.json .*another file"):
        pull("own/base", out=folder)
    assert (folder / "config.json").read_bytes() == b"mine"


def test_the_command_prints_the_path_and_what_was_pinned(
    genner: Callable[..., Run], remote: FakeHub, cache: Path
) -> None:
    run = genner("pull", "own/small")
    assert run.status == 0
    assert Path(run.stdout.decode().strip()) == hub.resolve("own/small")
    assert run.stderr.startswith(f"own/small@{'e' * 40}: 1 file, 12.6 MiB")
    bad = genner("pull", "own/none")
    assert (bad.status, bad.stdout) == (1, b"")
    assert bad.stderr.startswith("genner: own/none ")


def test_a_process_of_its_own_finds_offline_what_another_fetched(remote: FakeHub, tmp_path: Path) -> None:
    """With the settings that users have: HF_HOME, HF_ENDPOINT, HF_HUB_OFFLINE."""

    def genner(*args: str, **variables: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": remote.address, **variables}
        command = [sys.executable, "-m", "genner_cli", *args]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False)

    path = Path(genner("pull", "own/small").stdout.strip())
    assert sha256(path.read_bytes()) == sha256(GGUF)
    assert path.is_relative_to(tmp_path / "home" / "hub")
    offline = {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9"}
    assert f"file           {path}" in genner("info", "own/small", **offline).stdout
    assert "HF_HUB_OFFLINE" in genner("pull", "own/base", **offline).stderr
