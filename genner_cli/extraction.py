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

from genner_cli.chunking import split
from genner_cli.errors import DataError
from genner_cli.formats import OutputFormat, output_format
from genner_cli.generation import Completion, Constraint, Generate, Request
from genner_cli.merging import merge
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


@dataclass(frozen=True, slots=True)
class Task:
    """What to extract, and how the model is asked. `depth` 1 is flat; `chunk_bytes` counts UTF-8.

    `min_score` is compared with what the calibration makes of a score.
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

    @property
    def names(self) -> tuple[str, ...]:
        """The labels' names."""
        return tuple(label.name for label in self.labels)


@dataclass(slots=True)
class _Progress:
    """A document on its way: its chunks and what has come back for each."""

    document: DocumentOrFailure
    chunks: list[Chunk] = field(default_factory=list)
    completions: dict[int, Completion] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        return len(self.completions) == len(self.chunks)


def extract(documents: Iterable[DocumentOrFailure], task: Task, generate: Generate) -> Iterator[Extraction]:
    """One extraction for each document, in order; holds only the documents that are being worked on."""
    under_way: deque[_Progress] = deque()
    owners: dict[int, tuple[_Progress, int]] = {}
    for number, completion in generate(_requests(documents, task, under_way, owners)):
        if number in owners:
            progress, chunk_number = owners.pop(number)
            progress.completions[chunk_number] = completion
        while under_way and under_way[0].done:
            yield _finish(under_way.popleft(), task)
    while under_way:
        yield _finish(under_way.popleft(), task)


def _requests(
    documents: Iterable[DocumentOrFailure],
    task: Task,
    under_way: deque[_Progress],
    owners: dict[int, tuple[_Progress, int]],
) -> Iterator[Request | None]:
    output = output_format(task.format)
    prefix = task.prompt.prefix(task.labels)
    grammar = output.grammar(task.names, depth=task.depth)
    number = unasked = 0
    for document in documents:
        progress = _Progress(document)
        if isinstance(document, Document):
            progress.chunks = list(split(document.text, task.chunk_bytes, task.overlap_bytes))
        under_way.append(progress)
        unasked = 0 if progress.chunks else unasked + 1
        for chunk_number, chunk in enumerate(progress.chunks):
            owners[number] = (progress, chunk_number)
            number += 1
            yield _request(chunk.text, task, output, prefix=prefix, grammar=grammar)
        if unasked >= UNASKED_RESULTS:
            unasked = 0
            number += 1
            yield None


def _request(text: str, task: Task, output: OutputFormat, *, prefix: tuple[Piece, ...], grammar: str) -> Request:
    return Request(
        prefix=prefix,
        rest=task.prompt.rest(text),
        grammar=grammar,
        lock=output.lock(text, task.names, depth=task.depth),
        allowance=2 * len(text) + 64,
        constraint=task.constraint,
    )


def _finish(progress: _Progress, task: Task) -> Extraction:
    document = progress.document
    if isinstance(document, FailedDocument):
        return Extraction(document, error=document.message, reason=Reason.INPUT)
    completions = [progress.completions[number] for number in range(len(progress.chunks))]
    texts = tuple(completion.text for completion in completions)
    parts = []
    try:
        for chunk, completion in zip(progress.chunks, completions, strict=True):
            parts.append((chunk, entities_of(completion, chunk.text, task)))
    except DataError as error:
        reason = Reason.ENGINE if any(completion.error for completion in completions) else Reason.COMPLETION
        return Extraction(document, error=f"{document.source}: {error}", completions=texts, reason=reason)
    entities: Iterable[Entity] = merge(parts, task.depth)
    if task.calibration:
        entities = task.calibration.applied(entities)
    kept = tuple(entity for entity in entities if (entity.score or 0.0) >= task.min_score)
    return Extraction(document, kept, completions=texts)


def entities_of(completion: Completion, text: str, task: Task) -> list[Entity]:
    """The scored entities of one completion, of the labels asked for; raises DataError where it does not parse."""
    if completion.error:
        raise DataError(completion.error)
    entities = output_format(task.format).parse(completion.text, text)
    asked = (entity for entity in entities if entity.label in task.names)
    return [replace(entity, score=score(entity.rendering, completion)) for entity in asked]


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
