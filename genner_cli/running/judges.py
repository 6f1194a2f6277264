"""Models on this machine as voters: llama.cpp in a child process, opened to answer closed questions.

The child is started again when it dies; the questions of its batch are asked one by one then, and one that kills it
again has no answer. The parent loads neither llama.cpp nor numpy.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from genner_cli import hub
from genner_cli.demonstrations import ByWords
from genner_cli.errors import GennerError, ModelError, UsageError
from genner_cli.files.hashing import fingerprint, hash_files
from genner_cli.files.reading import expand
from genner_cli.generation import Answer, Question, smaller_context
from genner_cli.methods.answered import Answered
from genner_cli.methods.posing import JUDGE_PROMPT, YES, Asked, Poser, Rendered, about, question_of
from genner_cli.prompting import Demonstration, Instructions, Prompt
from genner_cli.running.child import offer_to_be_killed_first
from genner_cli.running.examples import BUDGET_SHARE, SAMPLED, examples_of
from genner_cli.running.judging import Judge, Voter, log, source_names
from genner_cli.running.spec import SHOTS, RunSpec
from genner_cli.running.supervised import spawned
from genner_cli.types import Document

if TYPE_CHECKING:
    from genner_cli.engine.model import Model

CHILD = "from genner_cli.running.judges import main; main()"
_GONE = (EOFError, BrokenPipeError, ConnectionResetError)
DAY = "2026-01-01"
"""For chat templates that write a date: the same every day, so that a run can be resumed."""


def voters(models: Sequence[str | None], spec: RunSpec) -> list[Voter]:
    """The models of these references, None for the bundled one; none is loaded yet. Raises UsageError, ModelError."""
    files = [hub.resolve(model, download=spec.download) for model in models]
    if len(set(files)) < len(files):
        raise UsageError("--model names a model twice; name each once")
    names = source_names([str(file) for file in files])
    pool = examples_of(spec) if spec.examples else ()
    settings: dict[str, Any] = {
        "labels": [[label.name, label.definition] for label in spec.labels or ()],
        "no-chat-template": spec.no_chat_template,
    }
    if spec.examples:
        settings |= {"examples": hash_files(map(Path, expand([spec.examples]))), "shots": spec.shots or SHOTS}
    return [
        Voter(name, fingerprint([file]), partial(open_judge, file, spec, pool), settings)
        for name, file in zip(names, files, strict=True)
    ]


@contextmanager
def open_judge(file: Path, spec: RunSpec, pool: tuple[Document, ...] = (), child: str = CHILD) -> Iterator[Judge]:
    """One that genner trained is asked in its own extraction prompt, another one in a chat, in which it is shown
    questions about the documents of the pool with their answers. `child`: the Python code of the process. Raises
    ModelError."""
    with _Child(file, spec, pool, child) as opened:
        if pool and isinstance(opened.poser, Rendered):
            log.warning("%s: was trained by genner and is asked in its own prompt; it is shown no examples", file)
        yield Judge(opened.poser, opened.score)


class _Died(Exception):
    """The child ended."""


class _Child:
    """A model that is open in a child process."""

    def __init__(self, file: Path, spec: RunSpec, pool: tuple[Document, ...], code: str) -> None:
        self._file, self._spec, self._pool, self._code = file, spec, pool, code
        self.poser = self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._process.kill()
        self._process.wait()

    def _start(self) -> Poser:
        self._connection, theirs = Pipe()
        with theirs:
            self._process = spawned(self._code, theirs)
        try:
            poser = self._exchanged((self._file, self._spec, self._pool))
        except _Died as death:
            remedy = smaller_context(self._spec.engine.context)
            raise ModelError(f"{self._file}: its process ended while the model was opened; {remedy}") from death
        if isinstance(poser, Exception):
            self.__exit__()
            raise poser
        return poser  # type: ignore[no-any-return]

    def _exchanged(self, message: object) -> Any:
        """What the child answers. Raises _Died."""
        try:
            self._connection.send(message)
            return self._connection.recv()
        except _GONE:
            self.__exit__()
            raise _Died from None

    def score(self, questions: Iterable[Question]) -> Iterator[tuple[int, Answer]]:
        """See `generation.Score`; all questions go to the child at once."""
        batch = list(questions)
        try:
            yield from enumerate(self._answers(batch))
        except _Died:
            log.warning("%s: its process ended; it is started again", self._file)
            self._start()
            yield from enumerate(map(self._alone, batch))

    def _answers(self, batch: Sequence[Question]) -> list[Answer]:
        found = self._exchanged(batch)
        if isinstance(found, Exception):
            raise found
        return list(found)

    def _alone(self, question: Question) -> Answer:
        try:
            return self._answers([question])[0]
        except _Died:
            self._start()
            return Answer((), error="its process ended at this question")


def main() -> None:
    """The child's side: answers batches at the file descriptor that the first argument names."""
    offer_to_be_killed_first()
    with suppress(*_GONE), Connection(int(sys.argv[1])) as connection:
        file, spec, pool = connection.recv()
        try:
            _serve(connection, file, spec, pool)
        except GennerError as error:
            connection.send(error)


