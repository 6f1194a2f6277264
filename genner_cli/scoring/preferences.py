"""Gold and several answers -> which answer is to be preferred (Self-Selection, arXiv 2502.06148). Knows nothing of
files and models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from genner_cli.scoring.counts import Counts
from genner_cli.types import Entity


class Preference(NamedTuple):
    """Two answers to one text, of which the first is nearer to gold."""

    chosen: tuple[Entity, ...]
    rejected: tuple[Entity, ...]


def preference(gold: Sequence[Entity], answers: Sequence[Sequence[Entity]]) -> Preference | None:
    """The best and the worst answer by strict F1, the first of several that are as good; None where all are as good. A
    single answer is compared with gold itself."""
    compared = answers if len(answers) > 1 else [gold, *answers]
    scores = [_f1(gold, answer) for answer in compared]
    best, worst = scores.index(max(scores)), scores.index(min(scores))
    return None if scores[best] == scores[worst] else Preference(tuple(compared[best]), tuple(compared[worst]))


def _f1(gold: Sequence[Entity], answer: Sequence[Entity]) -> float:
    """Of one document; 1 where it has no entities and none were found."""
    there, found = set(gold), set(answer)
    if not there and not found:
        return 1.0
    return Counts(len(there & found), len(there - found), len(found - there)).f1
