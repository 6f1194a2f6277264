"""The folder of a base model: how long that of a GGUF is there, and disks that have no room for it."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from random_model import write_random_model

from convert.base import base_folder
from genner_cli.errors import DataError, ModelError, UsageError
from genner_cli.files.room import room_for
from genner_cli.training import checkpoints

NEEDED = "bytes to write"


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    return write_random_model(tmp_path / "model.gguf")


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """As a disk that fills up: the system refuses what would make a file longer, with an OSError."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_without_an_output_the_folder_is_there_for_the_block_only(gguf: Path) -> None:
    with base_folder(str(gguf)) as folder:
        assert (folder / "model.safetensors").is_file()
    assert not folder.parent.exists()


def test_the_folder_of_an_interrupted_run_is_taken_over(gguf: Path, tmp_path: Path) -> None:
    output = tmp_path / "new" / "adapter"
    with pytest.raises(KeyboardInterrupt), base_folder(str(gguf), output=output) as folder:
        raise KeyboardInterrupt
    assert folder == tmp_path / "new" / "adapter.base"
    made = (folder / "model.safetensors").stat()
    with base_folder(str(gguf), output=output) as folder:
        assert (folder / "model.safetensors").stat() == made
    assert not folder.exists()


def test_a_mistake_leaves_no_folder_behind(gguf: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError), base_folder(str(gguf), output=tmp_path / "adapter"):
        raise DataError("a document is wrong")
    assert not (tmp_path / "adapter.base").exists()


def test_the_folder_of_another_gguf_is_replaced_and_any_other_is_left_alone(gguf: Path, tmp_path: Path) -> None:
    other = write_random_model(tmp_path / "other.gguf", change={"general.name": "another"})
    output = tmp_path / "adapter"
    with pytest.raises(KeyboardInterrupt), base_folder(str(gguf), output=output):
        raise KeyboardInterrupt
    with base_folder(str(other), output=output) as folder:
        assert '"other.gguf"' in (folder / "gguf_source.json").read_text()
    mine = tmp_path / "adapter.base" / "notes.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(UsageError, match=r"adapter\.base exists"), base_folder(str(gguf), output=output):
        pass
    assert mine.read_text() == "mine"


def test_other_processes_of_a_training_have_folders_of_their_own(
    gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    with base_folder(str(gguf), output=tmp_path / "adapter") as folder:
        assert folder.name == "base"
    assert not (tmp_path / "adapter.base").exists()


def test_a_full_disk_is_reported_with_what_is_needed_and_what_helps(gguf: Path, tmp_path: Path) -> None:
    temporary = pytest.raises(ModelError, match=rf"{NEEDED}, [\d,]+ are free in .*TMPDIR")
    with files_of_at_most(100_000), temporary, base_folder(str(gguf)):
        pass
    beside = pytest.raises(ModelError, match=rf"{NEEDED}, [\d,]+ are free in {tmp_path}; .*-o")
    with files_of_at_most(100_000), beside, base_folder(str(gguf), output=tmp_path / "adapter"):
        pass
    assert not list(tmp_path.glob("adapter*"))


def test_too_little_room_is_reported_before_anything_is_written(tmp_path: Path) -> None:
    too_much = shutil.disk_usage(tmp_path).total + 1
    with pytest.raises(ModelError, match=f"{too_much:,} {NEEDED}"), room_for("a model", too_much, tmp_path):
        pytest.fail("it was begun")


def test_a_checkpoint_that_the_disk_refuses_says_how_to_resume(tmp_path: Path) -> None:
    with files_of_at_most(1000), pytest.raises(ModelError, match="--resume"):
        checkpoints.save(tmp_path / "state.safetensors", torch.nn.Linear(200, 200), {"step": 1})
    assert not list(tmp_path.iterdir())
