"""A model in a child process that answers batches: closed questions, or requests for text.

The child is started again when it dies; what was asked in its batch is asked one by one then, and what kills it again
has no answer. The parent loads neither llama.cpp nor numpy.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar

from genner_cli.errors import GennerError, ModelError
from genner_cli.generation import Answer, Completion, Question, Request, smaller_context
from genner_cli.prompting import Instructions, Prompt
from genner_cli.running.child import offer_to_be_killed_first
from genner_cli.running.spec import RunSpec
from genner_cli.running.supervised import spawned

if TYPE_CHECKING:
    from genner_cli.engine.model import Model

log = logging.getLogger("genner")
CHILD = "from genner_cli.running.asked import main; main()"
_GONE = (EOFError, BrokenPipeError, ConnectionResetError)
_ENDED = "its process ended at this question"
DAY = "2026-01-01"
"""For chat templates that write a date: the same every day, so that a run can be resumed."""
R = TypeVar("R", Answer, Completion)


class Opening(NamedTuple):
    """What the child is to open. `general`: the prompt of a model that genner did not train, which its chat template is
    put around, with 0 to `most` demonstrations."""

    file: Path
    spec: RunSpec
    general: Prompt
    most: int = 0


class AskedModel:
    """A model that is open in a child process; a context manager.

    `instructions`: of a model that genner trained. `prompts[n]`: the general prompt with n demonstrations; of a model
    that genner trained there are none. `child`: the Python code of the process. Raises ModelError.
    """

    instructions: Instructions | None
    prompts: tuple[Prompt, ...]

    def __init__(self, opening: Opening, child: str = CHILD) -> None:
        self._opening, self._code = opening, child
        self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._process.kill()
        self._process.wait()

    def score(self, questions: Iterable[Question]) -> Iterator[tuple[int, Answer]]:
        """See `generation.Score`; all questions go to the child at once."""
        yield from enumerate(self._answers(list(questions), Answer((), error=_ENDED)))

    def generate(self, requests: Iterable[Request]) -> Iterator[tuple[int, Completion]]:
        """See `generation.Generate`; all requests go to the child at once."""
        yield from enumerate(self._answers(list(requests), Completion("", error=_ENDED)))

    def _start(self) -> None:
        self._connection, theirs = Pipe()
        with theirs:
            self._process = spawned(self._code, theirs)
        try:
            opened = self._exchanged(self._opening)
        except _Died as death:
            remedy = smaller_context(self._opening.spec.engine.context)
            message = f"{self._opening.file}: its process ended while the model was opened; {remedy}"
            raise ModelError(message) from death
        if isinstance(opened, Exception):
            self.__exit__()
            raise opened
        self.instructions, self.prompts = opened

    def _exchanged(self, message: object) -> Any:
        """What the child answers. Raises _Died."""
        try:
            self._connection.send(message)
            return self._connection.recv()
        except _GONE:
            self.__exit__()
            raise _Died from None

    def _answers(self, batch: Sequence[Question | Request], without: R) -> Iterator[R]:
        """Of all; `without` for what ends the process alone."""
        try:
            yield from self._answered(batch) if batch else ()
        except _Died:
            log.warning("%s: its process ended; it is started again", self._opening.file)
            self._start()
            for each in batch:
                yield self._alone(each, without)

    def _answered(self, batch: Sequence[Question | Request]) -> list[Any]:
        found = self._exchanged(batch)
        if isinstance(found, Exception):
            raise found
        return list(found)

    def _alone(self, asked: Question | Request, without: R) -> R:
        try:
            (found,) = self._answered([asked])
        except _Died:
            self._start()
            return without
        return found  # type: ignore[no-any-return]


class _Died(Exception):
    """The child ended."""


def main() -> None:
    """The child's side: answers batches at the file descriptor that the first argument names."""
    offer_to_be_killed_first()
    with suppress(*_GONE), Connection(int(sys.argv[1])) as connection:
        try:
            _serve(connection, connection.recv())
        except GennerError as error:
            connection.send(error)


def _serve(connection: Connection, opening: Opening) -> None:
    from genner_cli.engine.engine import Engine
    from genner_cli.engine.model import Model

    engine_options = opening.spec.engine
    with (
        Model(opening.file, gpu_layers=engine_options.gpu_layers) as model,
        Engine(model, engine_options) as engine,
    ):
        connection.send(_prompts(model, opening))
        while True:
            batch: list[Any] = connection.recv()
            asked = engine.score if isinstance(batch[0], Question) else engine.generate
            found = dict(asked(batch))
            connection.send([found[number] for number in range(len(batch))])


def _prompts(model: Model, opening: Opening) -> tuple[Instructions | None, tuple[Prompt, ...]]:
    from genner_cli.engine.chat import CHAT_TEMPLATE, literal_prompts

    if instructions := Instructions.from_metadata(model.metadata):
        return instructions, ()
    return None, literal_prompts(
        None if opening.spec.no_chat_template else model.metadata.get(CHAT_TEMPLATE),
        model.path,
        general=opening.general,
        most=opening.most,
        special=model.special_tokens,
        begins=model.begins,
        date=DAY,
    )
