"""Entities and extractions written short, random flat ones, and planted scores."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from genner_cli.calibration import Judged
from genner_cli.types import Document, Entity, Extraction

Spans = Sequence[tuple[int, int, str]]


def entities(*spans: tuple[int, int, str]) -> list[Entity]:
    """Entities at these places, with a text of that length."""
    return [Entity(start, end, label, "x" * (end - start)) for start, end, label in spans]


def extraction(gold: Spans, predicted: Spans, *, id: str | None = None, error: str | None = None) -> Extraction:
    """A document with gold entities and what was found in it."""
    document = Document("x" * 100, id, tuple(entities(*gold)), source=f"gold.jsonl:{id}")
    return Extraction(document, tuple(entities(*predicted)), error)


def flat(rng: random.Random, *, length: int = 24, most: int = 5, labels: str = "AB") -> list[Entity]:
    """Up to so many entities, none of which overlap, in order."""
    cuts = sorted(rng.sample(range(length), 2 * rng.randint(0, most)))
    return entities(*((start, end, rng.choice(labels)) for start, end in zip(cuts[::2], cuts[1::2], strict=True)))


def resembling(rng: random.Random, gold: Sequence[Entity]) -> list[Entity]:
    """A flat prediction that often finds what is there, often with another border or label."""
    spans: list[tuple[int, int, str]] = []
    for entity in gold:
        start, end = entity.start + rng.choice((0, 0, 0, -1, 1)), entity.end + rng.choice((0, 0, 0, -1, 1))
        label = rng.choice((entity.label, entity.label, "A", "B"))
        if rng.random() < 0.8 and max(0, spans[-1][1] if spans else 0) <= start < end:
            spans.append((start, end, label))
    return entities(*spans)


def planted_scores(count: int, truth: Callable[[float], float], *, seed: int = 0, label: str = "A") -> list[Judged]:
    """Entities with scores spread evenly, of which the share `truth(score)` is right."""
    rng = random.Random(seed)
    scores = [rng.random() for _ in range(count)]
    return [Judged(label, score, rng.random() < truth(score)) for score in scores]


def scored_extractions(points: Sequence[Judged], *, per_document: int = 3, missed: int = 0) -> list[Extraction]:
    """Documents with these predicted entities; `missed`: gold ones in each that are not found."""
    done = []
    for start in range(0, len(points), per_document):
        found, gold = [], entities(*((900 + 2 * at, 901 + 2 * at, "A") for at in range(missed)))
        for at, point in enumerate(points[start : start + per_document]):
            (entity,) = entities((10 * at, 10 * at + 4, point.label))
            found.append(Entity(entity.start, entity.end, entity.label, entity.text, point.score))
            gold += [entity] if point.right else []
        done.append(Extraction(Document("x" * 1000, str(start), tuple(gold)), tuple(found)))
    return done
