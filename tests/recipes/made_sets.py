"""Small made-up sets of labelled documents, for the tests of benchmarks/quality.py and what belongs to it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

from genner_cli.types import Document, Entity


def entity(text: str, mention: str, label: str) -> Entity:
    """The first occurrence of a mention."""
    start = text.index(mention)
    return Entity(start, start + len(mention), label, mention)


def labelled(text: str, **mentions: str) -> Document:
    """`New_York="LOC"` labels the first `New York`."""
    found = (entity(text, mention.replace("_", " "), label) for mention, label in mentions.items())
    return Document(text, entities=tuple(sorted(found, key=lambda each: each.start)))


def record(text: str, *mentions: tuple[str, str], **meta: str) -> dict[str, Any]:
    """A document as a set has it; labels the first occurrence of each mention, given in order."""
    found = (entity(text, mention, label) for mention, label in mentions)
    values = [{"start": each.start, "end": each.end, "label": each.label, "text": each.text} for each in found]
    return {"text": text, "entities": values, "meta": meta}


def write(folder: Path, name: str, split: str, *records: dict[str, Any]) -> None:
    """A split of a set, as the benchmark reads it."""
    path = folder / name / f"{split}.jsonl.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(each) + "\n" for each in records)
