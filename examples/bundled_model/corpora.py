"""The corpora that the bundled model learns from, their labels in its terms, and the mix.

Takes a folder with one sub-folder a corpus (`train.jsonl.gz`, `valid.jsonl.gz`; `{"text", "entities"}` a line) and the
silver passages, gives samples. The names of labels stand in labels.json, written before anything was scored.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from pathlib import Path
from random import Random
from typing import Any

import silver
from edits import noisy, recased, swapped
from heldout import HeldOut

from genner_cli.chunking import sentences
from genner_cli.training.augment import augmented
from genner_cli.training.examples import Sample
from genner_cli.training.options import Augmentation
from genner_cli.types import Document, Entity, Label

LONGEST_TEXT = 1000
NAMES: dict[str, dict[str, list[str] | None]] = json.loads(Path(__file__).with_name("labels.json").read_text("utf-8"))
DEFINITIONS: dict[str, str] = json.loads(Path(__file__).with_name("definitions.json").read_text("utf-8"))
FULL_NAMES = {"families": 0.4, "types": 0.0, "both": 0.8}  # how often a family is called by its full name
FAMILIES = {"PER": "person", "ORG": "organization", "LOC": "location", "WORK": "creative work", "EVENT": "event",
            "PRODUCT": "product"}  # fmt: skip
SENTENCES = (50, 22, 10, 6, 5, 3, 2, 2)  # how often a sample has one, two, three ... sentences
SHORT_SENTENCES = (30, 20, 15, 12, 9, 6, 4, 4)
LOWERED = 0.06  # shares of the samples
SPACED = 0.05
SWAPPED = 0.5
ASKED_TWICE = 0.15
DEFINED = 0.2
STYLED = 0.2
CANONICAL = 0.6  # the names that the corpus is asked for with when it is scored
SHUFFLED = 0.6
SUBSET = 0.25
ALONE = {"gold": 0.12, "families": 0.12, "types": 0.35}  # how often a sample is asked for one label only
PRESENT = 0.5  # how often that is one its text has something of
LONG = 0.14  # how often it is asked for a long list
LONG_LIST = (12, 100)  # labels


@dataclass(frozen=True)
class Corpus:
    """A corpus: its weight in the draws, what joins its sentences, whether they stand in documents. `alike`: texts
    that are drawn together and asked for the same labels, so that a long list of them is computed once for several
    short texts. `far`: corpora whose labels its texts have nothing of."""

    share: float
    alike: int = 1
    joins: tuple[str, ...] = (" ", " ", "\n")
    sentences: tuple[int, ...] = SENTENCES
    whole_documents: bool = False
    lowered: bool = False
    swaps: bool = False
    far: tuple[str, ...] = ()


BIOMEDICINE = ("bc5cdr", "ncbi_disease", "bc2gm", "bionlp13cg")
COOKING, CODE = ("tasteset",), ("stackoverflow",)
SPECIAL = (*BIOMEDICINE, *COOKING, *CODE)
ANYWHERE = {"organization", "user name", "website", "version", "value", "application", "device"}
"""Labels of SPECIAL that texts of all kinds have something of."""
CORPORA = {
    "btc": Corpus(0.10, joins=("\n", " "), sentences=SHORT_SENTENCES, swaps=True, far=SPECIAL),
    "gmb": Corpus(0.06, swaps=True, far=SPECIAL),
    "wnut17": Corpus(0.05, joins=("\n", " "), sentences=SHORT_SENTENCES, swaps=True, far=SPECIAL),
    "multiconer2": Corpus(0.02, lowered=True),
    "multiconer1": Corpus(0.01, lowered=True),
    "redocred": Corpus(0.03, whole_documents=True, far=SPECIAL),
    "sec": Corpus(0.005, far=SPECIAL),
    "gum_docs": Corpus(0.06, whole_documents=True),
    "litbank": Corpus(0.06, whole_documents=True, far=SPECIAL),
    "bc5cdr": Corpus(0.20, alike=2, far=(*COOKING, *CODE)),
    "stackoverflow": Corpus(0.08, alike=3, sentences=SHORT_SENTENCES, far=(*BIOMEDICINE, *COOKING)),
    "snips": Corpus(0.20, alike=8, joins=("\n", " "), far=(*BIOMEDICINE, *CODE)),
    "tasteset": Corpus(0.20, alike=2, whole_documents=True, joins=("\n",), far=CODE),
    "sgd": Corpus(0.005, alike=4, joins=("\n", " "), sentences=SHORT_SENTENCES, far=(*BIOMEDICINE, *CODE)),
    "hwu64": Corpus(0.005, alike=4, joins=("\n",), sentences=SHORT_SENTENCES, far=(*BIOMEDICINE, *CODE)),
    "ncbi_disease": Corpus(0.015, far=(*COOKING, *CODE)),
    "bionlp13cg": Corpus(0.015, far=(*COOKING, *CODE)),
    "bc2gm": Corpus(0.01, far=(*COOKING, *CODE)),
}
SILVER = {"families": 0.03, "types": 0.14, "both": 0.04}  # weights in the draws, beside those of the corpora
MOST_NEGATIVES = 8  # types that a silver passage is asked for and has none of
NEAR = 0.5  # the share of these that stands beside the passage's types elsewhere: `party` beside `politician`


def read(folder: Path, name: str, split: str) -> list[Document]:
    """The documents of a split, labels as in the corpus, without entities that the model is not asked for."""
    asked = NAMES[name]
    documents = []
    with gzip.open(folder / name / f"{split}.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            entities = {
                Entity(start, e["end"], e["label"], record["text"][start : e["end"]]): None
                for e in record["entities"]
                if asked[e["label"]]
                for start in (_start(record, e),)
            }
            documents.append(Document(record["text"], record["id"], tuple(entities)))
    return documents


def _start(record: dict[str, Any], entity: dict[str, Any]) -> int:
    """Where an entity starts; in section b of btc, which alone leaves the @ out of user names, at the @."""
    at_name = record["text"][: entity["start"]].endswith("@")
    return int(entity["start"]) - (at_name and record.get("meta", {}).get("section") == "b")


def labels_of(name: str) -> list[Label]:
    """The labels of a corpus as the model is asked for them."""
    return [Label(label) for label in dict.fromkeys(names[0] for names in NAMES[name].values() if names)]


def known_labels() -> tuple[Label, ...]:
    """The labels that the model knows best: those of the corpora that are scored. Without definitions, as in most
    samples."""
    corpora = ("gmb", "wnut17", "redocred", "gum", "litbank", "bc5cdr", "bc2gm", "tasteset", "stackoverflow", "snips")
    return tuple(dict.fromkeys(label for corpus in corpora for label in labels_of(corpus)))


TOGETHER = (
    ("PER", "ORG", "LOC"),
    ("PER", "LOC", "ORG", "PRODUCT", "WORK"),
    ("PER", "ORG", "LOC", "NORP", "TIME", "EVENT"),
    tuple(label.name for label in labels_of("gum")),
    tuple(label.name for label in labels_of("litbank")),
    tuple(label.name for label in labels_of("bc5cdr")),
)
"""Sets of labels that are asked for together in training, so that they are told apart."""


def named(entities: Iterable[Entity], names: dict[str, str]) -> tuple[Entity, ...]:
    """The entities under other labels, each once."""
    return tuple(dict.fromkeys(Entity(e.start, e.end, names[e.label], e.text) for e in entities if e.label in names))


class Mix:
    """Draws samples: consecutive sentences, asked for with all labels or some, under names of many kinds."""

    def __init__(self, folder: Path, silver_passages: Path) -> None:
        held_out = HeldOut(folder)
        self._parts = {
            name: [parts for document in read(folder, name, "train") if (parts := held_out.without(
                   _as_sentences(document, corpus)))]
            for name, corpus in CORPORA.items()
        }  # fmt: skip
        self._sentences = {
            name: [part for parts in documents for part in parts] if not CORPORA[name].whole_documents else []
            for name, documents in self._parts.items()
        }
        passages = [passage for passage in silver.read(silver_passages) if not held_out.shows(passage["text"])]
        self._silver = SilverPassages(passages)
        self._strange = {name: _strange_to(name) for name in CORPORA}
        self.left_out = held_out.found

    def draw(self, random: Random) -> list[Sample]:
        """One or two samples of the same text, or several texts' with the same labels; the same for the same state of
        `random`."""
        kind = random.choices([*SILVER, ""], [*SILVER.values(), 1 - sum(SILVER.values())])[0]
        alike: list[Sample] = []
        if kind:
            sample, others = self._silver.draw(kind, random), self._silver.types
        else:
            name = random.choices(list(CORPORA), [corpus.share for corpus in CORPORA.values()])[0]
            (sample, *alike), others = self._gold(name, random), self._strange[name]
        if kind == "both":  # without `politician`, a politician would be a person
            return [_ask(sample, random, subset=0.0, negatives=0)]
        if random.random() < ALONE[kind or "gold"]:
            return [_alone(sample, random)]
        negatives = 0 if kind else 2  # silver passages have drawn their own
        if others and kind != "families" and random.random() < LONG:
            asked = _among_many(sample, others, random)
        else:
            asked = _ask(sample, random, subset=SUBSET, negatives=negatives)
            if not alike and len(sample.labels) > 1 and random.random() < ASKED_TWICE:
                return [asked, _ask(sample, random, subset=1.0, negatives=negatives)]
        return [asked, *(_asked_as(asked, other) for other in alike)]

    def _gold(self, name: str, random: Random) -> list[Sample]:
        """Texts of a corpus, asked for with all its labels, under the same names."""
        canonical = random.random() < CANONICAL
        chosen = {names[0]: names[0] if canonical or random.random() < 0.5 else random.choice(names)
                  for names in NAMES[name].values() if names}  # fmt: skip
        if len(set(chosen.values())) < len(chosen):
            chosen = {first: first for first in chosen}
        definitions = {other: DEFINITIONS.get(first, "") for first, other in chosen.items()}
        styled, labels = _styled(chosen.values(), definitions, random)
        names = {label: styled[chosen[names[0]]] for label, names in NAMES[name].items() if names}
        texts = [self._text(name, random) for _ in range(CORPORA[name].alike)]
        return [Sample(text, named(entities, names), labels) for text, entities in texts]

    def _text(self, name: str, random: Random) -> tuple[str, list[Entity]]:
        """Consecutive sentences of a corpus, with labels as in the corpus."""
        corpus = CORPORA[name]
        parts = self._sentences[name] or random.choice(self._parts[name])
        count = random.choices(range(1, 9), corpus.sentences)[0]
        first = random.randrange(max(1, len(parts) - count + 1))
        text, entities = _join(parts[first : first + count], random.choice(corpus.joins))
        if corpus.swaps and random.random() < SWAPPED:
            text, entities = swapped(text, entities, self._silver.titles, NAMES[name], random)
        if corpus.lowered and random.random() < 0.7:
            text = recased(text, entities)
            entities = [Entity(e.start, e.end, e.label, text[e.start : e.end]) for e in entities]
        return noisy(text, entities, random, lowered=LOWERED, spaced=SPACED)


class SilverPassages:
    """Silver passages, asked for by families or by types, and titles by family to swap names for."""

    def __init__(self, passages: list[dict[str, Any]]) -> None:
        self._passages = passages
        self._whole = [passage for passage in passages if passage["whole"]]
        self.titles: dict[str, list[str]] = {}
        self.types: list[str] = []  # the narrow ones of all entities: a frequent one many times
        self._beside: dict[str, list[str]] = {}  # by a head: the types of other heads in the same passages
        for passage in passages:
            narrow = [of_one for entity in passage["entities"] if (of_one := _narrow(entity))]
            self.types += [of_one[0] for of_one in narrow]
            for one, other in permutations(narrow, 2):
                if one[-1] != other[-1]:
                    self._beside.setdefault(one[-1], []).extend(other)
            for entity in passage["entities"]:
                if (family := entity["types"][-1]) in FAMILIES:
                    self.titles.setdefault(family, []).append(passage["text"][entity["start"] : entity["end"]])

    def draw(self, kind: str, random: Random) -> Sample:
        """A passage, asked for by families, by types, or by both, where the narrower one counts.

        Only a whole one can be asked for all people, or be labelled as having no more of what it shows.
        """
        passage = random.choice(self._passages if kind == "types" else self._whole)
        text = passage["text"]
        labels = dict.fromkeys(FAMILIES) if kind == "families" else {}
        if kind == "both":
            labels = dict.fromkeys(random.sample(list(FAMILIES), random.randint(2, len(FAMILIES))))
        if kind != "families":
            narrow = [_narrow(entity) for entity in passage["entities"]]
            asked = [random.choice(of_one) for of_one in narrow if kind == "types" or random.random() < 0.7]
            labels |= dict.fromkeys([*asked, *self._negatives(passage, random)])
        entities = [
            Entity(e["start"], e["end"], named_as, text[e["start"] : e["end"]])
            for e in passage["entities"]
            if (named_as := next((t for t in e["types"] if t in labels), None))
        ]
        text, found = noisy(text, entities, random, lowered=LOWERED, spaced=SPACED)
        full = random.random() < FULL_NAMES[kind]
        names = {label: FAMILIES.get(label, label) if full else label for label in labels}
        definitions = {name: DEFINITIONS.get(label, "") for label, name in names.items()}
        styled, asked = _styled(dict.fromkeys(names.values()), definitions, random)
        return Sample(text, named(named(found, names), styled), asked)

    def _negatives(self, passage: dict[str, Any], random: Random) -> list[str]:
        """Types of entities elsewhere, the frequent ones more often, that no entity of the passage is labelled with.

        One of them may be of such a type all the same, known or not; so rarely that it teaches more than it harms.
        """
        here = {t for entity in passage["entities"] for t in entity["types"]}
        near = [t for head in sorted(here) for t in self._beside.get(head, ())]
        drawn = []
        for _ in range(random.randint(0, MOST_NEGATIVES)):
            name = random.choice(near if near and random.random() < NEAR else self.types)
            drawn.append(name if random.random() < 0.5 else name.split()[-1])
        return [name for name in drawn if name not in here and name.split()[-1] not in here]


def _narrow(entity: dict[str, Any]) -> list[str]:
    return [t for t in entity["types"] if t not in FAMILIES]


def _strange_to(corpus: str) -> list[str]:
    """Labels, under all their names, that no text of a corpus has anything of."""
    taken = ANYWHERE.union(name.casefold() for names in NAMES[corpus].values() for name in names or ())
    far = [names for other in CORPORA[corpus].far for names in NAMES[other].values() if names]
    return [name for names in far if not taken & {each.casefold() for each in names} for name in names]


def _alone(sample: Sample, random: Random) -> Sample:
    """Asked for one label only: one that the text has something of, or one that it has nothing of."""
    found = {entity.label for entity in sample.entities}
    present = [label for label in sample.labels if label.name in found]
    absent = [label for label in sample.labels if label.name not in found]
    label = random.choice((present if random.random() < PRESENT else absent) or sample.labels)
    return replace(sample, entities=tuple(e for e in sample.entities if e.label == label.name), labels=(label,))


def _among_many(sample: Sample, others: Sequence[str], random: Random) -> Sample:
    """Asked for others too, which the text has nothing of, in the style of its own labels."""
    taken = {name for label in sample.labels for name in (label.name.casefold(), label.name.casefold().split()[-1])}
    styles = {label.name.isupper() for label in sample.labels}
    style = random.choice((str.upper, str.title)) if styles == {True} else str
    drawn = random.sample(others, min(len(others), random.randint(*LONG_LIST)))
    added = [name for name in drawn if not taken & {name.casefold(), name.casefold().split()[-1]}]
    labels = [*sample.labels, *(Label(name) for name in dict.fromkeys(map(style, added)))]
    random.shuffle(labels)
    return replace(sample, labels=tuple(labels))


def _asked_as(asked: Sample, other: Sample) -> Sample:
    """Another sample, asked for with the labels of a first one."""
    names = {label.name for label in asked.labels}
    return replace(other, entities=tuple(e for e in other.entities if e.label in names), labels=asked.labels)


def _styled(
    labels: Iterable[str], definitions: dict[str, str], random: Random
) -> tuple[dict[str, str], tuple[Label, ...]]:
    """The labels all in one style, by their names before, and with definitions or without."""
    style = random.choice((str.lower, str.upper, str.title)) if random.random() < STYLED else str
    defined = random.random() < DEFINED
    names = {label: style(label) for label in labels}
    asked = {name: definitions.get(label, "") if defined else "" for label, name in names.items()}
    return names, tuple(Label(name, text) for name, text in asked.items())


def _ask(sample: Sample, random: Random, *, subset: float, negatives: int) -> Sample:
    many = len(sample.labels) > 16
    augmentation = Augmentation(
        subset=max(subset, 0.5) if many else subset, shuffle=random.random() < SHUFFLED, negatives=negatives
    )
    return augmented(sample, augmentation, random)


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
