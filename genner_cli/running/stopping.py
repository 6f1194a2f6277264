"""Ctrl-C and SIGTERM during a long run: the first lets it finish what it has in hand, the second ends it at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")


class Stopped(KeyboardInterrupt):
    """A signal ended the run."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


class Stopper:
    """Handles both signals while it is open; a context manager.

    As long as nothing is in hand (before `feed` is drawn from), the first signal ends the run at once as well. In
    another thread than the main one it handles none, as Python has it.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._number = self._count = 0
        self._reading = True

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _: FrameType | None) -> None:
        self._number = self._number or number
        self._count += 1
        if self._reading or self._count > 1:
            raise Stopped(self._number)

    def feed(self, documents: Iterator[T]) -> Iterator[T]:
        """Hands documents on until a signal comes, even while it waits for one."""
        while not self._number:
            try:
                self._reading = True
                document = next(documents)
                self._reading = False
            except StopIteration:
                self._reading = False
                return
            except Stopped:
                self._reading = False
                if self._count > 1:
                    raise
                return
            yield document

    def check(self) -> None:
        """Raises `Stopped` if a signal came: not all documents were fed."""
        if self._number:
            raise Stopped(self._number)
