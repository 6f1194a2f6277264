"""Labelled documents for the tests of data: made by hypothesis, and the recipes that come with genner."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from strategies import LABELS, hostile_text, planted

from genner_cli.types import Document, Entity, canonical_order

RECIPES = Path(__file__).parents[1] / "examples" / "recipes" / "valid.jsonl.gz"
ANNOTATIONS_DATA = Path(__file__).parent / "data" / "annotations"

names = st.text("abcXYZ019-_", min_size=1, max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text("a\u00e9👩\n", max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=2),
    max_leaves=4,
)


@st.composite
def entities_in(
    draw: st.DrawFn, text: str, *, labels: Sequence[str] = LABELS, crossing: bool = False
) -> tuple[Entity, ...]:
    """Different entities of whole words, in canonical order, nested ones among them."""
    found: list[Entity] = []
    for entity in sorted(set(draw(st.lists(planted(text, labels), max_size=6))), key=canonical_order):
        good = 0 <= entity.start < entity.end <= len(text) and entity.text == entity.text.strip() != ""
        good = good and text[entity.start : entity.end] == entity.text
        if good and (crossing or not any(e.start < entity.start < e.end < entity.end for e in found)):
            score = draw(st.none() | st.floats(0, 1))
            found.append(Entity(entity.start, entity.end, entity.label, entity.text, score))
    return tuple(found)


@st.composite
def documents(
    draw: st.DrawFn, *, labels: Sequence[str] = LABELS, crossing: bool = False, fields: bool = True
) -> list[Document]:
    """Up to three documents with different ids, some with scores and other fields."""
    found = []
    for id in draw(st.lists(names, min_size=1, max_size=3, unique_by=str.casefold)):
        text = draw(hostile_text().filter(bool))
        more = {f"f_{key}": value for key, value in draw(st.dictionaries(names, values, max_size=2)).items()}
        entities = draw(entities_in(text, labels=labels, crossing=crossing))
        found.append(Document(text, id, entities, {"id": id, **(more if fields else {})}))
    return found


def write(documents: Sequence[Document], path: Path) -> Path:
    """JSON Lines of the documents, written without genner."""
    lines = []
    for document in documents:
        entities = [
            {"start": e.start, "end": e.end, "label": e.label, "text": e.text, "score": e.score}
            for e in document.entities
        ]
        lines.append(json.dumps({"text": document.text, **document.fields, "entities": entities}))
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    """The records of JSON Lines, read without genner."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def plain(entities: Sequence[Entity]) -> list[tuple[int, int, str]]:
    """Ranges and labels."""
    return [(entity.start, entity.end, entity.label) for entity in entities]
