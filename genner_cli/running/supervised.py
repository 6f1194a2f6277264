"""An engine in a child process as a backend; the child is started again when it dies.

When it does (an abort in llama.cpp, the system out of memory, an error that it raises), the requests it had in hand are
asked one by one; one that kills it again gets a completion with an error. This process loads no model library. Knows
nothing of documents.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path

from genner_cli.demonstrations import Query, Way
from genner_cli.engine.adapter import with_count
from genner_cli.engine.statistics import Costs, Statistics
from genner_cli.errors import ModelError, UsageError
from genner_cli.generation import Completion, Request, smaller_context
from genner_cli.running.backend import CHOSEN, ModelFacts
from genner_cli.running.child import (
    Answer,
    Finished,
    LabelsAsked,
    Logged,
    NearestAsked,
    Raised,
    Ranked,
    Ready,
    TaskMade,
    Wanted,
)
from genner_cli.running.process import Child, ChildDied
from genner_cli.running.spec import RunSpec
from genner_cli.tasks import Task
from genner_cli.types import Label

log = logging.getLogger("genner")
Numbered = tuple[int, Request]
CHILD = "from genner_cli.running.child import main; main()"


class SupervisedBackend:
    """Runs llama.cpp in a child process; `child`: the Python code of its main program."""

    def __init__(self, child: str = CHILD) -> None:
        self._child = child

    @contextmanager
    def open(self, spec: RunSpec, /) -> Iterator[SupervisedEngine]:
        """Opens model and engine in the child. Raises what opening them raises there."""
        with SupervisedEngine(spec, self._child) as engine:
            yield engine


class SupervisedEngine:
    """A model that is open in a child process (`backend.Opened`); a context manager.

    Raises what opening the model raises, but for errors at a request, which become completions with an error.
    """

    def __init__(self, spec: RunSpec, child: str = CHILD) -> None:
        self._spec = spec
        self._child = child
        self._in_hand: dict[int, Numbered] = {}  # by what the child calls them: its session's count
        self._earlier = Statistics()
        self.statistics = Statistics()
        self.costs = Costs(0.0, 0.0)
        try:
            self.facts = self._start()
        except ChildDied as death:
            remedy = smaller_context(spec.engine.context)
            raise ModelError(f"the engine {death} while the model was opened; {remedy}") from death
        self._stamps = _stamps(self.facts.files)
        self._spec = _resolved(spec, self.facts)

    def __enter__(self) -> SupervisedEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the child."""
        self._process.close()

    def generate(self, requests: Iterable[Request], /) -> Iterator[tuple[int, Completion]]:
        """Completions with the numbers of their requests, in the order they finish (`generation.Generate`)."""
        source = enumerate(requests)
        while True:
            try:
                yield from self._session(source)
                return
            except ChildDied as death:
                log.warning("the engine %s; it is started again", death)
                yield from self._one_by_one()

    def task_of(self, labels: tuple[Label, ...], /) -> Task:
        """The task for these labels (`backend.Opened`), made by the child, which waits for a request meanwhile.

        Raises UsageError, and ModelError where the child dies of it.
        """
        made = self._asked(LabelsAsked(labels), "for other labels")
        assert isinstance(made, TaskMade)
        if isinstance(made.task, UsageError):
            raise made.task
        return made.task

    def ranked(self, way: Way, query: Query, /) -> Sequence[int]:
        """The nearest examples by vectors, which the child has. Raises ModelError where the child dies of it."""
        found = self._asked(NearestAsked(way, query), "for the nearest examples")
        assert isinstance(found, Ranked)
        return found.numbers

    def _asked(self, question: LabelsAsked | NearestAsked, what: str) -> object:
        """The child's answer to what is asked in place of a request."""
        try:
            self._process.send(question)
            return self._received()
        except ChildDied as death:
            remedy = "run the same command again to resume"
            raise ModelError(f"the engine died when it was asked {what} ({death}); {remedy}") from death

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
        self._process.send(item[1] if item else Finished())

    def _received(self) -> object:
        """The next message that is not for the log. Raises what the child has raised, ChildDied if at a request."""
        while True:
            message = self._process.receive()
            if isinstance(message, Raised):
                if self._in_hand and not isinstance(message.error, UsageError):
                    raise self._failed(message.error)
                raise message.error
            if not isinstance(message, Logged):
                return message
            log.log(message.level, "%s", message.text)

    def _note(self, answer: Answer) -> None:
        self.statistics = self._earlier.plus(answer.statistics)
        self.costs = answer.costs

    def _failed(self, error: Exception) -> ChildDied:
        """The child ends with this exception of a request."""
        self._process.death()
        for note in getattr(error, "__notes__", ()):  # of a bug: the child's traceback
            log.warning("%s", note.strip())
        return ChildDied(f"failed ({type(error).__name__}: {error})")

    def _start_again(self) -> None:
        self._earlier = self.statistics
        for path, stamp in _stamps(self.facts.files).items():
            if self._stamps[path] != stamp:
                raise ModelError(f"{path} was replaced during the run; put it back, or start over with --restart")
        try:
            self._start()
        except ChildDied as death:
            raise ModelError(f"the engine {death} when it was started again; run the same command again") from death

    def _start(self) -> ModelFacts:
        self._process = Child(self._child)
        try:
            self._process.send(self._spec)
            ready = self._received()
        except BaseException:
            self.close()
            raise
        assert isinstance(ready, Ready)
        return ready.facts


def _resolved(spec: RunSpec, facts: ModelFacts) -> RunSpec:
    """The same, with the model's files in place of references to them."""
    model, *adapters = map(str, facts.files)
    adapter = with_count(adapters[0], spec.adapter or "") if adapters else None
    return replace(spec, model=model, adapter=adapter, download=False, chosen=facts.engine.get(CHOSEN))


def _stamps(files: Iterable[Path]) -> dict[Path, tuple[int, ...]]:
    """The files of the model, with what changes when one is replaced."""
    stats = {path: path.stat() for path in files}
    return {path: (each.st_dev, each.st_ino, each.st_size, each.st_mtime_ns) for path, each in stats.items()}


def _guilty(death: ChildDied) -> str:
    return f"the engine {death} at this text, twice; remove it, or use a smaller --context or another model"