def _serve(connection: Connection, file: Path, spec: RunSpec, pool: tuple[Document, ...]) -> None:
    from genner_cli.engine.engine import Engine
    from genner_cli.engine.model import Model

    with Model(file, gpu_layers=spec.engine.gpu_layers) as model, Engine(model, spec.engine) as engine:
        connection.send(_poser(model, spec, pool))
        while True:
            batch: list[Question] = connection.recv()
            found = dict(engine.score(batch))
            connection.send([found[number] for number in range(len(batch))])


def _poser(model: Model, spec: RunSpec, pool: tuple[Document, ...]) -> Poser:
    from genner_cli.engine.chat import CHAT_TEMPLATE, literal_prompts

    shots = (spec.shots or SHOTS) if pool else 0

    instructions = Instructions.from_metadata(model.metadata)
    if instructions:
        return Rendered(instructions, spec.labels or ())
    prompts = literal_prompts(
        None if spec.no_chat_template else model.metadata.get(CHAT_TEMPLATE),
        model.path,
        general=JUDGE_PROMPT,
        most=shots,
        special=model.special_tokens,
        begins=model.begins,
        date=DAY,
    )
    labels = spec.labels or ()
    if not pool:
        return Asked(prompts[0], labels)
    room = min(spec.engine.context, model.trained_context) // BUDGET_SHARE
    return Asked(prompts[0], labels, answered=_answered(model, prompts, pool, room))


def _answered(model: Model, prompts: tuple[Prompt, ...], pool: tuple[Document, ...], room: int) -> Answered:
    """Answered questions of at most `room` tokens. Those of all texts would take long to count, so the budget is in
    bytes, by what a sample takes at most for one."""

    def size(*shown: Demonstration) -> int:
        return len(model.prompt(prompts[len(shown)].shown(shown)))

    label = max((entity.label for document in pool for entity in document.entities), key=len)
    texts = (each.text for each in pool[:: 1 + len(pool) // SAMPLED] if each.text)
    sample = [Demonstration(about(text, f'Is "" {question_of(label)}'), YES[0]) for text in texts]
    turn = size(Demonstration("", ""))
    sizes = [size(each) - turn for each in sample]
    shots = min(len(prompts) - 1, room // (turn + min(sizes)))
    if shots < len(prompts) - 1:
        log.warning("%s: %d of %d examples fit into %d tokens, a quarter of the context", model.path, shots,
                    len(prompts) - 1, room)  # fmt: skip
    rate = max(tokens / each.size for tokens, each in zip(sizes, sample, strict=True))
    return Answered(prompts, ByWords(pool), shots, int(max(0, room - shots * turn) / rate))
