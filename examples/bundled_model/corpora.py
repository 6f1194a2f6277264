"""The corpora that the bundled model learns from, their labels in its terms, and the mix.

Takes a folder with one sub-folder a corpus (`train.jsonl.gz`, `valid.jsonl.gz`; `{"text", "entities"}`
a line), gives samples. The label maps stand here, written before anything was scored.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from genner_cli.chunking import sentences
from genner_cli.training.examples import Sample
from genner_cli.types import Document, Entity, Label

LONGEST_TEXT = 1000
LABELS = {
    "PER": "named people",
    "ORG": "named companies, institutions, teams and bands",
    "LOC": "named countries, cities, regions, buildings and natural places",
    "NORP": "nationalities, religions and political groups",
    "TIME": "dates and times",
    "EVENT": "named events",
    "WORK": "titles of books, films, songs and other works",
    "PRODUCT": "named products",
    "MISC": "other names",
    "NUM": "numbers and amounts",
    "person": "people, named or not",
    "place": "places, named or not",
    "organization": "organizations, named or not",
    "event": "events, named or not",
    "time": "times, named or not",
    "object": "objects, named or not",
    "abstract": "abstract things, named or not",
    "animal": "animals, named or not",
    "plant": "plants, named or not",
    "substance": "substances, named or not",
    "people": "characters of a novel, named or not",
    "facility": "buildings and rooms, named or not",
    "location": "natural places, named or not",
    "polity": "cities and countries, named or not",
    "vehicle": "vehicles, named or not",
    "group": "organizations of a novel, named or not",
}


@dataclass(frozen=True)
class Corpus:
    """A corpus: its share of the examples and its labels in the model's terms ("" leaves one out).

    A label that is left out is one that its annotators gave and the model is not asked for.
    """

    share: float
    labels: dict[str, str]
    whole_documents: bool = False
    joins: tuple[str, ...] = field(default=(" ", " ", " ", "\n"))


CORPORA = {
    "btc": Corpus(0.24, {"PER": "PER", "ORG": "ORG", "LOC": "LOC"}, joins=("\n", " ")),
    "wnut17": Corpus(0.12, {"person": "PER", "location": "LOC", "corporation": "ORG", "group": "ORG",
                            "product": "PRODUCT", "creative-work": "WORK"}, joins=("\n", " ")),
    "gmb": Corpus(0.24, {"per": "PER", "org": "ORG", "geo": "LOC", "gpe": "NORP", "tim": "TIME", "eve": "EVENT",
                         "art": "", "nat": ""}),
    "redocred": Corpus(0.12, {"PER": "PER", "ORG": "ORG", "LOC": "LOC", "TIME": "TIME", "NUM": "NUM", "MISC": "MISC"},
                       whole_documents=True),
    "multiconer1": Corpus(0.10, {"PER": "PER", "LOC": "LOC", "CORP": "ORG", "GRP": "ORG", "CW": "WORK",
                                 "PROD": "PRODUCT"}),
    "gum_docs": Corpus(0.09, {name: name for name in ("person", "place", "organization", "event", "time", "object",
                                                      "abstract", "animal", "plant", "substance")},
                       whole_documents=True),
    "litbank": Corpus(0.09, {"PER": "people", "FAC": "facility", "LOC": "location", "GPE": "polity", "VEH": "vehicle",
                             "ORG": "group"}, whole_documents=True),
}  # fmt: skip
EVALUATED_ONLY = {"uner_ewt": Corpus(0.0, {"PER": "PER", "ORG": "ORG", "LOC": "LOC"})}


def read(folder: Path, name: str, split: str) -> list[Document]:
    """The documents of a split, labels in the model's terms, entities without one left out."""
    labels = (CORPORA | EVALUATED_ONLY)[name].labels
    documents = []
    with gzip.open(folder / name / f"{split}.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            starts = ((e, _start(record, e)) for e in record["entities"] if labels[e["label"]])
            entities = {
                Entity(start, e["end"], labels[e["label"]], record["text"][start : e["end"]]): None
                for e, start in starts
            }
            documents.append(Document(record["text"], record["id"], tuple(entities)))
    return documents


def _start(record: dict[str, Any], entity: dict[str, Any]) -> int:
    """Where an entity starts; in section b of btc, which alone leaves the @ out of user names, at the @."""
    at_name = record["text"][: entity["start"]].endswith("@")
    return int(entity["start"]) - (at_name and record.get("meta", {}).get("section") == "b")


def labels_of(name: str) -> list[Label]:
    """The labels of a corpus in the model's terms, with definitions."""
    names = dict.fromkeys(label for label in (CORPORA | EVALUATED_ONLY)[name].labels.values() if label)
    return [Label(label, LABELS[label]) for label in names]


class Mix:
    """Draws samples: one to eight consecutive sentences, labels shuffled and often only some of them."""

    def __init__(self, folder: Path) -> None:
        self._parts = {name: [_as_sentences(d, c) for d in read(folder, name, "train")] for name, c in CORPORA.items()}
        self._sentences = {
            name: [part for parts in documents for part in parts] if not CORPORA[name].whole_documents else []
            for name, documents in self._parts.items()
        }

    def draw(self, random: random.Random) -> Sample:
        """A sample; the same for the same state of `random`."""
        name = random.choices(list(CORPORA), [corpus.share for corpus in CORPORA.values()])[0]
        parts = self._sentences[name] or random.choice(self._parts[name])
        count = random.choices(range(1, 9), (40, 20, 12, 8, 6, 5, 5, 4))[0]
        first = random.randrange(max(1, len(parts) - count + 1))
        text, entities = _join(parts[first : first + count], random.choice(CORPORA[name].joins))
        labels = _ask_for(labels_of(name), random)
        asked = {label.name for label in labels}
        return Sample(text, tuple(e for e in entities if e.label in asked), labels)


def _as_sentences(document: Document, corpus: Corpus) -> list[Document]:
    if not corpus.whole_documents:
        return [document]
    found = []
    for start, end in sentences(document.text):
        inside = [e for e in document.entities if start <= e.start and e.end <= end]
        moved = tuple(Entity(e.start - start, e.end - start, e.label, e.text) for e in inside)
        found.append(Document(document.text[start:end], entities=moved))
    return found


def _join(parts: Sequence[Document], separator: str) -> tuple[str, list[Entity]]:
    text, entities = "", []
    for part in parts:
        if text and len(text) + len(part.text) >= LONGEST_TEXT:
            break
        at = len(text) + len(separator) if text else 0
        text = text + separator + part.text if text else part.text
        entities += [Entity(e.start + at, e.end + at, e.label, e.text) for e in part.entities]
    return text, entities


def _ask_for(labels: Sequence[Label], random: random.Random) -> tuple[Label, ...]:
    count = len(labels) if random.random() < 0.4 else random.randint(1, len(labels))
    chosen = random.sample(list(labels), count)
    if random.random() < 0.2:
        chosen = [label for label in labels if label in chosen]
    return tuple(label if random.random() < 0.5 else Label(label.name) for label in chosen)
