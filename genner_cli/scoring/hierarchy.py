"""Entities with labels of a tree: nearly right counts more than wrong (hierarchical precision and recall).

Each entity stands for itself and for all labels above its own (Kiritchenko et al. 2006; arXiv 2409.11022 evaluates such
label sets), with strict boundaries. Labels are resolved to paths: by path, by a name or an alias that is unique.
"""

from __future__ import annotations

from collections.abc import Sequence
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


def resolved(extraction: Extraction, tree: LabelTree) -> Extraction:
    """The same with labels as paths; one that is not in the tree stays as it is."""

    def in_tree(entities: Sequence[Entity]) -> tuple[Entity, ...]:
        return tuple(replace(each, label=tree.find(each.label) or each.label) for each in entities)

    document = extraction.document
    if isinstance(document, Document):
        document = replace(document, entities=in_tree(document.entities))
    return replace(extraction, document=document, entities=in_tree(extraction.entities))


def hierarchy(
    extractions: Sequence[Extraction], tree: LabelTree, *, resamples: int = RESAMPLES, seed: int = 0
) -> Hierarchy:
    """Scores extractions with resolved labels against the gold entities of their documents."""
    both = [sides(each) for each in extractions if isinstance(each.document, Document)]
    counted = [
        {
            Key("label", label): counts
            for label, counts in counts_by_label(_with_ancestors(gold, tree), _with_ancestors(found, tree)).items()
        }
        for gold, found in both
    ]
    known = set(tree.value())
    return Hierarchy(
        micro=figures(counted, resamples=resamples, seed=seed)[MICRO],
        levels=_levels(both, tree),
        unknown=sum(each.label not in known for pair in both for side in pair for each in side),
    )


def _with_ancestors(entities: Sequence[Entity], tree: LabelTree) -> set[Entity]:
    return {replace(each, label=label) for each in entities for label in _above(each.label, tree)}


def _above(label: str, tree: LabelTree) -> list[str]:
    """The paths of a label and of all above it; a label outside the tree has none above."""
    if label not in tree.value():
        return [label]
    names = label.split(tree.SEPARATOR)
    return [tree.SEPARATOR.join(names[:count]) for count in range(1, len(names) + 1)]


def _levels(both: Sequence[tuple[Sequence[Entity], Sequence[Entity]]], tree: LabelTree) -> tuple[Level, ...]:
    spans: dict[int, int] = {}
    right: dict[int, int] = {}
    for gold, found in both:
        predicted: dict[tuple[int, int], set[str]] = {}
        for each in found:
            predicted.setdefault((each.start, each.end), set()).update(_above(each.label, tree))
        for each in gold:
            known = predicted.get((each.start, each.end))
            for depth, path in enumerate(_above(each.label, tree) if known is not None else ()):
                spans[depth] = spans.get(depth, 0) + 1
                right[depth] = right.get(depth, 0) + (path in (known or ()))
    return tuple(Level(spans[depth], right[depth]) for depth in sorted(spans))
