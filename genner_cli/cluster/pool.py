"""Actors on a Ray cluster, which work through blocks of the input, or answer requests.

Takes a run and blocks, gives what actors give, as it comes. An actor that dies (killed, out of memory, its machine
lost, its file unreadable for a moment, a bug) is replaced, and its block is done again by whoever is free. Knows
nothing of files.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, NamedTuple

import ray
from ray.exceptions import RayError, RayTaskError

from genner_cli.cluster.actor import Batch, Opened, Worker
from genner_cli.cluster.sizing import Size
from genner_cli.demonstrations import Query, Way
from genner_cli.engine.statistics import Costs, Statistics
from genner_cli.errors import GennerError, ReadError, UsageError
from genner_cli.files import Block
from genner_cli.generation import Completion, Request
from genner_cli.running.backend import ModelFacts, no_other_labels, no_vectors
from genner_cli.running.spec import RunSpec
from genner_cli.tasks import Task
from genner_cli.types import Label
from genner_cli.version import __version__

log = logging.getLogger("genner")
DEATHS = 3
"""Deaths in a row of an actor, or of those that do a block, before it is given up."""
REQUESTS = 64
"""Requests that an actor gets at a time: a few for each slot."""
_TICK_SECONDS = 0.25
_PATIENCE_SECONDS = 60


@dataclass(frozen=True, eq=False, slots=True)
class Requests:
    """Requests of one call; `first`: the number of the first one."""

    first: int
    requests: tuple[Request, ...]


Work = Block | Requests


class Given(NamedTuple):
    """Results of a block or of requests."""

    work: Work
    batch: Batch


class Done(NamedTuple):
    """All its results were given."""

    work: Work


class Lost(NamedTuple):
    """The results that were given do not count; it is done again."""

    work: Work


class Tick(NamedTuple):
    """Nothing happened for a moment."""


Event = Given | Done | Lost | Tick


@dataclass(eq=False, slots=True)
class _Seat:
    """The place of an actor, which outlives it. `whole`: the last results of its work have come."""

    actor: Any = None
    work: Work | None = None
    whole: bool = False
    opened: bool = False
    deaths: int = 0
    statistics: Statistics = field(default_factory=Statistics)


class RayBackend:
    """Runs engines in actors of a size, on a cluster that is joined."""

    def __init__(self, size: Size) -> None:
        self._size = size

    @contextmanager
    def open(self, spec: RunSpec, /) -> Iterator[Pool]:
        """Opens the model in each actor, and waits for the first. Raises what opening it raises there."""
        with Pool(replace(spec, engine=replace(spec.engine, threads=self._size.cpus)), self._size) as pool:
            pool.wait()
            yield pool


class Pool:
    """Actors with one model (`backend.Opened`); a context manager.

    Raises each GennerError that is raised in them, but a ReadError, as other exceptions, only where it comes again.
    """

    def __init__(self, spec: RunSpec, size: Size) -> None:
        self._spec = ray.put(spec)
        self._class = ray.remote(num_cpus=size.cpus, num_gpus=size.gpus, scheduling_strategy="SPREAD")(Worker)
        self._seats = [_Seat() for _ in range(size.actors)]
        self._running: dict[Any, _Seat] = {}
        self._again: deque[Work] = deque()
        self._losses: Counter[Work] = Counter()
        self._logged: set[str] = set()
        self._first: Opened | None = None
        self._earlier = Statistics()
        self.costs = Costs(0.0, 0.0)

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
        """Whether no actor has work."""
        return not any(seat.work for seat in self._seats)

    @property
    def facts(self) -> ModelFacts:
        """Those of the first actor that has opened the model."""
        assert self._first, "wait first"
        return self._first.facts

    @staticmethod
    def ranked(way: Way, query: Query, /) -> Sequence[int]:
        """Refuses (`backend.no_vectors`): an actor ranks the examples for a block itself."""
        return no_vectors(way, query)

    @staticmethod
    def task_of(labels: tuple[Label, ...], /) -> Task:
        """Refuses (`backend.no_other_labels`): an actor knows the labels of a block's documents itself."""
        return no_other_labels(labels)

    def wait(self) -> None:
        """Until an actor has opened the model."""
        impatient = time.monotonic() + _PATIENCE_SECONDS
        while not self._first:
            for _ in self._events():
                pass
            if time.monotonic() > impatient:
                log.warning("no actor has opened the model yet; `ray status` says what they wait for")
                impatient = math.inf

    def generate(self, requests: Iterable[Request], /) -> Iterator[tuple[int, Completion]]:
        """Completions with the numbers of their requests, in the order they finish (`generation.Generate`)."""
        answered: set[int] = set()
        for event in self.work(_batched(requests)):
            if isinstance(event, Given) and isinstance(event.work, Requests):
                for at, completion in event.batch.results:
                    if (number := event.work.first + at) not in answered:  # by an actor that was lost after that
                        answered.add(number)
                        yield number, completion

    def work(self, source: Iterator[Work]) -> Iterator[Event]:
        """Hands out blocks or requests until there are none, and gives what happens."""
        self._hand_out(source)
        while self._again or not self.idle or self._waiting(source):
            yield from self._events()
            self._hand_out(source)

    def _waiting(self, source: Iterator[Work]) -> bool:
        """Whether there is work for which no actor was free; the next one is drawn to know."""
        work = next(source, None)
        if work:
            self._again.append(work)
        return work is not None

    def _hand_out(self, source: Iterator[Work]) -> None:
        busy = set(self._running.values())
        for seat in self._seats:
            if seat.opened and seat not in busy:
                seat.work, seat.whole = self._again.popleft() if self._again else next(source, None), False
                if isinstance(seat.work, Requests):
                    self._start(seat, "answer", seat.work.requests)
                elif seat.work:
                    self._start(seat, "extract", seat.work)

    def _open(self, seat: _Seat) -> None:
        seat.actor, seat.opened = self._class.remote(self._spec, os.getcwd()), False
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
        for level, text in value.logged:
            if text not in self._logged:
                log.log(level, "%s", text)
            self._logged.add(text)
        if isinstance(value, Opened):
            self._first = self._first or value
            self._refuse_other(value)
            seat.opened = True
        elif seat.work:
            seat.whole, seat.statistics, self.costs = value.last, value.statistics, value.costs
            yield Given(seat.work, value)

    def _refuse_other(self, opened: Opened) -> None:
        first = self._first or opened
        if opened.key != first.key or {opened.genner, first.genner} != {__version__}:
            raise UsageError(
                f"machines {first.host} and {opened.host} do not have the same model and genner {__version__};"
                " install the same genner and put the same model everywhere"
            )

    def _finished(self, seat: _Seat) -> Iterator[Event]:
        """The end of a method: of work, or of the opening."""
        if seat.work and not seat.whole:
            yield from self._lost(seat, "its results broke off")
        elif seat.work:
            yield Done(seat.work)
            seat.work, seat.deaths = None, 0

    def _lost(self, seat: _Seat, reason: str) -> Iterator[Event]:
        """An actor is gone: another takes its seat, and its work is done again."""
        log.warning("an actor died (%s); it is started again", reason)
        self._end(seat)
        self._earlier, seat.statistics = self._earlier.plus(seat.statistics), Statistics()
        seat.deaths += 1
        if seat.work:
            self._losses[seat.work] += 1
            yield Lost(seat.work)
            self._again.append(seat.work)
            if self._losses[seat.work] >= DEATHS:
                where = _name(seat.work)
                raise GennerError(f"{where}: {DEATHS} actors died of it ({reason}); see Ray's log, and run it again")
            seat.work = None
        if seat.deaths >= DEATHS:
            raise GennerError(
                f"an actor died {DEATHS} times in a row ({reason}); see Ray's log; if memory ran out, use fewer"
            )
        self._open(seat)

    def _end(self, seat: _Seat) -> None:
        with suppress(RayError):
            ray.kill(seat.actor)


def _batched(requests: Iterable[Request]) -> Iterator[Work]:
    source, first = iter(requests), 0
    while batch := tuple(islice(source, REQUESTS)):
        yield Requests(first, batch)
        first += len(batch)


def _name(work: Work) -> str:
    if isinstance(work, Requests):
        return f"requests {work.first:,} to {work.first + len(work.requests) - 1:,}"
    return f"{work.path}, bytes {work.start:,} to {work.end or 'its end'}"


def _reason(error: RayError) -> str:
    """Why an actor is gone. Raises the GennerError that it has ended with, but for one that may not come again."""
    if not isinstance(error, RayTaskError):
        return str(error).strip().split("\n")[0]
    if isinstance(error.cause, GennerError) and not isinstance(error.cause, ReadError):
        raise error.cause from None
    return str(error.cause) if isinstance(error.cause, ReadError) else repr(error.cause)
