"""Does a model keep to the labels that it is asked for? What it finds for one label alone, and for three among many.

Takes documents and a function that finds entities of labels; gives JSON values. Knows nothing of models.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

from quality_scores import Found, agreement
from quality_sets import LABELS

from genner_cli.types import Document, Label

Find = Callable[[Sequence[Document], Sequence[Label]], Found]
POLITICS, POLITICIAN = "crossner_politics", "politician"
"""A set with a label that is easily mistaken for others of the same set."""
MANY = 100
FAR = ("bc5cdr", "ncbi_disease", "bc2gm", "bionlp13cg", "genia_nested", "tasteset", "stackoverflow")
"""Sets of biomedicine, cooking and code, whose labels nothing in web texts has."""
NOTHING = "nothing"


def alone_and_among(documents: Sequence[Document], labels: Sequence[Label], find: Find) -> dict[str, float]:
    """F1 between what is found for each label alone and what is found for it among all of them."""
    among = find(documents, labels)
    return {
        label.name: agreement([[e for e in each if e.label == label.name] for each in among], find(documents, [label]))
        for label in labels
    }


def kinds_of_found(documents: Sequence[Document], label: str, find: Find) -> dict[str, Any]:
    """What gold calls the spans that are found for a label alone, NOTHING where it has no such span; and how many gold
    entities have the label."""
    kinds: Counter[str] = Counter()
    for document, found in zip(documents, find(documents, [Label(label)]), strict=True):
        gold = {(entity.start, entity.end): entity.label for entity in document.entities}
        kinds.update(gold.get((entity.start, entity.end), NOTHING) for entity in found)
    of_label = sum(entity.label == label for document in documents for entity in document.entities)
    return {"label": label, "gold": of_label, "found": dict(kinds.most_common())}


def recall_among_many(documents: Sequence[Document], labels: Sequence[Label], find: Find) -> dict[str, Any]:
    """Strict recall of the labels asked for by themselves, and among others of FAR, MANY in all."""
    many = [*labels, *far_labels(labels)]
    return {"labels": len(many), "alone": _recall(documents, find(documents, labels)),
            "among_many": _recall(documents, find(documents, many))}  # fmt: skip


def far_labels(labels: Sequence[Label]) -> list[Label]:
    """Labels of FAR, and their synonyms, that make MANY together with these; none is a synonym of these."""
    table: dict[str, dict[str, list[str] | None]] = json.loads(LABELS.read_text("utf-8"))
    asked = {label.name for label in labels}
    named = [names for of_set in table.values() for names in of_set.values() if names]
    taken = {name.casefold() for names in named if names[0] in asked for name in names}
    far = [names for name in FAR for names in table[name].values() if names]
    ordered = chain.from_iterable((names[at] for names in far if at < len(names)) for at in range(max(map(len, far))))
    found = dict.fromkeys(name for name in ordered if name.casefold() not in taken)
    return [Label(name) for name in list(found)[: MANY - len(labels)]]


def _recall(documents: Sequence[Document], found: Found) -> float:
    gold = [set(document.entities) for document in documents]
    keys = [{(e.start, e.end, e.label) for e in each} for each in gold]
    hit = sum(len(of & {(e.start, e.end, e.label) for e in each}) for of, each in zip(keys, found, strict=True))
    return hit / max(1, sum(map(len, keys)))
