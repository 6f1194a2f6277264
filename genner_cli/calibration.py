"""Scores of predicted entities, and whether they were right -> what a score means, and which are worth keeping.

A score is the probability that a model gives to what it wrote (`extraction.score`), not that the entity is right. A
calibration maps the one to the other, by a monotone map, and has for each label the lowest score to be kept. Takes
extractions of documents with gold entities. Knows nothing of files and models.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any, NamedTuple

from genner_cli.errors import DataError
from genner_cli.plurals import counted
from genner_cli.scoring.counts import Counts
from genner_cli.scoring.evaluation import sides
from genner_cli.scoring.tables import Table, percent
from genner_cli.types import Calibration, Document, Extraction, Knot, ScoreMap

BINS = 10
FEWEST_ENTITIES = 50
FEWEST_DOCUMENTS = 5
FOLDS = 5
GROUP = 20
"""Entities that a step of the map rests on, at least; a label's own threshold too."""
MOST_GROUPS = 50
FEWEST_KEPT = 10
"""Entities on which a precision counts as reached, at least."""


class Judged(NamedTuple):
    """A predicted entity: its label, its score, and whether gold has it (strict)."""

    label: str
    score: float
    right: bool


class Bin(NamedTuple):
    """Predicted entities with scores in [low, high): how many, their mean score, and the share that is right."""

    low: float
    high: float
    entities: int
    score: float
    right: float


UNCHANGED = ScoreMap((Knot(0.0, 0.0), Knot(1.0, 1.0)))


@dataclass(frozen=True, slots=True)
class Threshold:
    """A lowest score and what it comes to on the validation data. `own`: found for this label; else for all labels
    together, for want of entities."""

    score: float
    counts: Counts
    own: bool


@dataclass(frozen=True, slots=True)
class Fitted:
    """A calibration and how good it is.

    `error_before`, `error_after`: expected calibration error (Guo et al. 2017), in [0, 1], of the scores and of the
    mapped ones. `before`, `after`: counts of all and of the kept entities. What is called after is cross-validated:
    measured on documents that the map and the thresholds were not fitted on. What does not help there is left out:
    the map if it does not make the error smaller (`UNCHANGED`), thresholds for the best F1 if they do not raise it.
    """

    calibration: Calibration
    thresholds: dict[str, Threshold]
    documents: int
    entities: int
    bins: tuple[Bin, ...]
    bins_after: tuple[Bin, ...]
    error_before: float
    error_after: float
    before: Counts
    after: Counts

    def value(self) -> dict[str, Any]:
        """What was measured, as a JSON value."""
        return {
            "documents": self.documents,
            "entities": self.entities,
            "error_before": self.error_before,
            "error_after": self.error_after,
            "reliability_before": [each._asdict() for each in self.bins],
            "reliability_after": [each._asdict() for each in self.bins_after],
            "before": asdict(self.before),
            "after": asdict(self.after),
            "thresholds": {label: {**asdict(each.counts), "own": each.own} for label, each in self.thresholds.items()},
        }


def judged(extraction: Extraction) -> list[Judged]:
    """The predicted entities of a document that have a score."""
    gold, predicted = sides(extraction)
    true = set(gold)
    return [Judged(e.label, e.score, e in true) for e in dict.fromkeys(predicted) if e.score is not None]


def reliability(points: Iterable[Judged]) -> tuple[Bin, ...]:
    """The bins of equal width, over [0, 1], that have entities."""
    binned: dict[int, list[Judged]] = {}
    for point in points:
        binned.setdefault(min(BINS - 1, int(point.score * BINS)), []).append(point)
    return tuple(
        Bin(at / BINS, (at + 1) / BINS, len(found), _mean(p.score for p in found), _mean(p.right for p in found))
        for at, found in sorted(binned.items())
    )


def expected_error(points: Sequence[Judged]) -> float:
    """The mean distance, over entities, between the score of a bin and the share that is right in it."""
    return sum(each.entities * abs(each.score - each.right) for each in reliability(points)) / max(1, len(points))


