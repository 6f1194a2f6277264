"""Documents in, extractions out: composes chunking, prompts, formats and merging around an injected
`generate`. Output order is input order; a document that fails is a record, never an exception.
Knows nothing of files and of llama.cpp.
"""

from __future__ import annotations

import difflib
import math
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count, islice, product, repeat
from sys import intern
from time import monotonic
from typing import Any, NamedTuple

from genner_cli.chunking import split
from genner_cli.demonstrations import Demonstrations, Query, Rank, Way
from genner_cli.errors import DataError, UsageError
from genner_cli.formats import OutputFormat, output_format
from genner_cli.formats.shared.free_labels import is_free_label
from genner_cli.generation import OUT_OF_TIME, Completion, Constraint, Generate, Request
from genner_cli.merging import merge, owned
from genner_cli.patterns import PatternFinder
from genner_cli.prompting import Instructions, Prompt, hint_lines
from genner_cli.types import (
    Calibration,
    Chunk,
    Document,
    Entity,
    Extraction,
    FailedDocument,
    Label,
    Patterns,
    Piece,
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

LABEL_LISTS = 256
"""Lists of labels whose tasks are kept, where documents have their own."""


@dataclass(frozen=True, slots=True)
class Task:
    """What to extract, and how the model is asked. `depth` 1 is flat; `chunk_bytes` counts UTF-8.

    `min_score` is compared with the calibrated score. `passes`: the labels in runs, each of which is asked in a prompt
    of its own; without any, all of them stand in one. Labels that are only in passes are asked for because the model
    was trained on them together with `labels`; their entities are left out. `demonstrations`: those of each pass, none
    for a model that genner trained. `whole_words`: entities start and end at word boundaries. `seconds_per_document`:
    the time that a document may be worked on before it fails; None for any. `patterns`: of what is found beside the
    model; without any labels, of all that is found. `hinted`: the hints of documents stand in their prompts; else they
    only help to choose demonstrations. `open`: there are no labels to choose from, and each entity has one of any name,
    in a format with `free_labels`.
    """

    labels: tuple[Label, ...]
    prompt: Prompt
    format: str
    depth: int = 1
    chunk_bytes: int = 1000
    overlap_bytes: int | None = None
    constraint: Constraint = Constraint.SOURCE
    min_score: float = 0.0
    calibration: Calibration | None = None
    passes: tuple[tuple[Label, ...], ...] = ()
    demonstrations: tuple[Demonstrations, ...] = ()
    whole_words: bool = False
    seconds_per_document: float | None = None
    patterns: Patterns | None = None
    hinted: bool = False
    open: bool = False

    @classmethod
    def of(cls, instructions: Instructions, labels: Sequence[Label], **changes: Any) -> Task:
        """What a model is asked for these labels; `changes`: fields that differ from its instructions, but for None."""
        own = {name: getattr(instructions, name) for name in ("format", "depth", "chunk_bytes", "whole_words")}
        given = {name: value for name, value in changes.items() if value is not None}
        return cls(tuple(labels), instructions.prompt, **{**own, **given})

    @property
    def names(self) -> tuple[str, ...]:
        """The labels' names."""
        return tuple(label.name for label in self.labels)

    @property
    def in_two_passes(self) -> bool:
        """Whether demonstrations are chosen by the entities of a text, and nobody gives these as hints."""
        by_entities = (each.nearest and each.nearest.way in (Way.ENTITY, Way.SPAN) for each in self.demonstrations)
        return not self.hinted and any(by_entities)

    def ranked_by(self, rank: Rank) -> Task:
        """The same, with who compares vectors."""
        return self._nearest_with(rank=rank)

    def by_text(self) -> Task:
        """The same, with demonstrations chosen by the whole text."""
        return self._nearest_with(way=Way.SENTENCE)

    def _nearest_with(self, **changes: Any) -> Task:
        shown = (
            replace(each, nearest=replace(each.nearest, **changes)) if each.nearest else each
            for each in self.demonstrations
        )
        return replace(self, demonstrations=tuple(shown))

    def by_pass(self) -> list[Task]:
        """A task of one prompt for each pass."""
        shown = [(each,) for each in self.demonstrations] or repeat(())
        return [
            replace(self, labels=labels, passes=(), demonstrations=demonstrations)
            for labels, demonstrations in zip(self.passes or (self.labels,), shown, strict=False)
        ]


class _Pass(NamedTuple):
    """A task of one prompt, with what its requests have in common."""

    task: Task
    prefix: tuple[Piece, ...]
    grammar: str


@dataclass(frozen=True, slots=True, eq=False)
class _Asking:
    """What documents with the same labels are asked: a task, and its passes."""

    task: Task
    passes: tuple[_Pass, ...]

    @classmethod
    def of(cls, task: Task) -> _Asking:
        output = output_format(task.format)
        passes = (
            _Pass(each, each.prompt.prefix(each.labels), output.grammar(each.names, depth=each.depth))
            for each in task.by_pass()
            if each.labels or each.open
        )
        return cls(task, tuple(passes))


TaskOf = Callable[[tuple[Label, ...]], Task]
"""The task that asks for these labels. Raises UsageError where there can be none."""


class _Tasks:
    """What each document is asked: the task of all, or where there is `task_of`, one for its own labels."""

    def __init__(self, task: Task, task_of: TaskOf | None) -> None:
        self.of_all = _Asking.of(task)
        self._task_of = task_of
        self._known: dict[tuple[Label, ...], _Asking] = {}

    @property
    def in_blocks(self) -> bool:
        """Whether there is more than one prompt."""
        return self._task_of is not None or len(self.of_all.passes) > 1

    def of(self, document: DocumentOrFailure) -> _Asking:
        labels = document.labels if isinstance(document, Document) else None
        if labels is None or self._task_of is None:
            return self.of_all
        if labels not in self._known:
            if len(self._known) == LABEL_LISTS:
                del self._known[next(iter(self._known))]
            self._known[labels] = _Asking.of(self._task_of(labels))
        return self._known[labels]


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
    asking: _Asking
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
    task: Task

    def ask(self, output: OutputFormat, prefix: tuple[Piece, ...], grammar: str) -> Request | None:
        """The request; None for a document whose time is up, which has failed."""
        progress, seconds = self.item.progress, self.task.seconds_per_document
        left = None if seconds is None else seconds - progress.seconds
        if left is not None and left <= 0:
            progress.parts[self.number, self.item.number] = _too_slow(self.task)
            return None
        progress.start()
        request = _request(self.item, self.task, output, prefix=prefix, grammar=grammar)
        return request if left is None else replace(request, seconds=left)

    def answer(self, completion: Completion) -> None:
        self.item.progress.stop()
        slow = completion.error == OUT_OF_TIME
        part = _too_slow(self.task) if slow else _part(completion, self.item.chunk, self.task)
        self.item.progress.parts[self.number, self.item.number] = part


class _Window:
    """The documents that are drawn and not handed out, in order; draws more until it is full."""

    def __init__(self, documents: Iterable[DocumentOrFailure], tasks: _Tasks) -> None:
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
        try:
            return _Progress(document, self._tasks.of(document))
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
    tasks = _Tasks(task, task_of)
    window = _Window(documents, tasks)
    while not window.exhausted:
        questions: dict[int, _Question] = {}
        for number, completion in generate(_requests(window.items(), tasks, questions)):
            questions.pop(number).answer(completion)
            yield from window.done()
        assert not questions, "generate answers every request"
        yield from window.done()


def _requests(items: Iterator[_Item], tasks: _Tasks, questions: dict[int, _Question]) -> Iterator[Request]:
    """Requests about all items, in the order of blocks, labels, passes, chunks; notes each one's question by its
    number."""
    numbers = count()
    last = tasks.of_all
    while block := list(islice(items, PASS_CHUNKS if tasks.in_blocks else 1)):
        for asking, group in _grouped(block, last):
            last, output = asking, output_format(asking.task.format)
            for (at, (task, prefix, grammar)), item in product(enumerate(asking.passes), group):
                question = _Question(item, at, task)
                if request := question.ask(output, prefix, grammar):
                    questions[next(numbers)] = question
                    yield request


def _grouped(block: Iterable[_Item], first: _Asking) -> list[tuple[_Asking, list[_Item]]]:
    """The items of each task, in the order in which they come, but for those of the `first` one, which are first."""
    groups: dict[_Asking, list[_Item]] = {first: []}
    for item in block:
        groups.setdefault(item.progress.asking, []).append(item)
    return [(asking, group) for asking, group in groups.items() if group]


def _chunks(progress: _Progress) -> Iterator[Chunk]:
    if isinstance(progress.document, Document) and not progress.problem:
        task = progress.asking.task
        if task.labels or task.open:
            yield from split(progress.document.text, task.chunk_bytes, task.overlap_bytes)


def _request(item: _Item, task: Task, output: OutputFormat, *, prefix: tuple[Piece, ...], grammar: str) -> Request:
    text, prompt, shown = item.chunk.text, task.prompt, tuple[Piece, ...]()
    known = _hints(item)
    for demonstrations in task.demonstrations:  # of this pass: one, or none
        prefix, shown, prompt = demonstrations.pieces(task.labels, Query(item.progress.text, text, known or ()))
    hints = "" if known is None or not task.hinted else hint_lines(known, task.names)
    return Request(
        prefix=prefix,
        rest=shown + prompt.rest(text, hints),
        retrieved=len(shown),
        hinted=bool(hints),
        grammar=grammar,
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


def unknown_labels(labels: Sequence[Label], known: Sequence[Label]) -> dict[str, list[str]]:
    """For each label that a model was not trained on, the nearest names of those it was."""
    names = {label.name.casefold(): label.name for label in known}
    return {
        label.name: [names[near] for near in difflib.get_close_matches(label.name.casefold(), names, n=3, cutoff=0.0)]
        for label in labels
        if known and label.name not in names.values()
    }
