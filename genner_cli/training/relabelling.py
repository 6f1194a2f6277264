"""Labelled documents -> the same, each with a label list of its own, as a model is trained to follow."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from genner_cli.files.revising import Sound, record_line
from genner_cli.files.writing import Writer, entity_value
from genner_cli.training.augment import augmented
from genner_cli.training.examples import Sample
from genner_cli.training.gold import label_set
from genner_cli.training.options import AUGMENTED, Augmentation
from genner_cli.types import Label, LabelTree


def write_drawn(
    sound: Sequence[Sound], tree: LabelTree, seed: int, output: str, inputs: Sequence[str], text_field: str
) -> int:
    """Writes each document with the labels that it is to be asked for, and the entities of these; returns the number of
    different lists. A tree without labels takes those of the documents."""
    labels = tree.leaves() or label_set(document for document, _ in sound)
    lists = set()
    with Writer(output, inputs=inputs) as writer:
        for number, (document, record) in enumerate(sound):
            sample = Sample(document.text, document.entities, labels)
            drawn = augmented(sample, Augmentation(**AUGMENTED), Random(f"{seed} {number}"), tree)
            lists.add(drawn.labels)
            entities = [entity_value(entity) for entity in drawn.entities]
            writer.write(record_line(record, text_field, entities=entities, labels=_as_field(drawn.labels)))
    return len(lists)


def _as_field(labels: Sequence[Label]) -> list[str] | dict[str, str]:
    """Labels as `--labels-field` reads them: with their definitions, where there are any."""
    if any(label.definition for label in labels):
        return {label.name: label.definition for label in labels}
    return [label.name for label in labels]