def fit_map(points: Iterable[Judged]) -> ScoreMap:
    """Isotonic regression: of all monotone maps the one with the smallest squared error (pool adjacent violators,
    Barlow et al. 1972), on groups of at least `GROUP` entities of neighbouring scores.

    Each group counts one entity more, that is right as often as all are: so no score becomes 0 or 1.
    """
    ordered = sorted(points, key=lambda point: point.score)
    share = _mean(point.right for point in ordered)
    blocks: list[_Block] = []
    for group in _groups(ordered):
        right, score = sum(point.right for point in group) + share, _mean(point.score for point in group)
        blocks.append(_Block(len(group) + 1, right, score, score))
        # A block that is not above the one before it is merged with it. Their common probability may be below that of
        # the earlier one, and so too low for the one before that.
        while len(blocks) > 1 and blocks[-2].probability >= blocks[-1].probability:
            last, before = blocks.pop(), blocks.pop()
            blocks.append(_Block(before.entities + last.entities, before.right + last.right, before.first, last.last))
    ends = ((score, block.probability) for block in blocks for score in sorted({block.first, block.last}))
    return ScoreMap(tuple(Knot(score, probability) for score, probability in ends))


class _Block(NamedTuple):
    """Groups that share a probability, and the mean scores of the first and the last of them."""

    entities: int
    right: float
    first: float
    last: float

    @property
    def probability(self) -> float:
        return self.right / self.entities


