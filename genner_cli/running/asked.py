"""A model in a child process that answers batches: closed questions, or requests for text.

The child is started again when it dies; what was asked in its batch is asked one by one then, and what kills it again
has no answer. The parent loads neither llama.cpp nor numpy.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar

from genner_cli.errors import DataError, GennerError, ModelError
from genner_cli.generation import Answer, Completion, Question, Request, smaller_context
from genner_cli.prompting import Instructions, Prompt
from genner_cli.running.process import Child, ChildDied, PipeEnd, served
from genner_cli.running.spec import RunSpec
from genner_cli.tasks import Task

if TYPE_CHECKING:
    from genner_cli.engine.model import Model

log = logging.getLogger("genner")
CHILD = "from genner_cli.running.asked import main; main()"
R = TypeVar("R", Answer, Completion)


class Opening(NamedTuple):
    """What the child is to open. `general`: the prompt of a model that genner did not train, which its chat template is
    put around, with 0 to `most` demonstrations."""

    file: Path
    spec: RunSpec
    general: Prompt
    most: int = 0


class Tasking(NamedTuple):
    """In place of a batch: what is this model asked in such a run? A list of one task is the answer."""

    spec: RunSpec


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
        self._process.close()

    def score(self, questions: Iterable[Question]) -> Iterator[tuple[int, Answer]]:
        """See `generation.Score`; all questions go to the child at once."""
        yield from enumerate(self._answers(list(questions), _unanswered))

    def generate(self, requests: Iterable[Request]) -> Iterator[tuple[int, Completion]]:
        """See `generation.Generate`; all requests go to the child at once."""
        yield from enumerate(self._answers(list(requests), _failed))

    @property
    def file(self) -> Path:
        """The model's GGUF."""
        return self._opening.file

    def task(self, spec: RunSpec) -> Task:
        """What the model is asked in a run with these labels and examples. Raises UsageError for files that cannot be
        used, ModelError where the process ends."""
        try:
            (task,) = self._answered(Tasking(spec))
        except DataError as error:  # its vocabulary cannot write them
            raise ModelError(f"{self.file}: {error}") from error
        except ChildDied as death:
            raise ModelError(f"{self.file}: its process {death} when it read the examples; try again") from death
        return task  # type: ignore[no-any-return]

    def _start(self) -> None:
        self._process = Child(self._code)
        try:
            opened = self._exchanged(self._opening)
        except ChildDied as death:
            remedy = smaller_context(self._opening.spec.engine.context)
            message = f"{self.file}: its process {death} while the model was opened; {remedy}"
            raise ModelError(message) from death
        except BaseException:  # a signal
            self._process.close()
            raise
        if isinstance(opened, Exception):
            self._process.close()
            raise opened
        self.instructions, self.prompts = opened

    def _exchanged(self, message: object) -> Any:
        """What the child answers. Raises ChildDied."""
        self._process.send(message)
        return self._process.receive()

    def _answers(self, batch: Sequence[Question | Request], failed: Callable[[str], R]) -> Iterator[R]:
        """Of all; what ends the process alone has failed."""
        try:
            yield from self._answered(batch) if batch else ()
        except ChildDied as death:
            log.warning("%s: its process %s; it is started again", self.file, death)
            self._start()
            for each in batch:
                yield self._alone(each, failed)

    def _answered(self, batch: Sequence[Question | Request] | Tasking) -> list[Any]:
        """What the child answers to each. Raises ChildDied, and what the child has raised."""
        found = self._exchanged(batch)
        if isinstance(found, Exception):
            raise found
        return list(found)

    def _alone(self, asked: Question | Request, failed: Callable[[str], R]) -> R:
        try:
            (found,) = self._answered([asked])
        except ChildDied as death:
            self._start()
            return failed(f"its process {death} at this question")
        return found  # type: ignore[no-any-return]


def _unanswered(error: str) -> Answer:
    return Answer((), error=error)


def _failed(error: str) -> Completion:
    return Completion("", error=error)


def main() -> None:
    """The child's side: answers batches."""
    with served() as connection:
        try:
            _serve(connection, connection.recv())
        except GennerError as error:
            connection.send(error)


def _serve(connection: PipeEnd, opening: Opening) -> None:
    from genner_cli.engine.chat import DAY
    from genner_cli.engine.engine import Engine
    from genner_cli.engine.model import Model
    from genner_cli.running.llama import task_of

    engine_options = opening.spec.engine
    with (
        Model(opening.file, gpu_layers=engine_options.gpu_layers) as model,
        Engine(model, engine_options) as engine,
    ):
        connection.send(_prompts(model, opening))
        while True:
            batch: list[Any] | Tasking = connection.recv()
            if isinstance(batch, Tasking):
                connection.send([task_of(model, batch.spec, DAY)])
                continue
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
    )
