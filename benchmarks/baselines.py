"""What a model is measured against: a CRF and a list of mentions, trained on the set's own train split.

Takes a set, what to learn from and documents; gives the entities that each baseline finds. Training a CRF takes
minutes, so its model is kept in a folder, under a fingerprint of all that it depends on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import crf
import gazetteer
from quality_sets import Set, outermost
from tagging import words

from genner_cli.types import Document, Entity

_PROBED = 50
"""Documents whose features stand for how features are made."""


def with_gazetteer(train: Sequence[Document], documents: Sequence[Document]) -> list[list[Entity]]:
    """Learns the mentions of `train`, outermost ones only, and finds them."""
    learnt = gazetteer.learn(_flat(train))
    return [learnt.predict(document.text) for document in documents]


def with_crf(chosen: Set, train: Sequence[Document], documents: Sequence[Document], kept: Path) -> list[list[Entity]]:
    """What a CRF finds that `train` has taught."""
    return list(crf.predict(trained_crf(chosen, train, kept), documents, by_sentence=chosen.whole_documents))


def trained_crf(chosen: Set, train: Sequence[Document], kept: Path) -> Path:
    """Trains a CRF on the outermost entities of `train`, or takes the one that the folder `kept` has."""
    flat = _flat(train)
    path = kept / f"{'+'.join(chosen.train)}-{_fingerprint(chosen, flat)}.crfsuite"
    if not path.exists():
        kept.mkdir(parents=True, exist_ok=True)
        crf.train(flat, path, by_sentence=chosen.whole_documents)
    return path


def _flat(documents: Sequence[Document]) -> list[Document]:
    return [replace(document, entities=tuple(outermost(document.entities))) for document in documents]


def _fingerprint(chosen: Set, train: Sequence[Document]) -> str:
    """Of all that decides what a CRF learns."""
    probed = [[d.text[start:end] for start, end in words(d.text)] for d in train[:_PROBED]]
    parts = [
        crf.PARAMETERS,
        chosen.whole_documents,
        [crf.features(spelt) for spelt in probed],
        [[d.text, [(e.start, e.end, e.label) for e in d.entities]] for d in train],
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]
