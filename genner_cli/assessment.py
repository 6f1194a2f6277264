"""Predictions beside gold -> all that is reported of them: figures, a comparison, label trees, what scores mean.

Takes extractions of documents with gold entities. Knows nothing of files and models.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from genner_cli.calibration import Judged, expected_error, judged, reliability
from genner_cli.plurals import counted
from genner_cli.scoring import Comparison, Evaluation, Figures, compare, document_counts, evaluate, official
from genner_cli.scoring.figures import DocumentCounts, Key, figures, figures_value
from genner_cli.scoring.hierarchy import Hierarchy, hierarchy
from genner_cli.scoring.tables import Table, comparison_lines, evaluation_tables, figures_tables, hierarchy_lines
from genner_cli.types import Extraction, LabelTree

Sides = Sequence[Sequence[Extraction]]
"""The predictions to assess, and possibly others to compare them with."""


class Sampling(NamedTuple):
    """How often documents are resampled, and the seed."""

    resamples: int
    seed: int


class Assessment(NamedTuple):
    """`points`: entities with scores, and whether they are right. `left_out`: gold entities that do not count
    officially, since the format cannot represent them."""

    figures: Mapping[Key, Figures]
    comparison: Comparison | None
    evaluation: Evaluation | None = None
    hierarchy: Hierarchy | None = None
    left_out: int = 0
    points: Sequence[Judged] = ()

    def value(self) -> dict[str, Any]:
        """As a JSON value."""
        own = self.evaluation.value() if self.evaluation else None
        value = own or {**figures_value(self.figures), "left_out": self.left_out}
        if self.points:
            bins = [each._asdict() for each in reliability(self.points)]
            value["scores"] = {"error": expected_error(self.points), "reliability": bins}
        if self.hierarchy:
            value["hierarchy"] = self.hierarchy.value()
        return {**value, "comparison": self.comparison.value()} if self.comparison else value

    def parts(self, other: str) -> Iterator[Table | str]:
        """For people to read; `other`: what the predictions to compare with are called."""
        yield from evaluation_tables(self.evaluation) if self.evaluation else figures_tables(self.figures)
        if self.hierarchy:
            yield from hierarchy_lines(self.hierarchy)
        if self.comparison:
            yield from comparison_lines(self.comparison, other)
        if self.points:
            yield f"calibration error of the scores {expected_error(self.points):.3f} (see genner calibrate)"
        if self.left_out:
            yield f"not scored, as this format cannot represent them: {counted(self.left_out, 'gold entity')}"


def assess(sides: Sides, tree: LabelTree, sampling: Sampling, *, examples: int) -> Assessment:
    """By genner's own rules. `examples`: of each class of errors, at most."""
    evaluation = evaluate(sides[0], examples=examples, **sampling._asdict())
    compared = _compared([[*map(document_counts, side)] for side in sides], sampling)
    points = [point for each in sides[0] for point in judged(each)]
    in_tree = hierarchy(sides[0], tree, **sampling._asdict()) if tree.nested else None
    return Assessment(evaluation.figures, compared, evaluation, in_tree, points=points)


def assess_officially(
    sides: Sides, format: str, names: Sequence[str], sampling: Sampling, *, depth: int, only_asked: bool
) -> Assessment:
    """As the scripts of arXiv 2601.17898 score completions of this format.

    `names`: the labels that were asked for; `only_asked`: whether others count for nothing. Raises DataError where a
    prediction has no completion.
    """
    both = [[official.document_counts(each, format, names, depth=depth) for each in side] for side in sides]
    counts = [
        [{key: count for key, count in each.items() if not only_asked or key.name in names} for each, _ in side]
        for side in both
    ]
    left_out = sum(left_out for _, left_out in both[0])
    return Assessment(figures(counts[0], **sampling._asdict()), _compared(counts, sampling), left_out=left_out)


def _compared(counts: Sequence[Sequence[DocumentCounts]], sampling: Sampling) -> Comparison | None:
    return compare(*counts, **sampling._asdict()) if len(counts) > 1 else None
