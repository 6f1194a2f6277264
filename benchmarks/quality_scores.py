"""What systems found -> figures as JSON values: strict F1 with its 95 % interval, and the difference of two systems.

Knows nothing of models. Where a set is nested, the headline counts outermost entities, which flat systems can find
too, and `nested` counts all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from quality_sets import outermost

from genner_cli.scoring import compare, document_counts
from genner_cli.scoring.figures import DocumentCounts, figures, figures_value
from genner_cli.types import Document, Entity, Extraction, canonical_order

Found = Sequence[Sequence[Entity]]
"""The entities of each document."""


def scores(documents: Sequence[Document], found: Found, *, nested: bool) -> dict[str, Any]:
    """Micro, macro and each label's figures, of outermost entities; those of all entities under `nested`."""
    headline = figures_value(figures(_counts(documents, found, flat=nested)))
    if not nested:
        return headline
    return {**headline, "nested": figures_value(figures(_counts(documents, found, flat=False)))}


def difference(documents: Sequence[Document], one: Found, other: Found, *, nested: bool) -> dict[str, Any]:
    """Micro F1 of one less that of the other, with its interval and p-value (`scoring.compare`)."""
    both = (_counts(documents, found, flat=nested) for found in (one, other))
    value: dict[str, Any] = compare(*both).value()["micro"]
    return value


def agreement(one: Found, other: Found) -> float:
    """F1 between what two systems found."""
    hit = sum(len(set(a) & set(b)) for a, b in zip(one, other, strict=True))
    total = sum(len(set(a)) + len(set(b)) for a, b in zip(one, other, strict=True))
    return 2 * hit / total if total else 1.0


def f1(scored: Mapping[str, Any]) -> float:
    """The headline of a system's figures."""
    return float(scored["micro"]["f1"]["value"])


def _counts(documents: Sequence[Document], found: Found, *, flat: bool) -> list[DocumentCounts]:
    pairs = zip(documents, found, strict=True)
    return [document_counts(_extraction(document, entities, flat=flat)) for document, entities in pairs]


def _extraction(document: Document, found: Sequence[Entity], *, flat: bool) -> Extraction:
    if not flat:
        return Extraction(document, tuple(found))
    gold = replace(document, entities=tuple(outermost(document.entities)))
    return Extraction(gold, tuple(outermost(sorted(found, key=canonical_order))))
