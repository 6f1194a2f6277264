"""benchmarks/quality_obedience.py: figures of made-up systems, whose answers are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from made_sets import labelled
from quality_obedience import FAR, MANY, NOTHING, alone_and_among, far_labels, kinds_of_found, recall_among_many
from quality_scores import Found
from quality_sets import names_of

from genner_cli.types import Document, Label

WEB = [labelled("Ann met Bob in Rome.", Ann="PER", Bob="PER", Rome="LOC")]
POLITICS = [labelled("Ann of the Greens met Bob.", Ann="politician", Greens="political party", Bob="person")]
LABELS = [Label("PER"), Label("LOC")]


def gold_of_these(documents: Sequence[Document], labels: Sequence[Label]) -> Found:
    """What gold has of the labels, and nothing where more than ten are asked for."""
    names = {label.name for label in labels} if len(labels) <= 10 else set()
    return [[entity for entity in document.entities if entity.label in names] for document in documents]


def all_as_one(documents: Sequence[Document], labels: Sequence[Label]) -> Found:
    """Every gold span under the first label."""
    return [[replace(entity, label=labels[0].name) for entity in document.entities] for document in documents]


def test_a_label_alone_is_held_against_it_among_all() -> None:
    assert alone_and_among(WEB, LABELS, gold_of_these) == {"PER": 1.0, "LOC": 1.0}
    assert alone_and_among(WEB, LABELS, all_as_one) == {"PER": 1.0, "LOC": 0.0}


def test_what_is_found_for_a_label_is_counted_by_what_gold_calls_it() -> None:
    assert kinds_of_found(POLITICS, "politician", gold_of_these)["found"] == {"politician": 1}
    found = kinds_of_found(POLITICS, "politician", all_as_one)
    assert (found["gold"], found["found"]) == (1, {"politician": 1, "political party": 1, "person": 1})
    unknown = [replace(document, entities=()) for document in POLITICS]

    def of_gold(documents: Sequence[Document], labels: Sequence[Label]) -> Found:
        return all_as_one(POLITICS, labels)

    assert kinds_of_found(unknown, "politician", of_gold)["found"] == {NOTHING: 3}


def test_recall_among_a_hundred_labels() -> None:
    found = recall_among_many(WEB, LABELS, gold_of_these)
    assert found == {"labels": MANY, "alone": 1.0, "among_many": 0.0}
    assert recall_among_many(WEB, LABELS, all_as_one)["alone"] == pytest.approx(2 / 3)


def test_the_others_of_the_hundred_are_of_other_fields_and_no_synonyms() -> None:
    names = [label.name for label in far_labels(LABELS)]
    assert len(set(names)) == len(names) == MANY - len(LABELS)
    assert not {"person", "PER", "location", "place"} & set(names)
    assert {name for far in FAR[:2] for name in names_of(far).values() if name} <= set(names)
