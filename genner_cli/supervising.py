"""An engine in a process of its own, which is started again when it dies.

Takes requests, gives completions, as `generation.Generate` says. When the child dies (an abort in llama.cpp, the
system out of memory, an error that it raises), the requests it had in hand are asked one by one; one that kills it
again gets a completion with an error. Knows nothing of documents.
"""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

from genner_cli.api import ExtractOptions, Extractor, model_files
from genner_cli.engine.statistics import Costs, Statistics
from genner_cli.errors import ModelError, UsageError
from genner_cli.extraction import Task
from genner_cli.generation import Completion, Request, smaller_context
from genner_cli.serving import Answer, Finished, Raised, Ready, Said, Wanted

log = logging.getLogger("genner")
Numbered = tuple[int, Request | None]
CHILD = "from genner_cli.serving import main; main()"
PATIENCE_SECONDS = 5
_GONE = (EOFError, BrokenPipeError, ConnectionResetError)


class ChildDied(Exception):
    """The child ended; the message says how."""


class SupervisedEngine:
    """Opens model and engine in a child process; a context manager.

    Raises what `open_task` and `Engine` raise, but for errors at a request, which become completions with an error.
    """

    def __init__(self, options: ExtractOptions, *, child: str = CHILD) -> None:
        self._options = options
        self._child = child
        self._in_hand: dict[int, Numbered] = {}  # by what the child calls them: its session's count
        self._earlier = Statistics()
        self.statistics = Statistics()
        self.costs = Costs(0.0, 0.0, 0.0)
        try:
            self.task = self._start()
        except ChildDied as death:
            remedy = smaller_context(options.engine.context)
            raise ModelError(f"the engine {death} while the model was opened; {remedy}") from death
        self._files = _stamps(options)

    def __enter__(self) -> SupervisedEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the child at once, which has nothing to lose."""
        self._connection.close()
        self._process.kill()
        self._process.wait()

    def generate(self, requests: Iterable[Request | None]) -> Iterator[tuple[int, Completion]]:
        """Completions with the numbers of their requests, in the order they finish (`generation.Generate`)."""
        source = enumerate(requests)
        while True:
            try:
                yield from self._session(source)
                return
            except ChildDied as death:
                log.warning("the engine %s; it is started again", death)
                yield from self._one_by_one()

    def _one_by_one(self) -> Iterator[tuple[int, Completion]]:
        """What was in hand when the child died. Whoever kills it alone is guilty."""
        suspects, self._in_hand = self._in_hand, {}
        self._start_again()
        for suspect in suspects.values():
            try:
                yield from self._session(iter([suspect]))
            except ChildDied as death:
                yield from ((number, Completion("", error=_guilty(death))) for number, _ in self._in_hand.values())
                self._in_hand = {}
                self._start_again()

    def _session(self, requests: Iterator[Numbered]) -> Iterator[tuple[int, Completion]]:
        """Answers requests until there are none. Raises ChildDied; `_in_hand` then has those without an answer."""
        counted = count()
        while not isinstance(message := self._received(), Finished):
            if isinstance(message, Wanted):
                self._give(next(requests, None), counted)
            elif isinstance(message, Answer):
                self._note(message)
                number, _ = self._in_hand.pop(message.number)
                yield number, message.completion

    def _give(self, item: Numbered | None, counted: Iterator[int]) -> None:
        if item:
            self._in_hand[next(counted)] = item
        try:
            self._connection.send(item[1] if item else Finished())
        except _GONE:
            raise self._death() from None

    def _received(self) -> object:
        """The next message that is not for the log. Raises what the child has raised, ChildDied if at a request."""
        while True:
            try:
                message = self._connection.recv()
            except _GONE:
                raise self._death() from None
            if isinstance(message, Raised):
                if self._in_hand and not isinstance(message.error, UsageError):
                    raise self._death(message.error)
                raise message.error
            if not isinstance(message, Said):
                return message
            log.log(message.level, "%s", message.text)

    def _note(self, answer: Answer) -> None:
        self.statistics = self._earlier.plus(answer.statistics)
        self.costs = answer.costs

    def _death(self, error: Exception | None = None) -> ChildDied:
        """`error`: the last that was heard of the child."""
        self._connection.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(PATIENCE_SECONDS)
        self._process.kill()
        status = self._process.wait()
        if not error:
            return ChildDied(f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with {status}")
        for note in getattr(error, "__notes__", ()):  # of a bug: the child's traceback
            log.warning("%s", note.strip())
        return ChildDied(f"failed ({type(error).__name__}: {error})")

    def _start_again(self) -> None:
        self._earlier = self.statistics
        for path, stamp in _stamps(self._options).items():
            if self._files.get(path) != stamp:
                raise ModelError(f"{path} was replaced during the run; put it back, or begin anew by --restart")
        try:
            self._start()
        except ChildDied as death:
            raise ModelError(f"the engine {death} when it was started again; run the same command again") from death

    def _start(self) -> Task:
        self._connection, theirs = Pipe()
        with theirs:
            self._process = _spawned(self._child, theirs)
        try:
            return self._opened()
        except BaseException:
            self.close()
            raise

    def _opened(self) -> Task:
        try:
            self._connection.send(self._options)
        except _GONE:
            raise self._death() from None
        ready = self._received()
        assert isinstance(ready, Ready)
        return ready.task


def _spawned(child: str, connection: Connection) -> subprocess.Popen[bytes]:
    """Python that runs `child`, with this process's module path: `-m` would look in the working folder first.

    It inherits that signals are blocked, and leaves them so: this process decides what a signal to both means.
    """
    fd = connection.fileno()
    command = (sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}\n{child}", str(fd))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        return subprocess.Popen(command, pass_fds=(fd,), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _stamps(options: ExtractOptions) -> dict[Path, tuple[int, ...]]:
    """The files of the model, with what changes when one is replaced."""
    stats = {path: path.stat() for path in model_files(options)}
    return {path: (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns) for path, found in stats.items()}


def _guilty(death: ChildDied) -> str:
    return f"the engine {death} at this text, twice; leave it out, or use a smaller --context or another model"


@contextmanager
def open_supervised(options: ExtractOptions) -> Iterator[Extractor]:
    """Like `api.open_extractor`, with the engine in a process of its own."""
    with SupervisedEngine(options) as engine:
        yield Extractor(engine.task, engine)
