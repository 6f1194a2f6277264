"""A model on labelled documents under one constraint -> a cell: everything that a probe counts of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import cycle
from time import perf_counter
from typing import Any

from genner_cli.chunking import split
from genner_cli.formats import Claim, output_format
from genner_cli.formats.shared.boundaries import Mentions
from genner_cli.generation import Constraint
from genner_cli.probing.folder import ProbeFolder
from genner_cli.running.backend import extractions
from genner_cli.running.llama import LlamaBackend
from genner_cli.running.on_gold import of_labels_asked
from genner_cli.running.spec import RunSpec
from genner_cli.scoring import Counts, Figures
from genner_cli.scoring.counts import counts_by_label
from genner_cli.scoring.evaluation import sides
from genner_cli.scoring.figures import MICRO, DocumentCounts, Key, figures
from genner_cli.tasks import Task
from genner_cli.types import Document, Extraction

DocumentBar = Callable[[Iterable[Extraction]], Iterator[Extraction]]


@dataclass(frozen=True, slots=True)
class Cell:
    """`counts`: strict, for each document and label. `invalid`: documents with a completion that cannot be read;
    `failed`: those without one. `claimed`: entities that completions name, readable or not; `invented`: those of them
    that the text does not have, or not there. `tokens`: of all completions; `seconds`: of wall-clock time.
    """

    counts: tuple[DocumentCounts, ...]
    invalid: int
    failed: int
    claimed: int
    invented: int
    tokens: int
    seconds: float

    @property
    def documents(self) -> int:
        """How many."""
        return len(self.counts)

    @property
    def figures(self) -> Figures:
        """Precision, recall and F1 over all labels, strict."""
        return figures(self.counts)[MICRO]

    def value(self) -> dict[str, Any]:
        """As a JSON value, from which `of_value` makes the cell again."""
        rest = {name: value for name, value in asdict(self).items() if name != "counts"}
        counted = [{key.name: asdict(each) for key, each in document.items()} for document in self.counts]
        return {"documents": self.documents, **rest, **self.figures.value(), "counts": counted}

    @classmethod
    def of_value(cls, value: dict[str, Any]) -> Cell:
        """The cell of what `value` gave."""
        counts = tuple(
            {Key("label", label): Counts(**each) for label, each in document.items()} for document in value["counts"]
        )
        numbers = ("invalid", "failed", "claimed", "invented", "tokens", "seconds")
        return cls(counts, *(value[name] for name in numbers))

    def summary(self) -> dict[str, Any]:
        """As a JSON value, without the counts of each document."""
        return {name: each for name, each in self.value().items() if name != "counts"}


def measured(
    folder: ProbeFolder, stage: str, documents: Sequence[Document], spec: RunSpec, bar: DocumentBar = iter
) -> Cell:
    """The cell of a stage: the one that stands in the folder, else a new one."""
    return Cell.of_value(folder.stage(stage, lambda: measure(documents, spec, bar).value()))


def measure(documents: Sequence[Document], spec: RunSpec, bar: DocumentBar = iter) -> Cell:
    """Extracts and counts. Raises ModelError and UsageError where the model cannot be opened."""
    with LlamaBackend().open(spec) as opened:
        began = perf_counter()
        done = list(bar(extractions(opened, documents)))
        seconds = perf_counter() - began
        return cell_of(
            of_labels_asked(done, spec), opened.facts.task, tokens=opened.statistics.written, seconds=seconds
        )


def cell_of(done: Sequence[Extraction], task: Task, *, tokens: int, seconds: float) -> Cell:
    """What is to be counted of extractions."""
    claimed = _Claimed()
    for each in done:
        claimed.add(each, task)
    bad = [each for each in done if each.error is not None]
    invalid = sum(any(each.completions) for each in bad)
    counts = tuple(_counts(each) for each in done)
    return Cell(counts, invalid, len(bad) - invalid, claimed.all, claimed.invented, tokens, seconds)


def _counts(extraction: Extraction) -> DocumentCounts:
    gold, predicted = (set(side) for side in sides(extraction))
    return {Key("label", label): counts for label, counts in counts_by_label(gold, predicted).items()}


@dataclass(slots=True)
class _Claimed:
    all: int = field(default=0)
    invented: int = field(default=0)

    def add(self, extraction: Extraction, task: Task) -> None:
        """Counts the claims of a document's completions, each against its own chunk."""
        if not isinstance(extraction.document, Document):
            return
        chunks = cycle(split(extraction.document.text, task.chunk_bytes, task.overlap_bytes))  # once for each pass
        for chunk, completion in zip(chunks, extraction.completions, strict=False):
            found = list(output_format(task.format).claims(completion))
            self.all += len(found)
            self.invented += sum(is_invented(claim, chunk.text) for claim in found)


def is_invented(claim: Claim, text: str) -> bool:
    """Whether the text does not have the mention, or not where the claim places it."""
    if not claim.mention:
        return True
    if claim.start is not None and claim.end is not None:
        return claim.start < 0 or text[claim.start : claim.end] != claim.mention
    if claim.occurrence is not None:
        return not 1 <= claim.occurrence <= len(Mentions(text).occurrences(claim.mention))
    return claim.mention not in text


CONSTRAINTS = (Constraint.OFF, Constraint.FORMAT, Constraint.SOURCE)


def measured_constraints(
    documents: Sequence[Document], spec: RunSpec, folder: ProbeFolder, bar: DocumentBar = iter
) -> dict[str, Cell]:
    """A cell for each constraint; does what is not done yet. `spec.constraint` does not count."""
    found = {}
    for constraint in CONSTRAINTS:
        constrained = replace(spec, constraint=constraint)
        found[constraint.value] = measured(folder, constraint, documents, constrained, bar)
    return found
