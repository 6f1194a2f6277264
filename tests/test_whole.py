"""genner_cli.files.whole: in every writer, content is durable before it gets its name, and the name afterwards."""

from __future__ import annotations

import ast
import errno
import fcntl
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from genner_cli.errors import UsageError
from genner_cli.files import Block
from genner_cli.files.annotations import ANNOTATION_FORMATS, AnnotationOptions, Dropped
from genner_cli.files.blocks import cut, surveyed
from genner_cli.files.journal import Journal
from genner_cli.files.manifest import Manifest
from genner_cli.files.output_target import OutputTarget
from genner_cli.files.parts import Parts, Record
from genner_cli.files.whole import flush, make_folder, sync, whole, whole_folder, write_whole
from genner_cli.files.writing import Writer
from genner_cli.ledger import Outcome
from genner_cli.types import Document, Entity

ROOT = Path(__file__).parents[1]
RENAMING = {"replace", "rename", "renames", "move"}


class Recorder:
    """Which paths were made durable, and which renamed, in order."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.events: list[tuple[str, ...]] = []
        fsync, replace = os.fsync, os.replace

        def recorded_fsync(file: int) -> None:
            fsync(file)
            self.events.append(("sync", os.readlink(f"/proc/self/fd/{file}")))

        def recorded_replace(source: str | Path, target: str | Path) -> None:
            replace(source, target)
            self.events.append(("rename", os.path.realpath(source), os.path.realpath(target)))

        patch.setattr(os, "fsync", recorded_fsync)
        patch.setattr(os, "replace", recorded_replace)

    def renamed(self) -> set[str]:
        """The names that were given; each after its content was durable, and made durable next."""
        found = set()
        for at, event in enumerate(self.events):
            if event[0] == "rename":
                _, source, target = event
                assert ("sync", source) in self.events[:at], f"{source} may be empty after a power cut"
                assert self.events[at + 1] == ("sync", os.path.dirname(target)), f"the name {target} may be lost"
                found.add(os.path.basename(target))
        return found


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    return Recorder(monkeypatch)


def _text(folder: Path) -> None:
    write_whole(folder / "made", "text")


def _file(folder: Path) -> None:
    with whole(folder / "made") as partial:
        partial.write_bytes(b"data")


def _folder(folder: Path) -> None:
    with whole_folder(folder / "made") as partial:
        (partial / "inner").mkdir()
        (partial / "inner" / "file").write_bytes(b"data")


def _lines(folder: Path) -> None:
    with Writer(str(folder / "made.jsonl.gz")) as writer:
        writer.write(b"{}\n")


def _packed(folder: Path) -> None:
    (folder / "lines").write_bytes(b'{"text":"x","entities":[]}\n')
    OutputTarget(str(folder / "made.jsonl.zst")).publish(str(folder / "lines"))


def _unpacked(folder: Path) -> None:
    (folder / "lines").write_bytes(b"{}\n")
    OutputTarget(str(folder / "made.jsonl")).publish(str(folder / "lines"))


def _manifest(folder: Path) -> None:
    Manifest({}, "running", None, {}).write(str(folder / "made"))


def _journal(folder: Path) -> None:
    with Journal(str(folder / "made"), str(folder / "made.index")) as journal:
        new = Journal(str(folder / "new"), str(folder / "new.index")).__enter__()
        new.resume()
        new.append(b"{}\n", b"d" * 16, Outcome(0, 0, 0, None))
        journal.take_over(new)


def _part(folder: Path) -> None:
    (folder / "in.jsonl").write_bytes(b'{"text": "x"}\n')
    parts = Parts(str(folder / "made.jsonl"), surveyed(cut([str(folder / "in.jsonl")], 100)), b"key")
    block: Block = parts.missing()[0]
    parts.write(block, [Record(b"{}\n", b"d" * 16, Outcome(0, 0, 0, None))])
    parts.finish(block)


def _brat(folder: Path) -> None:
    documents = [Document("Ann ran", "a", (Entity(0, 3, "PER", "Ann"),))]
    ANNOTATION_FORMATS["brat"].write(iter(documents), str(folder / "made"), AnnotationOptions(), Dropped())


def _checkpoint(folder: Path) -> None:
    torch = pytest.importorskip("torch")
    from genner_cli.training import checkpoints

    checkpoints.save(folder / "made", torch.nn.Linear(2, 2), {"step": 1})


WRITERS: tuple[Callable[[Path], None], ...] = (
    _text, _file, _folder, _lines, _packed, _unpacked, _manifest, _journal, _part, _brat, _checkpoint,
)  # fmt: skip


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__.strip("_"))
def test_content_is_durable_before_its_name_and_the_name_after(
    write: Callable[[Path], None], tmp_path: Path, disk: Recorder
) -> None:
    write(tmp_path)
    renamed = disk.renamed()
    assert renamed
    assert all(name.startswith("made") or name.endswith(".part") for name in renamed)


def test_all_that_is_in_a_folder_is_durable(tmp_path: Path, disk: Recorder) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "file").touch()
    (tmp_path / "other").touch()
    sync(tmp_path)
    synced = {path for _, path in disk.events}
    assert synced == {str(tmp_path / name) for name in ("", "inner", "inner/file", "other")}


@pytest.mark.parametrize("number", [errno.EACCES, errno.EINVAL, errno.EIO])
def test_a_folder_that_cannot_be_synced_fails_only_where_the_disk_does(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def files_only(file: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{file}"):
            raise OSError(number, os.strerror(number))
        fsync(file)

    monkeypatch.setattr(os, "fsync", files_only)
    with nullcontext() if number != errno.EIO else pytest.raises(OSError, match=os.strerror(number)):
        write_whole(tmp_path / "made", "text")
    assert (tmp_path / "made").read_text() == "text"


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "made"
    path.write_text("before")

    def fail() -> None:
        with whole(path) as partial:
            partial.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def renames(source: str) -> list[int]:
    """The lines that give a file a name: `os.replace(...)`, `shutil.move(...)`, `path.rename(other)`."""
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    named = ((call, call.func) for call in calls if isinstance(call.func, ast.Attribute))
    return [
        call.lineno
        for call, function in named
        if function.attr in RENAMING
        and (len(call.args) == 1 or (isinstance(function.value, ast.Name) and function.value.id in ("os", "shutil")))
        and not call.keywords
    ]


def test_a_folder_that_cannot_be_made_is_a_usage_error(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "c"):
        with pytest.raises(UsageError, match=f"{path}: "):
            make_folder(path)


def test_no_other_module_gives_names() -> None:
    assert renames("import os\nos.replace(a, b)\na.rename(b)\n'x'.replace('a', 'b')\nreplace(a, b=c)") == [2, 3]
    paths = [path for folder in ("genner_cli", "convert", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
    found = {str(path.relative_to(ROOT)) for path in paths if renames(path.read_text(encoding="utf-8"))}
    assert found == {"genner_cli/files/whole.py"}


@pytest.mark.parametrize("known", [True, False])
def test_where_a_system_has_a_fuller_flush_it_is_asked_for_and_fsync_is_the_fallback(
    known: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on macOS, where fsync leaves data in the cache of the disk."""
    calls: list[tuple[str, int]] = []

    def full(descriptor: int, command: int) -> int:
        assert (os.fstat(descriptor).st_size, command) == (1, 51)
        calls.append(("full", descriptor))
        if not known:
            raise OSError(errno.ENOTSUP, "not supported")
        return 0

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", full)
    monkeypatch.setattr(os, "fsync", lambda descriptor: calls.append(("fsync", descriptor)))
    with open(tmp_path / "file", "wb", buffering=0) as file:
        file.write(b"x")
        flush(file.fileno())
        number = file.fileno()
    assert calls == [("full", number)] + [("fsync", number)] * (not known)
