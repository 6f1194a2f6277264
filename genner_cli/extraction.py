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
from itertools import product
from typing import NamedTuple

from genner_cli.chunking import split
from genner_cli.errors import DataError
from genner_cli.formats import OutputFormat, output_format
from genner_cli.generation import Completion, Constraint, Generate, Request
from genner_cli.merging import merge, owned
from genner_cli.prompting import Prompt
from genner_cli.types import (
    Calibration,
    Chunk,
    Document,
    Entity,
    Extraction,
    FailedDocument,
    Label,
    Piece,
    Range,
    Reason,
)

DocumentOrFailure = Document | FailedDocument
UNASKED_RESULTS = 64
"""So many documents in a row may need no completion before control is handed back."""

WAITING_DOCUMENTS = 1024
WAITING_CHARACTERS = 16 * 2**20
"""No further document is drawn while so many, or so many characters of text, are drawn and not handed out: this is
what may wait for a slow document before it."""

PASS_CHUNKS = 512
"""Where labels take several passes, so many chunks are asked about in one before the next, which reads its labels."""


@dataclass(frozen=True, slots=True)
class Task:
    """What to extract, and how the model is asked. `depth` 1 is flat; `chunk_bytes` counts UTF-8.

    `min_score` is compared with what the calibration makes of a score. `passes`: the labels in runs, each of which is
    asked in a prompt of its own; without any, all of them stand in one. Labels in passes only keep others company, and
    their entities left out.
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

    @property
    def names(self) -> tuple[str, ...]:
        """The labels' names."""
        return tuple(label.name for label in self.labels)

    def by_pass(self) -> list[Task]:
        """A task of one prompt for each pass."""
        return [replace(self, labels=labels, passes=()) for labels in self.passes or (self.labels,)]


class _Part(NamedTuple):
    """What came of one chunk in one pass: its entities with offsets into the document, or its error."""

    text: str
    entities: tuple[Entity, ...] = ()
    error: str | None = None
    reason: Reason | None = None


@dataclass(slots=True)
class _Progress:
    """A document on its way. `parts`: by pass and chunk; `asked`: how many are to come; `whole`: no more are asked."""

    document: DocumentOrFailure
    chunks: int = 0
    asked: int = 0
    whole: bool = False
    parts: dict[tuple[int, int], _Part] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        return self.whole and len(self.parts) == self.asked

    @property
    def characters(self) -> int:
        return len(self.document.text) if isinstance(self.document, Document) else 0


class _Window:
    """The documents that are drawn and not handed out, in order."""

    def __init__(self) -> None:
        self._progresses: deque[_Progress] = deque()
        self._characters = 0

    @property
    def full(self) -> bool:
        return len(self._progresses) >= WAITING_DOCUMENTS or self._characters >= WAITING_CHARACTERS

    def enter(self, document: DocumentOrFailure) -> _Progress:
        self._progresses.append(_Progress(document))
        self._characters += self._progresses[-1].characters
        return self._progresses[-1]

    def leave(self, *, all: bool = False) -> Iterator[_Progress]:
        """Those at the front that are done, or all."""
        while self._progresses and (all or self._progresses[0].done):
            self._characters -= self._progresses[0].characters
            yield self._progresses.popleft()


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


def extract(documents: Iterable[DocumentOrFailure], task: Task, generate: Generate) -> Iterator[Extraction]:
    """One extraction for each document, in order; holds only the documents that are being worked on, and a bounded
    number that wait for one before them."""
    window = _Window()
    asked: dict[int, _Question] = {}
    for number, completion in generate(_requests(documents, task, window, asked)):
        if number in asked:
            asked.pop(number).answer(completion)
        yield from (_finish(progress, task) for progress in window.leave())
    yield from (_finish(progress, task) for progress in window.leave(all=True))


def _requests(
    documents: Iterable[DocumentOrFailure], task: Task, window: _Window, asked: dict[int, _Question]
) -> Iterator[Request | None]:
    output = output_format(task.format)
    passes = [
        (each, each.prompt.prefix(each.labels), output.grammar(each.names, depth=each.depth)) for each in task.by_pass()
    ]
    number = 0
    for block in _blocks(_items(documents, task, window), PASS_CHUNKS if len(passes) > 1 else 1):
        if not block:
            number += 1
            yield None
        for at, (each, prefix, grammar) in enumerate(passes):
            for item in block:
                asked[number] = _Question(item, at, each)
                number += 1
                yield _request(item.chunk.text, each, output, prefix=prefix, grammar=grammar)


def _items(documents: Iterable[DocumentOrFailure], task: Task, window: _Window) -> Iterator[_Item | None]:
    """The chunks of all documents; None where nothing is to be asked for a while."""
    passes = max(1, len(task.passes))
    unasked = 0
    for document in documents:
        progress = window.enter(document)
        unasked += 1
        for chunk in _chunks(document, task):
            progress.chunks += 1
            progress.asked += passes
            progress.whole = chunk.own_end == progress.characters
            unasked = 0
            yield _Item(progress, progress.chunks - 1, chunk)
        progress.whole = True
        if unasked >= UNASKED_RESULTS:
            unasked = 0
            yield None
        while window.full:
            yield None


def _chunks(document: DocumentOrFailure, task: Task) -> Iterator[Chunk]:
    if isinstance(document, Document):
        yield from split(document.text, task.chunk_bytes, task.overlap_bytes)


def _blocks(items: Iterable[_Item | None], size: int) -> Iterator[list[_Item]]:
    """Runs of so many items; None ends one early, and gives an empty one where there is none to end."""
    block: list[_Item] = []
    for item in items:
        if item:
            block.append(item)
        if item is None or len(block) == size:
            yield block
            block = []
    if block:
        yield block


def _request(text: str, task: Task, output: OutputFormat, *, prefix: tuple[Piece, ...], grammar: str) -> Request:
    return Request(
        prefix=prefix,
        rest=task.prompt.rest(text),
        grammar=grammar,
        lock=output.lock(text, task.names, depth=task.depth),
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
