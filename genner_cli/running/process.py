"""Python code that runs in a process of its own, at the other end of a pipe; and the code's side of that pipe.

What passes through the pipe are pickled values, between a process and its own child only. Knows nothing of models.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import Pipe
from typing import Any, Self

from genner_cli.openmp import short_waits

if sys.platform == "win32":
    from multiprocessing.connection import PipeConnection

    PipeEnd = PipeConnection
else:
    from multiprocessing.connection import Connection

    PipeEnd = Connection

PATIENCE_SECONDS = 5
GONE = (EOFError, BrokenPipeError, ConnectionResetError)
"""What a pipe raises whose other end is closed."""


class ChildDied(Exception):
    """The child ended; the message says how."""


class Child:
    """A child process; leaving the context ends it at once."""

    def __init__(self, code: str) -> None:
        """`code`: the Python code of its main program, which serves at `served`."""
        self._connection, theirs = Pipe()
        with theirs:
            self.process = _spawned(code, theirs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the child at once, which has nothing to lose."""
        self._connection.close()
        self.process.kill()
        self.process.wait()

    def send(self, message: object) -> None:
        """Raises ChildDied."""
        try:
            self._connection.send(message)
        except GONE:
            raise self.death() from None

    def receive(self) -> Any:
        """The next message, which is waited for. Raises ChildDied."""
        try:
            return self._connection.recv()
        except GONE:
            raise self.death() from None

    def death(self) -> ChildDied:
        """How it ended, of itself or by force after a while."""
        self._connection.close()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(PATIENCE_SECONDS)
        self.process.kill()
        status = self.process.wait()
        return ChildDied(f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with {status}")


def _spawned(code: str, connection: PipeEnd) -> subprocess.Popen[bytes]:
    """Python that runs `code`, with this process's module path: `-m` would look in the working folder first.

    Ctrl-C and SIGTERM to both do not reach it: this process decides what they mean.
    """
    end = connection.fileno()
    command = (sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}\n{code}", str(end))
    environment = {**os.environ, **short_waits(os.environ)}
    null = subprocess.DEVNULL
    if sys.platform == "win32":
        os.set_handle_inheritable(end, True)
        handed = subprocess.STARTUPINFO(lpAttributeList={"handle_list": [end]})
        apart = subprocess.CREATE_NEW_PROCESS_GROUP
        return subprocess.Popen(
            command, env=environment, startupinfo=handed, creationflags=apart, stdin=null, stdout=null
        )
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))  # which the child inherits
    try:
        return subprocess.Popen(command, env=environment, pass_fds=(end,), stdin=null, stdout=null)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def served() -> Iterator[PipeEnd]:
    """In the child: its end of the pipe to the parent, until that hangs up. The first argument names it: a file
    descriptor, or a handle of Windows.

    Where memory runs out, the system ends this process and not the one that holds the output.
    """
    with suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("1000")
    with suppress(*GONE), PipeEnd(int(sys.argv[1])) as connection:
        yield connection
