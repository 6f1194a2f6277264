"""One writer at a time: a lock on a file of its own, which is there as long as it is held.

The lock is the system's, so that a killed process holds none; the file that it leaves is taken over.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import IO

import portalocker

from genner_cli.errors import UsageError


class Lock:
    """A lock that processes of one machine, or of one file system that passes locks on, have one after the other.

    Its file stands apart from what it guards: on Windows, others can neither read nor replace a locked file.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._file: IO[bytes] | None = None

    def acquire(self) -> None:
        """Raises BlockingIOError where another holds it, UsageError where the file cannot be made or locked."""
        while self._file is None:
            file = self._opened()
            try:
                portalocker.lock(file, portalocker.LOCK_EX | portalocker.LOCK_NB)
                if self._stands(file):
                    self._file = file
            except portalocker.AlreadyLocked as error:
                raise BlockingIOError(f"{self.path}: another process holds the lock") from error
            except (OSError, portalocker.LockException) as error:
                raise UsageError(f"{self.path}: cannot be locked ({error}); write to another disk with -o") from error
            finally:
                if self._file is None:
                    file.close()

    def _stands(self, file: IO[bytes]) -> bool:
        """Whether it is still there: another may have released the lock, and removed its file, while it was opened."""
        try:
            return os.path.samestat(os.fstat(file.fileno()), os.stat(self.path))
        except FileNotFoundError:
            return False

    def _opened(self) -> IO[bytes]:
        try:
            return open(self.path, "ab")
        except OSError as error:
            raise UsageError(f"{self.path}: {error.strerror}; name another file or folder after -o") from error

    def forget(self) -> None:
        """Removes the file that a killed process left. Nobody else may want the lock meanwhile."""
        if self._file is None:
            with suppress(OSError):
                os.unlink(self.path)

    def release(self) -> None:
        """Removes the file; nothing where the lock is not held."""
        if self._file is None:
            return
        file, self._file = self._file, None
        with file, suppress(OSError):  # Windows removes no open file
            os.unlink(self.path)
        if sys.platform == "win32":
            with suppress(OSError):  # another process may have it open already
                os.unlink(self.path)
