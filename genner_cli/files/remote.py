"""Files at an address, `s3://bucket/docs.jsonl` or `memory://docs.jsonl`: matched, read as a stream, and put whole.

The only home of fsspec, which needs the extra `remote` (and `s3`). Beside `hub.pulling` the one place that may open a
connection: to what the user named on the command line, with the settings of fsspec and s3fs (`AWS_ENDPOINT_URL` and
others of that kind). What goes wrong there is an `OSError`, as on the disk.
"""

from __future__ import annotations

import errno
import glob
import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from typing import IO, TYPE_CHECKING, Any, cast

from genner_cli.errors import UsageError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

SCHEMES = {"memory": "remote", "s3": "s3"}
"""Those that are tested, and the extra that each needs."""

_ADDRESS = re.compile(r"[A-Za-z][\w+.:-]*://")
_BLOCK = 2**20


def is_address(path: str) -> bool:
    """Whether a path names something elsewhere than on the disk."""
    return bool(_ADDRESS.match(path))


def check(address: str) -> None:
    """Raises UsageError for a scheme that is not known, or whose packages are not installed; opens no connection."""
    _system(address)


def matching(pattern: str) -> list[str]:
    """The addresses that a glob names, sorted, or the address itself if a file is there; raises UsageError."""
    system, inner = _system(pattern)
    try:
        with _as_oserror():
            names = [inner] if _is_file(system, inner) else _globbed(system, inner)
            return [system.unstrip_protocol(name) for name in names]
    except OSError as error:
        raise UsageError(f"{pattern}: cannot be reached ({error.strerror}); check address and settings") from error


def _is_file(system: Any, name: str) -> bool:
    """Not from the cache; `isfile` would report a server that cannot be reached as a missing file."""
    system.invalidate_cache()
    try:
        return bool(system.info(name)["type"] == "file")
    except FileNotFoundError:
        return False


def _globbed(system: Any, pattern: str) -> list[str]:
    if not glob.has_magic(pattern):
        return []
    return sorted(name for name, info in system.glob(pattern, detail=True).items() if info["type"] == "file")


def exists(address: str) -> bool:
    """Whether a file is there. Raises OSError where that cannot be found out."""
    system, inner = _system(address)
    with _as_oserror():
        return _is_file(system, inner)


def size(address: str) -> int:
    """The bytes of a file, 0 where it is gone."""
    system, inner = _system(address)
    try:
        with _as_oserror():
            return int(system.size(inner) or 0)
    except OSError:
        return 0


def canonical(address: str) -> str:
    """The one way to write it that `matching` uses: `memory:///a` for `memory://a`. Raises UsageError."""
    system, inner = _system(address)
    return str(system.unstrip_protocol(inner))


def opened(address: str) -> IO[bytes]:
    """The file to be read, from any place in it, a block in memory at a time."""
    system, inner = _system(address)
    with _as_oserror():
        file = system.open(inner, "rb", block_size=_BLOCK)
    return cast(IO[bytes], io.BufferedReader(_Stream(file), _BLOCK))


def put(local: str, address: str) -> None:
    """Puts a whole file there, in the place of what is there; a reader gets the one or the other."""
    system, inner = _system(address)
    with _as_oserror():
        system.put_file(local, inner)


def local_name(address: str) -> str:
    """A name in the current folder for what belongs to an address, another for each."""
    digest = blake2b(address.encode(), digest_size=4).hexdigest()
    return os.path.realpath(f"{address.rstrip('/').rsplit('/', 1)[-1]}@{digest}")


class _Stream(io.RawIOBase):
    """An open file whose errors are those of the disk."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        with _as_oserror():
            data = self._file.read(len(memoryview(buffer)))
        memoryview(buffer)[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        with _as_oserror():
            return int(self._file.seek(offset, whence))

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def _system(address: str) -> tuple[Any, str]:
    """The file system of an address, and its name there."""
    scheme, rest = address.split("://", 1)
    scheme = scheme.lower()
    if scheme not in SCHEMES:
        known = ", ".join(f"{each}://" for each in SCHEMES)
        raise UsageError(f"{address}: genner reads and writes {known} and files here; copy it to one of them")
    try:
        from fsspec.core import url_to_fs

        system, inner = url_to_fs(f"{scheme}://{rest}")
    except ImportError as error:
        extra = SCHEMES[scheme]
        raise UsageError(f"{address}: needs more packages ({error}); pip install 'genner[{extra}]'") from error
    return system, inner


@contextmanager
def _as_oserror() -> Iterator[None]:
    """Whatever a file system raises is an OSError with a text."""
    try:
        yield
    except OSError as error:
        kind = errno.ENOENT if isinstance(error, FileNotFoundError) else errno.EIO  # s3fs gives neither number nor text
        raise OSError(error.errno or kind, error.strerror or str(error)) from error
    except Exception as error:  # each of them has its own, such as botocore's
        raise OSError(errno.EIO, f"{type(error).__name__}: {error}") from error
