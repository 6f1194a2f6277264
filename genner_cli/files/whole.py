"""Files and folders that are whole or not there, also after a power cut.

What is written goes to PATH.partial, is made durable, and gets its name by `rename_durably`, through which every
writer of the project goes.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from genner_cli.errors import UsageError

_NO_FOLDERS = (errno.EACCES, errno.EPERM, errno.EINVAL, errno.ENOTSUP)
"""What the system says of folders that may be written and not read, and of file systems that sync files alone."""

_WINDOWS = sys.platform == "win32"
"""It syncs files that may be written, and no folders."""


def rename_durably(partial: str | Path, target: str | Path) -> None:
    """Gives a finished file or folder its name, and replaces what had it; content and name survive a power cut.

    Both paths lie in one folder. Raises OSError.
    """
    sync(partial)
    os.replace(partial, target)
    try:
        _sync_one(os.path.dirname(target) or ".")
    except OSError as error:
        if error.errno not in _NO_FOLDERS:
            raise


def sync(path: str | Path) -> None:
    """Makes a file, or a folder with all that is in it, durable."""
    for folder, _, names in os.walk(path):
        for name in names:
            _sync_one(os.path.join(folder, name))
        _sync_one(folder)
    if not os.path.isdir(path):
        _sync_one(path)


def _sync_one(path: str | Path) -> None:
    if _WINDOWS and os.path.isdir(path):
        return
    opened = os.open(path, os.O_RDWR if _WINDOWS else os.O_RDONLY)
    try:
        flush(opened)
    finally:
        os.close(opened)


def flush(descriptor: int) -> None:
    """Makes durable what was written to an open file. Raises OSError.

    On macOS fsync leaves it in the cache of the disk, and F_FULLFSYNC writes that too (fsync(2) there).
    """
    if sys.platform == "darwin":
        import fcntl

        with suppress(OSError):  # a file system that does not know it
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
    os.fsync(descriptor)


def make_folder(path: Path) -> None:
    """Makes the folder of an output, and those above it, if it is not there. Raises UsageError where it cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{path}: cannot be made ({error.strerror}); name another place after -o") from error


@contextmanager
def whole(out: Path) -> Iterator[Path]:
    """The path to write a file to; it becomes `out` when the block ends well and is removed when it fails."""
    partial = _partial(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield partial
        rename_durably(partial, out)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """The same for a folder, empty at first; raises UsageError where `out` exists already and is not empty."""
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise UsageError(f"{out} exists already; name a new folder, or remove this one first")
    partial = _partial(out)
    shutil.rmtree(partial, ignore_errors=True)  # of a run that was killed
    partial.mkdir(parents=True)
    try:
        yield partial
        rename_durably(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes text, in UTF-8, or bytes."""
    with whole(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


def _partial(out: Path) -> Path:
    return out.with_name(out.name + ".partial")