def _groups(ordered: Sequence[Judged]) -> Iterator[Sequence[Judged]]:
    """Neighbours, as many in each as can be; equal scores are not parted."""
    size = max(GROUP, len(ordered) // MOST_GROUPS)
    start = 0
    while start < len(ordered):
        end = start + size if len(ordered) - start >= 2 * size else len(ordered)
        while end < len(ordered) and ordered[end].score == ordered[end - 1].score:
            end += 1
        yield ordered[start:end]
        start = end


def fit_thresholds(
    points: Sequence[Judged], gold: Mapping[str, int], *, precision: float | None = None
) -> dict[str, Threshold]:
    """For each label the lowest score with which it reaches the precision, or else its best F1.

    gold: how many gold entities each label has. A label with fewer than `GROUP` predicted entities gets the
    threshold of all together. A precision that is not reached (`Threshold.counts` says so) gives the nearest.
    """
    together = _threshold(points, sum(gold.values()), precision)
    by_label: dict[str, list[Judged]] = {label: [] for label in gold}
    for point in points:
        by_label.setdefault(point.label, []).append(point)
    found = {}
    for label, own in sorted(by_label.items()):
        wanted = gold.get(label, 0)
        if len(own) >= GROUP:
            found[label] = Threshold(*_threshold(own, wanted, precision), own=True)
        else:
            found[label] = Threshold(together[0], _kept(own, wanted, together[0]), own=False)
    return found


def _threshold(points: Sequence[Judged], gold: int, precision: float | None) -> tuple[float, Counts]:
    """The best of all thresholds, and the counts of what it keeps; 0 if that is everything."""
    ordered = sorted(points, key=lambda point: -point.score)
    choices = [(0.0, Counts(0, gold, 0))] if not ordered else []
    hit = 0
    for at, point in enumerate(ordered, 1):
        hit += point.right
        if at == len(ordered) or ordered[at].score < point.score:
            score = 0.0 if at == len(ordered) else point.score
            choices.append((score, Counts(hit, gold - hit, at - hit)))
    if precision is None:
        return max(choices, key=lambda choice: (choice[1].f1, -choice[0]))
    enough = [choice for choice in choices if choice[1].predicted >= FEWEST_KEPT] or choices[-1:]
    reached = [choice for choice in enough if choice[1].precision >= precision]
    return reached[-1] if reached else max(enough, key=lambda choice: (choice[1].precision, -choice[0]))


def _kept(points: Iterable[Judged], gold: int, threshold: float) -> Counts:
    rights = [point.right for point in points if point.score >= threshold]
    return Counts(sum(rights), gold - sum(rights), len(rights) - sum(rights))


def fit(extractions: Iterable[Extraction], *, precision: float | None = None, seed: int = 0) -> Fitted:
    """A calibration from uncalibrated extractions of documents with gold entities.

    Raises DataError where they are too few to learn from.
    """
    documents = [(judged(each), Counter(e.label for e in set(sides(each)[0]))) for each in extractions]
    points = list(chain.from_iterable(found for found, _ in documents))
    if len(points) < FEWEST_ENTITIES or len(documents) < FEWEST_DOCUMENTS:
        raise _too_few("found only", len(points), len(documents))
    gold = sum((wanted for _, wanted in documents), Counter[str]())
    held_out, kept = _cross_validated(documents, precision, seed)
    error_before, error_after = expected_error(points), expected_error(held_out)
    before = _kept(points, gold.total(), 0.0)
    helpful = precision is not None or kept.f1 > before.f1
    thresholds = fit_thresholds(points, gold, precision=precision) if helpful else {}
    return Fitted(
        calibration=Calibration(
            fit_map(points) if error_after < error_before else UNCHANGED,
            {label: each.score for label, each in thresholds.items()},
        ),
        thresholds=thresholds,
        documents=len(documents),
        entities=len(points),
        bins=reliability(points),
        bins_after=reliability(held_out),
        error_before=error_before,
        error_after=error_after,
        before=before,
        after=kept,
    )


def refuse_few(documents: Sequence[Document]) -> None:
    """Raises DataError for gold documents that are too few, before anything is extracted: a useful model finds at most
    some twice as many entities as there are."""
    entities = sum(len(each.entities) for each in documents)
    if entities < FEWEST_ENTITIES // 2 or len(documents) < FEWEST_DOCUMENTS:
        raise _too_few("there are only", entities, len(documents))


def _too_few(found: str, entities: int, documents: int) -> DataError:
    return DataError(
        f"{found} {counted(entities, 'entity')} in {counted(documents, 'document')}; calibration needs"
        f" at least {FEWEST_ENTITIES} in {FEWEST_DOCUMENTS} documents; give it more documents"
    )


def _cross_validated(
    documents: Sequence[tuple[list[Judged], Counter[str]]], precision: float | None, seed: int
) -> tuple[list[Judged], Counts]:
    """All points with scores mapped, and the counts of those kept, by what was fitted on the other folds."""
    order = random.Random(seed).sample(range(len(documents)), len(documents))
    mapped: list[Judged] = []
    counts = Counts()
    for fold in range(FOLDS):
        held_out = [documents[at] for at in order[fold::FOLDS]]
        others = [documents[at] for number, at in enumerate(order) if number % FOLDS != fold]
        points = list(chain.from_iterable(found for found, _ in others))
        gold = sum((wanted for _, wanted in others), Counter[str]())
        to_map = fit_map(points) if points else UNCHANGED
        thresholds = {label: each.score for label, each in fit_thresholds(points, gold, precision=precision).items()}
        for found, wanted in held_out:
            mapped += [point._replace(score=to_map(point.score)) for point in found]
            kept = [point for point in found if point.score >= thresholds.get(point.label, 0.0)]
            counts += _kept(kept, wanted.total(), 0.0)
    return mapped, counts


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / max(1, len(found))


def calibration_tables(found: Fitted, precision: float | None) -> Iterator[Table | str]:
    """What a calibration does; `precision`: the one that was aimed at."""
    yield f"{counted(found.entities, 'entity')} in {counted(found.documents, 'document')}"
    yield f"calibration error {found.error_before:.3f} before, {found.error_after:.3f} after (cross-validated)"
    if found.error_after >= found.error_before:
        yield "calibration would not help: scores are unchanged"
    if not found.thresholds:
        yield "thresholds would not help: all entities are kept"
    kept = {"all": found.before, "by threshold (cross-validated)": found.after}
    yield Table.of(
        ("kept", "precision", "recall", "F1", "entities"),
        (
            (name, percent(counts.precision), percent(counts.recall), percent(counts.f1), f"{counts.predicted:,}")
            for name, counts in kept.items()
        ),
    )
    if found.thresholds:
        yield _thresholds_table(found, precision)


def _thresholds_table(found: Fitted, precision: float | None) -> Table:
    rows = []
    for label, each in found.thresholds.items():
        counts = each.counts
        notes = ["threshold of all labels"] * (not each.own)
        if precision is not None and counts.precision < precision:
            notes.append(f"below {precision:g}")
        scores = f"{each.score:.3f}", f"{found.calibration.map(each.score):.3f}"
        rates = map(percent, (counts.precision, counts.recall, counts.f1))
        rows.append((label, *scores, *rates, f"{counts.predicted:,}", ", ".join(notes)))
    return Table.of(("label", "threshold", "mapped", "precision", "recall", "F1", "entities", ""), rows)
