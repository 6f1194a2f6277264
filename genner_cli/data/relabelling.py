"""Labelled documents and a map of labels -> the same documents with the new labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from genner_cli.types import Document, Entity, canonical_order


@dataclass(slots=True)
class Relabelled:
    """What was done so far: entities by old label; `doubled` are those that became equal to another one."""

    renamed: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    kept: Counter[str] = field(default_factory=Counter)
    doubled: int = 0


def relabel(documents: Iterable[Document], names: Mapping[str, str | None], done: Relabelled) -> Iterator[Document]:
    """Each document with its entities renamed, or dropped where the map says None; `done` counts."""
    for document in documents:
        renamed: dict[Entity, Entity] = {}
        for entity in document.entities:
            label = names.get(entity.label, entity.label)
            counter = done.dropped if label is None else done.renamed if entity.label in names else done.kept
            counter[entity.label] += 1
            if label is not None:
                new = replace(entity, label=label)
                done.doubled += new in renamed
                renamed.setdefault(new, new)
        yield replace(document, entities=tuple(sorted(renamed, key=canonical_order)))
