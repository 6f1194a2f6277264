"""Actors on a Ray cluster, which work through blocks.

Takes a job and blocks, gives what actors give, as it comes. An actor that dies (killed, out of memory, its machine
lost, its file unreadable for a moment, a bug) is replaced, and its block is done again by whoever is free. Knows
nothing of files.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import ray
from ray.exceptions import RayError, RayTaskError

from genner_cli import __version__
from genner_cli.cluster.actor import Batch, BlockExtractor, Job, Opened
from genner_cli.cluster.sizing import Size
from genner_cli.engine.statistics import Costs, Statistics
from genner_cli.errors import GennerError, ReadError, UsageError
from genner_cli.files import Block
from genner_cli.files.resuming import key_of

log = logging.getLogger("genner")
DEATHS = 3
"""So often in a row an actor, or whoever does a block, may die before it is given up."""
_TICK_SECONDS = 0.25
_PATIENCE_SECONDS = 60


class Given(NamedTuple):
    """Records of a block."""

    block: Block
    batch: Batch


class Done(NamedTuple):
    """All records of a block were given."""

    block: Block


class Lost(NamedTuple):
    """What was given of a block counts no more; it is done again."""

    block: Block


class Tick(NamedTuple):
    """Nothing happened for a moment."""


Event = Given | Done | Lost | Tick


@dataclass(eq=False, slots=True)
class _Seat:
    """The place of an actor, which outlives it. `whole`: the last records of its block have come."""

    actor: Any = None
    block: Block | None = None
    whole: bool = False
    opened: bool = False
    deaths: int = 0
    statistics: Statistics = field(default_factory=Statistics)


class Pool:
    """So many actors of a size, all on one job; a context manager.

    Raises each GennerError that is raised in them, but a ReadError, as other exceptions, only where it comes again.
    """

    def __init__(self, job: Job, size: Size) -> None:
        self._job = ray.put(job)
        self._class = ray.remote(num_cpus=size.cpus, num_gpus=size.gpus, scheduling_strategy="SPREAD")(BlockExtractor)
        self._seats = [_Seat() for _ in range(size.actors)]
        self._running: dict[Any, _Seat] = {}
        self._again: deque[Block] = deque()
        self._losses: Counter[Block] = Counter()
        self._said: set[str] = set()
        self._first: Opened | None = None
        self._earlier = Statistics()
        self.costs = Costs(0.0, 0.0, 0.0)

    def __enter__(self) -> Pool:
        for seat in self._seats:
            self._open(seat)
        return self

    def __exit__(self, *_: object) -> None:
        for seat in self._seats:
            self._end(seat)

    @property
    def statistics(self) -> Statistics:
        """The sums over all engines that there were."""
        total = self._earlier
        for seat in self._seats:
            total = total.plus(seat.statistics)
        return total

    @property
    def idle(self) -> bool:
        """Whether no actor has a block."""
        return not any(seat.block for seat in self._seats)

    def first(self) -> Opened:
        """What the first actor says that has opened the model."""
        told = time.monotonic() + _PATIENCE_SECONDS
        while not self._first:
            for _ in self._events():
                pass
            if time.monotonic() > told:
                log.warning("no actor has opened the model yet; `ray status` says what they wait for")
                told = math.inf
        return self._first

    def work(self, blocks: Iterator[Block]) -> Iterator[Event]:
        """Hands out blocks until there are none, and gives what happens."""
        self._hand_out(blocks)
        while self._again or not self.idle or self._waiting(blocks):
            yield from self._events()
            self._hand_out(blocks)

    def _waiting(self, blocks: Iterator[Block]) -> bool:
        """Whether there are blocks for which no actor was free; the next one is drawn to know."""
        block = next(blocks, None)
        if block:
            self._again.append(block)
        return block is not None

    def _hand_out(self, blocks: Iterator[Block]) -> None:
        busy = set(self._running.values())
        for seat in self._seats:
            if seat.opened and seat not in busy:
                seat.block, seat.whole = self._again.popleft() if self._again else next(blocks, None), False
                if seat.block:
                    self._start(seat, "extract", seat.block)

    def _open(self, seat: _Seat) -> None:
        seat.actor, seat.opened = self._class.remote(self._job), False
        self._start(seat, "open")

    def _start(self, seat: _Seat, method: str, *args: object) -> None:
        self._running[getattr(seat.actor, method).options(num_returns="streaming").remote(*args)] = seat

    def _events(self) -> Iterator[Event]:
        ready, _ = ray.wait(list(self._running), timeout=_TICK_SECONDS)
        yield Tick()
        for stream in ready:
            seat = self._running[stream] = self._running.pop(stream)  # to the end, so that each has its turn
            try:
                yield from self._taken(seat, ray.get(next(stream)))
            except StopIteration:
                del self._running[stream]
                yield from self._finished(seat)
            except RayError as error:
                del self._running[stream]
                yield from self._lost(seat, _reason(error))

    def _taken(self, seat: _Seat, value: Opened | Batch) -> Iterator[Event]:
        for level, text in value.said:
            if text not in self._said:
                log.log(level, "%s", text)
            self._said.add(text)
        if isinstance(value, Opened):
            self._first = self._first or value
            self._refuse_other(value)
            seat.opened = True
        elif seat.block:
            seat.whole, seat.statistics, self.costs = value.last, value.statistics, value.costs
            yield Given(seat.block, value)

    def _refuse_other(self, opened: Opened) -> None:
        first = self._first or opened
        if key_of(opened.options) != key_of(first.options) or {opened.genner, first.genner} != {__version__}:
            raise UsageError(
                f"machines {first.host} and {opened.host} do not have the same model and genner {__version__};"
                " install the same genner and put the same model everywhere"
            )

    def _finished(self, seat: _Seat) -> Iterator[Event]:
        """The end of a method: of a block, or of the opening."""
        if seat.block and not seat.whole:
            yield from self._lost(seat, "its records broke off")
        elif seat.block:
            yield Done(seat.block)
            seat.block, seat.deaths = None, 0

    def _lost(self, seat: _Seat, reason: str) -> Iterator[Event]:
        """An actor is gone: another takes its seat, and its block is done again."""
        log.warning("an actor died (%s); it is started again", reason)
        self._end(seat)
        self._earlier, seat.statistics = self._earlier.plus(seat.statistics), Statistics()
        seat.deaths += 1
        if seat.block:
            self._losses[seat.block] += 1
            yield Lost(seat.block)
            self._again.append(seat.block)
            if self._losses[seat.block] >= DEATHS:
                where = f"{seat.block.path}, bytes {seat.block.start:,} to {seat.block.end or 'its end'}"
                raise GennerError(f"{where}: {DEATHS} actors died of it ({reason}); see Ray's log, and run it again")
            seat.block = None
        if seat.deaths >= DEATHS:
            raise GennerError(
                f"an actor died {DEATHS} times in a row ({reason}); see Ray's log; if memory ran out, use fewer"
            )
        self._open(seat)

    def _end(self, seat: _Seat) -> None:
        with suppress(RayError):
            ray.kill(seat.actor)


def _reason(error: RayError) -> str:
    """Why an actor is gone. Raises the GennerError that it has ended with, but for one that may not come again."""
    if not isinstance(error, RayTaskError):
        return str(error).strip().split("\n")[0]
    if isinstance(error.cause, GennerError) and not isinstance(error.cause, ReadError):
        raise error.cause from None
    return str(error.cause) if isinstance(error.cause, ReadError) else repr(error.cause)
