"""Entities with labels of a tree: nearly right counts more than wrong (hierarchical precision and recall).

Each entity stands for itself and for all labels above its own (Kiritchenko et al. 2006; arXiv 2409.11022 evaluates such
label sets), with strict boundaries. Labels are resolved to paths: by path, by a name or an alias that is unique.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from genner_cli.scoring.counts import counts_by_label
from genner_cli.scoring.evaluation import sides
from genner_cli.scoring.figures import MICRO, RESAMPLES, Figures, Key, figures
from genner_cli.types import Document, Entity, Extraction, LabelTree


@dataclass(frozen=True, slots=True)
class Level:
    """Of gold entities that have a label at this depth, and whose span was predicted: how many, and how many right down
    to it."""

    spans: int
    right: int

    @property
    def accuracy(self) -> float:
        """In [0, 1]."""
        return self.right / max(1, self.spans)


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """`micro`: hierarchical figures; `levels`: from the top; `unknown`: entities with labels outside the tree, which
    count as wrong."""

    micro: Figures
    levels: tuple[Level, ...]
    unknown: int

    def value(self) -> dict[str, Any]:
        """As a JSON value."""
        levels = [{"spans": each.spans, "right": each.right, "accuracy": each.accuracy} for each in self.levels]
        return {"micro": self.micro.value(), "levels": levels, "unknown": self.unknown}


def resolved(extractions: Iterable[Extraction], tree: LabelTree) -> list[Extraction]:
    """The same with labels as paths; those that are not in the tree stay as they are."""

    def in_tree(entities: Sequence[Entity]) -> tuple[Entity, ...]:
        return tuple(replace(each, label=tree.find(each.label) or each.label) for each in entities)

    found = []
    for extraction in extractions:
        document = extraction.document
        if isinstance(document, Document):
            document = replace(document, entities=in_tree(document.entities))
        found.append(replace(extraction, document=document, entities=in_tree(extraction.entities)))
    return found


def hierarchy(
    extractions: Sequence[Extraction], tree: LabelTree, *, resamples: int = RESAMPLES, seed: int = 0
) -> Hierarchy:
    """Scores extractions with resolved labels against the gold entities of their documents."""
    both = [sides(each) for each in extractions if isinstance(each.document, Document)]
    above = _above_each(tree)
    counted = [
        {
            Key("label", label): counts
            for label, counts in counts_by_label(_with_ancestors(gold, above), _with_ancestors(found, above)).items()
        }
        for gold, found in both
    ]
    return Hierarchy(
        micro=figures(counted, resamples=resamples, seed=seed)[MICRO],
        levels=_levels(both, above),
        unknown=sum(each.label not in above for pair in both for side in pair for each in side),
    )


Above = Mapping[str, Sequence[str]]
"""By the path of a label, the paths from the top down to it. A label outside the tree has none above."""


def _above_each(tree: LabelTree) -> Above:
    return {tree.path(nodes): [tree.path(nodes[:count]) for count in range(1, len(nodes) + 1)] for nodes in tree.walk()}


def _with_ancestors(entities: Sequence[Entity], above: Above) -> set[Entity]:
    return {replace(each, label=label) for each in entities for label in above.get(each.label, (each.label,))}


def _levels(both: Sequence[tuple[Sequence[Entity], Sequence[Entity]]], above: Above) -> tuple[Level, ...]:
    spans: dict[int, int] = {}
    right: dict[int, int] = {}
    for gold, found in both:
        predicted: dict[tuple[int, int], set[str]] = {}
        for each in found:
            predicted.setdefault((each.start, each.end), set()).update(above.get(each.label, (each.label,)))
        for each in gold:
            known = predicted.get((each.start, each.end))
            for depth, path in enumerate(above.get(each.label, (each.label,)) if known is not None else ()):
                spans[depth] = spans.get(depth, 0) + 1
                right[depth] = right.get(depth, 0) + (path in (known or ()))
    return tuple(Level(spans[depth], right[depth]) for depth in sorted(spans))
