"""The child's side of `supervised`: opens the model and answers requests that come through a pipe.

What passes through the pipe are values of these classes and of `generation`. Prints nothing.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from genner_cli.demonstrations import Query, Way
from genner_cli.engine.statistics import Costs, Statistics
from genner_cli.errors import UsageError
from genner_cli.generation import Completion, Request
from genner_cli.running.backend import ModelFacts, Opened
from genner_cli.running.process import GONE, PipeEnd, served
from genner_cli.running.spec import RunSpec
from genner_cli.tasks import Task, TaskOf
from genner_cli.types import Label


class Ready(NamedTuple):
    """The model is open."""

    facts: ModelFacts


class Wanted(NamedTuple):
    """The child can take another request; `Finished` is the answer if there is none."""


class Finished(NamedTuple):
    """There are no more requests; or, from the child, all of them are answered."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A completion, with its request's number and the engine's figures as of then."""

    number: int
    completion: Completion
    statistics: Statistics
    costs: Costs


class LabelsAsked(NamedTuple):
    """In place of a request: what is the task for these labels? `TaskMade` is the answer."""

    labels: tuple[Label, ...]


class TaskMade(NamedTuple):
    """A task, or why there can be none."""

    task: Task | UsageError


class NearestAsked(NamedTuple):
    """In place of a request: which examples are nearest? `Ranked` is the answer."""

    way: Way
    query: Query


class Ranked(NamedTuple):
    """The numbers of examples, the nearest first."""

    numbers: Sequence[int]


class Logged(NamedTuple):
    """A line for the log."""

    level: int
    text: str


class Raised(NamedTuple):
    """The child ends with this exception."""

    error: Exception


class _Forward(logging.Handler):
    def __init__(self, connection: PipeEnd) -> None:
        super().__init__()
        self._connection = connection

    def emit(self, record: logging.LogRecord) -> None:
        self._connection.send(Logged(record.levelno, record.getMessage()))


def serve(connection: PipeEnd) -> None:
    """Answers requests until the parent hangs up."""
    logging.getLogger("genner").handlers[:] = [_Forward(connection)]
    spec: RunSpec = connection.recv()
    try:
        from genner_cli.running.llama import LlamaBackend  # not before, for the parent imports this file as well

        with LlamaBackend().open(spec) as opened:
            connection.send(Ready(opened.facts))
            while True:
                for number, completion in opened.generate(_requests(connection, opened)):
                    connection.send(Answer(number, completion, opened.statistics, opened.costs))
                connection.send(Finished())
    except GONE:
        raise
    except Exception as error:
        if not error.args or not hasattr(error, "exit_code"):
            error.add_note(traceback.format_exc())
        connection.send(Raised(error))


def _requests(connection: PipeEnd, opened: Opened) -> Iterator[Request]:
    while True:
        connection.send(Wanted())
        while isinstance(message := connection.recv(), LabelsAsked | NearestAsked):
            if isinstance(message, LabelsAsked):
                connection.send(TaskMade(_task_or_error(message.labels, opened.task_of)))
            else:
                connection.send(Ranked(opened.ranked(message.way, message.query)))
        if isinstance(message, Finished):
            return
        yield message


def _task_or_error(labels: tuple[Label, ...], task_of: TaskOf) -> Task | UsageError:
    try:
        return task_of(labels)
    except UsageError as error:
        return error


def main() -> None:
    """Serves the parent."""
    with served() as connection:
        serve(connection)
