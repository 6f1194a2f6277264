"""Ctrl-C and SIGTERM during a long run: the first lets it finish what it has in hand, the second ends it at once.

So does the end of a grace period: whoever sends SIGTERM (Slurm, systemd, Kubernetes) sends SIGKILL soon after.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")
log = logging.getLogger("genner")
GRACE_SECONDS = 20.0
"""For what is in hand after the first signal; Kubernetes and Slurm wait 30 s by default."""

if sys.platform == "win32":  # has no clock that sends a signal: the grace period ends with a second Ctrl-C only
    _CLOCK: tuple[signal.Signals, ...] = ()

    def _set_clock(seconds: float) -> None:
        pass

else:
    _CLOCK = (signal.SIGALRM,)

    def _set_clock(seconds: float) -> None:
        signal.setitimer(signal.ITIMER_REAL, seconds)


class Stopped(KeyboardInterrupt):
    """A signal ended the run."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


class Stopper:
    """Handles both signals while it is open; a context manager. `grace`: seconds for what is in hand after the first.

    As long as nothing is in hand (before `feed` is drawn from), the first signal ends the run at once as well. In
    another thread than the main one it handles none, as Python has it.
    """

    def __init__(self, grace: float = GRACE_SECONDS) -> None:
        self._grace = grace
        self._before: dict[int, Any] = {}
        self._in_hand: dict[int, object] = {}  # by identity, in the order in which they were handed out
        self._number = self._count = 0
        self._reading = True

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            numbers = (signal.SIGINT, signal.SIGTERM, *_CLOCK)
            self._before = {number: signal.signal(number, self._handle) for number in numbers}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop_clock()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _: FrameType | None) -> None:
        """Of SIGALRM too, which the clock sends: it is the second signal then."""
        self._number = self._number or number
        self._count += 1
        if self._count > 1:
            self._stop_clock()
            raise Stopped(self._number)
        if self._in_hand:
            log.warning("%s", self._announcement())
            _set_clock(self._grace)
        if self._reading:
            raise Stopped(self._number)

    def _announcement(self) -> str:
        """What is waited for, and how long at most."""
        count = len(self._in_hand)
        first = next(iter(self._in_hand.values()))
        what = f"finishing {_name(first)}" + (f" and {count - 1:,} after it" if count > 1 else "")
        name = signal.Signals(self._number).name
        limit = f", for at most {self._grace:,.0f} s" if _CLOCK else ""
        return f"{name}: {what}{limit}; a second signal stops at once"

    def _stop_clock(self) -> None:
        if self._before:
            _set_clock(0)

    def feed(self, documents: Iterator[T]) -> Iterator[T]:
        """Hands documents on until a signal comes, even while it waits for one. Each is in hand until it is `done`."""
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
            self._in_hand[id(document)] = document
            yield document

    def done(self, document: object) -> None:
        """A document that was handed on is in hand no more."""
        self._in_hand.pop(id(document), None)

    def check(self) -> None:
        """Raises `Stopped` if a signal came: not all documents were fed."""
        if self._number:
            self._stop_clock()
            raise Stopped(self._number)


def _name(item: object) -> str:
    """A document, or a block of them, in a message."""
    source = getattr(item, "source", "") or getattr(item, "path", "") or "a document"
    text = getattr(item, "text", "")
    return f"{source} ({len(text):,} characters)" if text else source
