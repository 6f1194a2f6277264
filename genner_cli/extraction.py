"""Documents in, extractions out: composes chunking, prompts, formats and merging around an injected
`generate`. Output order is input order; a document that fails is a record, never an exception.
Knows nothing of files and of llama.cpp.
"""

from __future__ import annotations

import difflib
import math
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count, islice, product, repeat
from typing import Any, NamedTuple

from genner_cli.chunking import split
from genner_cli.demonstrations import Demonstrations
from genner_cli.errors import DataError
from genner_cli.formats import OutputFormat, output_format
from genner_cli.generation import Completion, Constraint, Generate, Request
from genner_cli.merging import merge, owned
from genner_cli.patterns import PatternFinder
from genner_cli.prompting import Instructions, Prompt
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
"""Where labels take several passes, each block of this many chunks is asked about in one pass before the next, for
every change of pass reads its labels again."""


@dataclass(frozen=True, slots=True)
class Task:
    """What to extract, and how the model is asked. `depth` 1 is flat; `chunk_bytes` counts UTF-8.

    `min_score` is compared with the calibrated score. `passes`: the labels in runs, each of which is asked in a prompt
    of its own; without any, all of them stand in one. Labels that are only in passes are asked for because the model
    was trained on them together with `labels`; their entities are left out. `demonstrations`: those of each pass, none
    for a model that genner trained. `whole_words`: entities start and end at word boundaries. `patterns`: of what is
    found beside the model; without any labels, of all that is found.
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
    patterns: Patterns | None = None

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

    def by_pass(self) -> list[Task]:
        """A task of one prompt for each pass."""
        shown = [(each,) for each in self.demonstrations] or repeat(())
        return [
            replace(self, labels=labels, passes=(), demonstrations=demonstrations)
            for labels, demonstrations in zip(self.passes or (self.labels,), shown, strict=False)
        ]


class _Part(NamedTuple):
    """The result of one chunk in one pass: its entities with offsets into the document, or its error."""

    text: str
    entities: tuple[Entity, ...] = ()
    error: str | None = None
    reason: Reason | None = None


@dataclass(slots=True)
class _Progress:
    """A drawn document. `parts`: by pass and chunk; `asked`: how many are to come; `whole`: no more are asked."""

    document: DocumentOrFailure
    chunks: int = 0
    asked: int = 0
    whole: bool = False
    parts: dict[tuple[int, int], _Part] = field(default_factory=dict)

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

    def answer(self, completion: Completion) -> None:
        part = _part(completion, self.item.chunk, self.task)
        self.item.progress.parts[self.number, self.item.number] = part


class _Window:
    """The documents that are drawn and not handed out, in order; draws more until it is full."""

    def __init__(self, documents: Iterable[DocumentOrFailure], task: Task) -> None:
        self._documents = iter(documents)
        self._task = task
        self._progresses: deque[_Progress] = deque()
        self._characters = 0
        self._finder = PatternFinder(task.patterns) if task.patterns else None
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
        progress = _Progress(document)
        self._progresses.append(progress)
        self._characters += progress.characters
        passes = max(1, len(self._task.passes))
        for chunk in _chunks(document, self._task):
            progress.chunks += 1
            progress.asked += passes
            progress.whole = chunk.own_end == progress.characters
            yield _Item(progress, progress.chunks - 1, chunk)
        progress.whole = True

    def done(self) -> Iterator[Extraction]:
        """Takes out the documents at the front that are done."""
        while self._progresses and self._progresses[0].done:
            progress = self._progresses.popleft()
            self._characters -= progress.characters
            yield _with_patterns(_finish(progress, self._task), self._finder, self._task.depth)


def extract(documents: Iterable[DocumentOrFailure], task: Task, generate: Generate) -> Iterator[Extraction]:
    """One extraction for each document, in order; holds the documents that are being worked on, and a bounded number
    that wait for one before them.

    Only a full window ends a call of `generate` early: a long run of documents without requests fills it, or a slow
    document with many behind it.
    """
    window = _Window(documents, task)
    while not window.exhausted:
        questions: dict[int, _Question] = {}
        for number, completion in generate(_requests(window.items(), task, questions)):
            questions.pop(number).answer(completion)
            yield from window.done()
        assert not questions, "generate answers every request"
        yield from window.done()


def _requests(items: Iterator[_Item], task: Task, questions: dict[int, _Question]) -> Iterator[Request]:
    """Requests about all items, in the order of blocks, passes, chunks; notes each one's question by its number."""
    output = output_format(task.format)
    passes = [
        (each, each.prompt.prefix(each.labels), output.grammar(each.names, depth=each.depth))
        for each in task.by_pass()
        if each.labels
    ]
    numbers = count()
    while block := list(islice(items, PASS_CHUNKS if len(passes) > 1 else 1)):
        for at, (each, prefix, grammar) in enumerate(passes):
            for item in block:
                questions[next(numbers)] = _Question(item, at, each)
                yield _request(item, each, output, prefix=prefix, grammar=grammar)


def _chunks(document: DocumentOrFailure, task: Task) -> Iterator[Chunk]:
    if isinstance(document, Document) and task.labels:
        yield from split(document.text, task.chunk_bytes, task.overlap_bytes)


def _request(item: _Item, task: Task, output: OutputFormat, *, prefix: tuple[Piece, ...], grammar: str) -> Request:
    text, rest = item.chunk.text, task.prompt.rest(item.chunk.text)
    for demonstrations in task.demonstrations:  # of this pass: one, or none
        prefix, rest = demonstrations.pieces(task.labels, item.progress.text, text)
    return Request(
        prefix=prefix,
        rest=rest,
        grammar=grammar,
        lock=output.lock(text, task.names, depth=task.depth, whole_words=task.whole_words),
        allowance=2 * len(text) + 64,
        constraint=task.constraint,
    )


def _part(completion: Completion, chunk: Chunk, task: Task) -> _Part:
    try:
        entities = entities_of(completion, chunk.text, task)
    except DataError as error:
        return _Part(completion.text, (), str(error), Reason.ENGINE if completion.error else Reason.COMPLETION)
    return _Part(completion.text, tuple(owned(chunk, entities)))


def _finish(progress: _Progress, task: Task) -> Extraction:
    document = progress.document
    if isinstance(document, FailedDocument):
        return Extraction(document, error=document.message, reason=Reason.INPUT)
    passes = max(1, len(task.passes))
    parts = [progress.parts.pop(key) for key in product(range(passes), range(progress.chunks))]
    result = Extraction(document, completions=tuple(part.text for part in parts), chunks=progress.chunks)
    failed = [part for part in parts if part.error is not None]
    if failed:
        reason = Reason.ENGINE if any(part.reason is Reason.ENGINE for part in failed) else Reason.COMPLETION
        return replace(result, error=f"{document.source}: {failed[0].error}", reason=reason)
    entities: Iterable[Entity] = merge((entity for part in parts for entity in part.entities), task.depth)
    if task.calibration:
        entities = task.calibration.applied(entities)
    names = set(task.names)
    kept = (one for one in entities if one.label in names and (one.score or 0.0) >= task.min_score)
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
