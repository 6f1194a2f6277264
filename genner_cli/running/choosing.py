"""The format and the way of retrieval for a model that genner did not train, by how they do on its own examples.

Each of a few examples is asked about as a document is, and never shown with itself, so that the others answer for it
(leave-one-out). First the formats are compared, with examples chosen by words, then the ways, in the best format.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from typing import Any, TypeVar

from genner_cli.formats import FORMATS
from genner_cli.prompting import UNTRAINED_FORMAT
from genner_cli.running.backend import Opened, extractions
from genner_cli.running.examples import examples_of
from genner_cli.running.spec import OPEN_FORMAT, Nearness, RunSpec
from genner_cli.scoring import score
from genner_cli.types import Document

log = logging.getLogger("genner")
T = TypeVar("T")
TRIED = 20
"""Examples that are asked about."""
TRIED_FORMATS = (
    UNTRAINED_FORMAT,
    *(name for name in FORMATS if name not in (UNTRAINED_FORMAT, "inserted", OPEN_FORMAT)),
)
TRIED_WAYS = (Nearness.WORDS, Nearness.SENTENCE, Nearness.NONE, Nearness.ENTITY, Nearness.SPAN)
"""Among equals the first is chosen. `inserted` needs tokens that other models lack, `open` is for labels that
nobody lists."""


def choose(spec: RunSpec, opened: Callable[[RunSpec], Opened]) -> dict[str, Any]:
    """The format and the way that find most, as far as the spec leaves them open, and the F1 of each that was tried.

    `opened`: the model, open for a spec. Raises UsageError for examples that cannot be used.
    """
    pool = examples_of(spec)
    asked = [pool[at] for at in sorted(Random(0).sample(range(len(pool)), min(TRIED, len(pool))))]
    tried: dict[str, float] = {}

    def f1(format: str, nearest: Nearness) -> float:
        name = f"{format}, {nearest}"
        if name not in tried:
            tried[name] = _f1(opened(replace(spec, format=format, nearest=nearest, choose=False)), asked)
            log.warning("choosing on %d examples: %s: F1 %.3f", len(asked), name, tried[name])
        return tried[name]

    first = spec.nearest or Nearness.WORDS
    format = _best([spec.format] if spec.format else TRIED_FORMATS, lambda each: f1(each, first))
    nearest = _best([spec.nearest] if spec.nearest else TRIED_WAYS, lambda each: f1(format, each))
    return {"format": format, "nearest": str(nearest), "examples": len(asked), "f1": tried}


def _best(choices: Sequence[T], value: Callable[[T], float]) -> T:
    """The first of the best; the only one is not tried."""
    return choices[0] if len(choices) == 1 else max(choices, key=value)


def _f1(opened: Opened, documents: Sequence[Document]) -> float:
    """Strict micro F1 for the labels asked for."""
    names = set(opened.facts.task.names)
    found = extractions(opened, [replace(each, entities=()) for each in documents])
    gold = ([entity for entity in each.entities if entity.label in names] for each in documents)
    return score(zip(gold, (each.entities for each in found), strict=True)).micro.f1
