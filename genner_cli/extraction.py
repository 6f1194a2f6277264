"""Documents in, extractions out: composes chunking, prompts, formats and merging around an injected
`generate`. Output order is input order; a document that fails is a record, never an exception.
Knows nothing of files and of llama.cpp.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count, islice, product
from sys import intern
from time import monotonic
from typing import NamedTuple

from genner_cli.chunking import split
from genner_cli.demonstrations import Query
from genner_cli.errors import DataError, UsageError
from genner_cli.formats import OutputFormat, output_format
from genner_cli.formats.shared.free_labels import is_free_label
from genner_cli.generation import OUT_OF_TIME, Completion, Generate, Request
from genner_cli.merging import merge, owned
from genner_cli.patterns import PatternFinder
from genner_cli.prompting import hint_lines
from genner_cli.tasks import Asking, Pass, Task, TaskOf, Tasks
from genner_cli.types import (
    Chunk,
    Document,
    Entity,
    Extraction,
    FailedDocument,
    Range,
    Reason,
)

DocumentOrFailure = Document | FailedDocument

WAITING_DOCUMENTS = 1024
WAITING_CHARACTERS = 16 * 2**20
"""No further document is drawn while as many documents, or characters of text, are drawn and not handed out: this is
what may wait for a slow document before it."""

PASS_CHUNKS = 512
"""Where labels take several passes, or differ between documents, each block of this many chunks is asked about with one
prompt before the next, for every change reads the labels again."""


class _Part(NamedTuple):
    """The result of one chunk in one pass: its entities with offsets into the document, or its error."""

    text: str
    entities: tuple[Entity, ...] = ()
    error: str | None = None
    reason: Reason | None = None


@dataclass(slots=True)
class _Progress:
    """A drawn document. `parts`: by pass and chunk; `asked`: how many are to come; `whole`: no more are asked.

    `running`: requests that are not answered yet, of which the first was made at `since`; `spent`: the seconds in which
    there were any, before. `problem`: why it cannot be asked about.
    """

    document: DocumentOrFailure
    asking: Asking
    problem: str | None = None
    chunks: int = 0
    asked: int = 0
    whole: bool = False
    parts: dict[tuple[int, int], _Part] = field(default_factory=dict)
    running: int = 0
    since: float = 0.0
    spent: float = 0.0

    @property
    def seconds(self) -> float:
        """How long it has been worked on."""
        return self.spent + (monotonic() - self.since if self.running else 0.0)

    def start(self) -> None:
        """A request about it is made."""
        self.since = self.since if self.running else monotonic()
        self.running += 1

    def stop(self) -> None:
        """A request about it is answered."""
        self.running -= 1
        if not self.running:
            self.spent += monotonic() - self.since

    @property
    def done(self) -> bool:
        return self.whole and len(self.parts) == self.asked

    @property
    def text(self) -> str:
        return self.document.text if isinstance(self.document, Document) else ""

    @property
    def characters(self) -> int:
        return len(self.text)


class _Item(NamedTuple):
    """A chunk to ask about."""

    progress: _Progress
    number: int
    chunk: Chunk


class _Question(NamedTuple):
    """A request that is not answered yet: about which chunk, and in which pass."""

    item: _Item
    number: int
    asked: Pass

    @property
    def task(self) -> Task:
        return self.asked.task

    def ask(self, output: OutputFormat) -> Request | None:
        """The request; None for a document whose time is up, which has failed."""
        progress, seconds = self.item.progress, self.task.seconds_per_document
        left = None if seconds is None else seconds - progress.seconds
        if left is not None and left <= 0:
            progress.parts[self.number, self.item.number] = _too_slow(self.task)
            return None
        progress.start()
        request = _request(self.item, self.asked, output)
        return request if left is None else replace(request, seconds=left)

    def answer(self, completion: Completion) -> None:
        self.item.progress.stop()
        slow = completion.error == OUT_OF_TIME
        part = _too_slow(self.task) if slow else _part(completion, self.item.chunk, self.task)
        self.item.progress.parts[self.number, self.item.number] = part


class _Window:
    """The documents that are drawn and not handed out, in order; draws more until it is full."""

    def __init__(self, documents: Iterable[DocumentOrFailure], tasks: Tasks) -> None:
        self._documents = iter(documents)
        self._tasks = tasks
        self._progresses: deque[_Progress] = deque()
        self._characters = 0
        self._finder = PatternFinder(patterns) if (patterns := tasks.of_all.task.patterns) else None
        self.exhausted = False

    @property
    def _full(self) -> bool:
        return len(self._progresses) >= WAITING_DOCUMENTS or self._characters >= WAITING_CHARACTERS

    def items(self) -> Iterator[_Item]:
        """The chunks of further documents, until the window is full or there are none."""
        while not self._full:
            document = next(self._documents, None)
            if document is None:
                self.exhausted = True
                return
            yield from self._items_of(document)

    def _items_of(self, document: DocumentOrFailure) -> Iterator[_Item]:
        progress = self._progress(document)
        self._progresses.append(progress)
        self._characters += progress.characters
        passes = len(progress.asking.passes)
        for chunk in _chunks(progress):
            progress.chunks += 1
            progress.asked += passes
            progress.whole = chunk.own_end == progress.characters
            yield _Item(progress, progress.chunks - 1, chunk)
        progress.whole = True

    def _progress(self, document: DocumentOrFailure) -> _Progress:
        labels = document.labels if isinstance(document, Document) else None
        try:
            return _Progress(document, self._tasks.of(labels))
        except UsageError as error:  # of its labels
            return _Progress(document, self._tasks.of_all, problem=f"{document.source}: {error}")

    def done(self) -> Iterator[Extraction]:
        """Takes out the documents at the front that are done."""
        while self._progresses and self._progresses[0].done:
            progress = self._progresses.popleft()
            self._characters -= progress.characters
            yield _with_patterns(_finish(progress), self._finder, progress.asking.task.depth)


def extract(
    documents: Iterable[DocumentOrFailure], task: Task, generate: Generate, task_of: TaskOf | None = None
) -> Iterator[Extraction]:
    """One extraction for each document, in order; holds the documents that are being worked on, and a bounded number
    that wait for one before them. `task_of`: for documents with labels of their own, which are asked about in groups.

    Only a full window ends a call of `generate` early: a long run of documents without requests fills it, or a slow
    document with many behind it.
    """
    tasks = Tasks(task, task_of)
    window = _Window(documents, tasks)
    while not window.exhausted:
        questions: dict[int, _Question] = {}
        for number, completion in generate(_requests(window.items(), tasks, questions)):
            questions.pop(number).answer(completion)
            yield from window.done()
        assert not questions, "generate answers every request"
        yield from window.done()


def _requests(items: Iterator[_Item], tasks: Tasks, questions: dict[int, _Question]) -> Iterator[Request]:
    """Requests about all items, in the order of blocks, labels, passes, chunks; notes each one's question by its
    number."""
    numbers = count()
    last = tasks.of_all
    while block := list(islice(items, PASS_CHUNKS if tasks.in_blocks else 1)):
        for asking, group in _grouped(block, last):
            last, output = asking, output_format(asking.task.format)
            for (at, each), item in product(enumerate(asking.passes), group):
                question = _Question(item, at, each)
                if request := question.ask(output):
                    questions[next(numbers)] = question
                    yield request


def _grouped(block: Iterable[_Item], first: Asking) -> list[tuple[Asking, list[_Item]]]:
    """The items of each task, in the order in which they come, but for those of the `first` one, which are first."""
    groups: dict[Asking, list[_Item]] = {first: []}
    for item in block:
        groups.setdefault(item.progress.asking, []).append(item)
    return [(asking, group) for asking, group in groups.items() if group]


def _chunks(progress: _Progress) -> Iterator[Chunk]:
    if isinstance(progress.document, Document) and not progress.problem:
        task = progress.asking.task
        if task.labels or task.open:
            yield from split(progress.document.text, task.chunk_bytes, task.overlap_bytes)


def _request(item: _Item, asked: Pass, output: OutputFormat) -> Request:
    text, task, known = item.chunk.text, asked.task, _hints(item)
    prefix, shown, prompt = asked.pieces(Query(item.progress.text, text, known or ()))
    hints = "" if known is None or not task.hinted else hint_lines(known, task.names)
    return Request(
        prefix=prefix,
        rest=shown + prompt.rest(text, hints),
        retrieved=len(shown),
        hinted=bool(hints),
        grammar=asked.grammar,
        lock=output.lock(text, task.names, depth=task.depth, whole_words=task.whole_words),
        allowance=2 * len(text) + 64,
        constraint=task.constraint,
    )


def _hints(item: _Item) -> tuple[Entity, ...] | None:
    """The hints of the document that lie in the chunk, with offsets into it."""
    document, chunk = item.progress.document, item.chunk
    if not isinstance(document, Document) or document.hints is None:
        return None
    start, end = chunk.start, chunk.start + len(chunk.text)
    inside = (hint for hint in document.hints if start <= hint.start and hint.end <= end)
    return tuple(replace(hint, start=hint.start - start, end=hint.end - start) for hint in inside)


def _part(completion: Completion, chunk: Chunk, task: Task) -> _Part:
    try:
        entities = entities_of(completion, chunk.text, task)
    except DataError as error:
        return _Part(completion.text, (), str(error), Reason.ENGINE if completion.error else Reason.COMPLETION)
    return _Part(completion.text, tuple(owned(chunk, entities)))


def _too_slow(task: Task) -> _Part:
    limit = f"it took longer than {task.seconds_per_document:g} s"
    message = f"{limit}; raise --seconds-per-document, or split the document, and use --retry-errors"
    return _Part("", (), message, Reason.ENGINE)


def _finish(progress: _Progress) -> Extraction:
    document, task = progress.document, progress.asking.task
    problem = document.message if isinstance(document, FailedDocument) else progress.problem
    if isinstance(document, FailedDocument) or problem:
        return Extraction(document, error=problem, reason=Reason.INPUT)
    passes = len(progress.asking.passes)
    parts = [progress.parts.pop(key) for key in product(range(passes), range(progress.chunks))]
    result = Extraction(document, completions=tuple(part.text for part in parts), chunks=progress.chunks)
    failed = [part for part in parts if part.error is not None]
    if failed:
        reason = Reason.ENGINE if any(part.reason is Reason.ENGINE for part in failed) else Reason.COMPLETION
        return replace(result, error=f"{document.source}: {failed[0].error}", reason=reason)
    entities: Iterable[Entity] = merge((entity for part in parts for entity in part.entities), task.depth)
    if task.calibration and task.calibration.holds_for(task.names):
        entities = task.calibration.applied(entities)
    names = set(task.names)
    asked = (one for one in entities if task.open or one.label in names)
    kept = (one for one in asked if (one.score or 0.0) >= task.min_score)
    return replace(result, entities=tuple(kept))


def _with_patterns(result: Extraction, finder: PatternFinder | None, depth: int) -> Extraction:
    """With what the patterns find, unless the document failed."""
    document = result.document
    if finder is None or result.error is not None or not isinstance(document, Document):
        return result
    try:
        return replace(result, entities=finder.merged(document.text, result.entities, depth))
    except DataError as error:
        return replace(result, entities=(), error=f"{document.source}: {error}", reason=Reason.PATTERN)


def entities_of(completion: Completion, text: str, task: Task) -> list[Entity]:
    """The scored entities of one completion, of the labels asked for; raises DataError where it does not parse."""
    if completion.error:
        raise DataError(completion.error)
    entities = output_format(task.format).parse(completion.text, text)
    names = {name: name for name in task.names}  # one string for all entities of a label
    if task.open:
        names = {one.label: intern(one.label) for one in entities if is_free_label(one.label)}
    asked = (entity for entity in entities if entity.label in names)
    return [replace(one, label=names[one.label], score=score(one.rendering, completion)) for one in asked]


def score(rendering: Sequence[Range], completion: Completion) -> float:
    """The probability of an entity's rendering, given all that was written before it, in [0, 1].

    The product, over the tokens that overlap the rendering (opening, mention, label, closing; without
    entities inside it), of each token's probability among its legal alternatives: softmax over the
    tokens that the source lock allows there, over the whole vocabulary with constraint format or off.
    So it counts where the entity opens, that it does not close earlier, where it closes and its label.
    """
    touched: set[int] = set()
    for part in rendering:
        start = len(completion.text[: part.start].encode())
        end = start + len(completion.text[part.start : part.end].encode())
        first = bisect_right(completion.ends, start)
        last = bisect_left(completion.ends, end)
        touched.update(range(first, min(last + 1, len(completion.ends))))
    return math.exp(sum(completion.log_probabilities[token] or 0.0 for token in touched))
