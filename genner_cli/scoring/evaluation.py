"""Extractions of documents that have gold entities -> everything that is to be known of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from genner_cli.scoring.counts import Counts, counts_by_label
from genner_cli.scoring.figures import MACRO, MICRO, RESAMPLES, DocumentCounts, Figures, Key, figures, figures_value
from genner_cli.scoring.matching import Aligned, ErrorClass, Mode, align, counts_by_mode
from genner_cli.types import Document, Entity, Extraction, canonical_order

NOTHING = ""
"""Stands in the confusion where the other side has no entity; no label is called so."""


@dataclass(frozen=True, slots=True)
class Example:
    """One error: in which document (its id, or else its place), read from where, and the entities of either side."""

    document: str
    source: str
    gold: Entity | None
    predicted: Entity | None


@dataclass(frozen=True, slots=True)
class Errors:
    """How many of a class there are, and the first few, of different documents where there are enough."""

    count: int
    examples: tuple[Example, ...]


@dataclass(frozen=True, slots=True)
class DocumentRates:
    """How many documents there are, without gold entities, without predicted ones (failed ones left out), failed.

    Failed are those that could not be done, and those whose completion could not be read (an invalid output).
    """

    documents: int
    without_gold: int
    without_predicted: int
    failed: int


@dataclass(frozen=True, slots=True)
class Evaluation:
    """`confusion`: pairs of labels, gold first, of entities that stand for each other; `NOTHING` where one stands
    alone."""

    rates: DocumentRates
    figures: dict[Key, Figures]
    errors: dict[ErrorClass, Errors]
    confusion: dict[tuple[str, str], int]

    @property
    def modes(self) -> dict[Mode, Figures]:
        """Over all labels, in each mode; strict is the headline."""
        return {mode: self.figures.get(Key("mode", mode), self.figures[MICRO]) for mode in Mode}

    @property
    def macro(self) -> Figures:
        """The mean over the labels, strict."""
        return self.figures[MACRO]

    @property
    def labels(self) -> dict[str, Figures]:
        """Each label's, strict."""
        return {key.name: each for key, each in self.figures.items() if key.kind == "label"}

    @property
    def parts(self) -> dict[str, Figures]:
        """Strict among entities that lie in no other of their side ("outer") and among those that do ("inner"); empty
        where nothing is nested."""
        nested = Key("part", "inner") in self.figures
        return {name: self.figures[Key("part", name)] for name in ("outer", "inner") if nested}

    def value(self) -> dict[str, Any]:
        """All of it as a JSON value."""
        return {
            "documents": asdict(self.rates),
            **figures_value(self.figures),
            "modes": {mode.value: each.value() for mode, each in self.modes.items()},
            "parts": {part: each.value() for part, each in self.parts.items()},
            "errors": {error.value: _errors_value(errors) for error, errors in self.errors.items()},
            "confusion": [
                {"gold": gold or None, "predicted": predicted or None, "count": count}
                for (gold, predicted), count in self.confusion.items()
            ],
        }


def evaluate(
    extractions: Iterable[Extraction], *, resamples: int = RESAMPLES, seed: int = 0, examples: int = 5
) -> Evaluation:
    """Scores extractions against the gold entities that their documents bring.

    A document that failed counts as one in which nothing was found. `examples`: most of each class of errors.
    """
    done = [each for each in extractions if isinstance(each.document, Document)]
    found = figures([document_counts(each) for each in done], resamples=resamples, seed=seed)
    aligned = [(each, pair) for each in done for pair in align(*sides(each))]
    return Evaluation(
        rates=_rates(done),
        figures=found,
        errors={error: _errors(aligned, error, examples) for error in ErrorClass},
        confusion=_confusion(pair for _, pair in aligned),
    )


def sides(extraction: Extraction) -> tuple[tuple[Entity, ...], tuple[Entity, ...]]:
    """The gold and the predicted entities; none are predicted where it failed."""
    gold = extraction.document.entities if isinstance(extraction.document, Document) else ()
    return gold, () if extraction.error else extraction.entities


def restricted(extraction: Extraction, labels: Collection[str]) -> Extraction:
    """The same with entities of these labels only, gold and predicted."""
    document = extraction.document
    if isinstance(document, Document):
        document = replace(document, entities=tuple(e for e in document.entities if e.label in labels))
    return replace(extraction, document=document, entities=tuple(e for e in extraction.entities if e.label in labels))


def name_of(extraction: Extraction) -> str:
    """What a document is called in a report."""
    return extraction.document.id or extraction.document.source


def document_counts(extraction: Extraction) -> DocumentCounts:
    """The counts of one document: strict for each label, in each mode, and for the parts if entities are nested."""
    gold, predicted = sides(extraction)
    labels = counts_by_label(set(gold), set(predicted))
    modes = counts_by_mode(gold, predicted)
    return {
        **{Key("label", label): counts for label, counts in labels.items()},
        **{Key("mode", mode): counts for mode, counts in modes.items() if mode != Mode.STRICT},
        **_parts(gold, predicted),
    }


def _parts(gold: Sequence[Entity], predicted: Sequence[Entity]) -> DocumentCounts:
    inner = _inner(gold), _inner(predicted)
    outer = set(gold) - inner[0], set(predicted) - inner[1]
    parts = {"inner": inner, "outer": outer} if any(inner) else {"outer": outer}
    return {Key("part", part): sum(counts_by_label(*both).values(), Counts()) for part, both in parts.items()}


def _inner(entities: Iterable[Entity]) -> set[Entity]:
    """Those that lie within another one of them."""
    found = set()
    furthest = 0
    for entity in sorted(set(entities), key=canonical_order):
        if entity.end <= furthest:
            found.add(entity)
        furthest = max(furthest, entity.end)
    return found


def _rates(extractions: Sequence[Extraction]) -> DocumentRates:
    done = [sides(each) for each in extractions if each.error is None]
    return DocumentRates(
        documents=len(extractions),
        without_gold=sum(not sides(each)[0] for each in extractions),
        without_predicted=sum(not predicted for _, predicted in done),
        failed=len(extractions) - len(done),
    )


def _errors(aligned: Sequence[tuple[Extraction, Aligned]], error: ErrorClass, most: int) -> Errors:
    seen: Counter[str] = Counter()
    found = []
    for extraction, pair in aligned:
        if pair.error == error:
            source = extraction.document.source
            found.append((seen[source], Example(name_of(extraction), source, pair.gold, pair.predicted)))
            seen[source] += 1
    found.sort(key=lambda ranked: ranked[0])
    return Errors(len(found), tuple(example for _, example in found[:most]))


def _confusion(aligned: Iterable[Aligned]) -> dict[tuple[str, str], int]:
    labels = (
        (pair.gold.label if pair.gold else NOTHING, pair.predicted.label if pair.predicted else NOTHING)
        for pair in aligned
    )
    return dict(sorted(Counter(labels).items()))


def _errors_value(errors: Errors) -> dict[str, Any]:
    examples = [
        {
            "document": each.document,
            "source": each.source,
            "gold": _entity_value(each.gold),
            "predicted": _entity_value(each.predicted),
        }
        for each in errors.examples
    ]
    return {"count": errors.count, "examples": examples}


def _entity_value(entity: Entity | None) -> dict[str, Any] | None:
    if entity is None:
        return None
    return {"start": entity.start, "end": entity.end, "label": entity.label, "text": entity.text, "score": entity.score}
