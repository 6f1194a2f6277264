"""The sets that quality is measured on: which split, by which labels, and what baselines learn from.

    {"id": ..., "text": ..., "entities": [{"start": 0, "end": 5, "label": "person", "text": "..."}]}

Takes a folder with one sub-folder a set, `train`, `valid`, `test` `.jsonl.gz` in it, a JSON object a line as above;
gives documents whose entities have the names that a model is asked for. These stand in
examples/bundled_model/labels.json, written before anything was scored: for each set and label of it the name and
synonyms, null for a label that is not asked for (MISC and the like). Knows nothing of models.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from genner_cli.errors import UsageError
from genner_cli.files.gold import read_gold
from genner_cli.types import Document, Entity, Label

LABELS = Path(__file__).parents[1] / "examples" / "bundled_model" / "labels.json"
DEFINITIONS = Path(__file__).with_name("definitions.json")
"""Of the labels of sets that models must do without training on; like LABELS written before anything was scored."""
NEWS = ("btc", "wnut17", "gmb")
"""What baselines learn from where a set has no train split."""


@dataclass(frozen=True, slots=True)
class Set:
    """A set. `train`: the sets that baselines learn from, none where a model must do without.

    `final`: the split of the final figure, `developing` that of all others. `whole_documents`: texts of many
    sentences, which the CRF reads one by one.
    """

    name: str
    train: tuple[str, ...]
    final: str = "test"
    developing: str | None = "valid"
    nested: bool = False
    whole_documents: bool = False

    def split(self, *, final: bool) -> str | None:
        """The split to score; None where there is none but the final one."""
        return self.final if final else self.developing


SETS = (
    Set("wnut17", ("wnut17",)),
    Set("btc", ("btc",), final="valid"),
    Set("uner_ewt", NEWS),
    Set("wikigold", NEWS, developing=None),
    Set("litbank", ("litbank",), nested=True, whole_documents=True),
    Set("gum", ("gum",), nested=True),
    Set("bc5cdr", ("bc5cdr",)),
    Set("snips", ("snips",), developing=None),
    Set("stackoverflow", ("stackoverflow",)),
    Set("tasteset", ("tasteset",), whole_documents=True),
    *(Set(f"crossner_{domain}", ()) for domain in ("politics", "science", "music", "literature", "ai")),
)


def chosen(name: str) -> Set:
    """The set of that name. Raises KeyError for unknown sets."""
    return {each.name: each for each in SETS}[name]


def names_of(name: str) -> dict[str, str | None]:
    """What each label of a set is called, None for those that are not asked for. Raises KeyError for unknown sets."""
    table: dict[str, dict[str, list[str] | None]] = json.loads(LABELS.read_text("utf-8"))
    return {label: names[0] if names else None for label, names in table[name].items()}


def asked_for(name: str) -> tuple[Label, ...]:
    """The labels of a set as a model is asked for them, each once."""
    return tuple(Label(name) for name in dict.fromkeys(names_of(name).values()) if name)


def described(name: str) -> tuple[Label, ...]:
    """The labels of a set with definitions, for a model that was not trained on them. Raises KeyError where one has
    none."""
    table: dict[str, str] = json.loads(DEFINITIONS.read_text("utf-8"))
    return tuple(Label(label.name, table[label.name]) for label in asked_for(name))


def read(folder: Path, name: str, split: str) -> list[Document]:
    """The documents of a split, labels as a model is asked for them, entities without one left out.

    Raises UsageError where the file is missing or its data is bad, or has a label that labels.json lacks.
    """
    path = folder / name / f"{split}.jsonl.gz"
    names = names_of(name)
    gold = read_gold([str(path)], labels=names)
    if gold.problems:
        raise UsageError(f"{len(gold.problems)} documents cannot be used; the first: {gold.problems[0].message}")
    return [replace(document, entities=_renamed(document, names)) for document in gold.documents]


def train_documents(folder: Path, chosen: Set) -> list[Document]:
    """What baselines of a set learn from, entities of other labels than its own left out."""
    asked = {label.name for label in asked_for(chosen.name)}
    documents = (document for name in chosen.train for document in read(folder, name, "train"))
    return [replace(d, entities=tuple(e for e in d.entities if e.label in asked)) for d in documents]


def outermost(entities: Iterable[Entity]) -> list[Entity]:
    """Entities, in canonical order, without those that begin within one before them."""
    kept: list[Entity] = []
    for entity in entities:
        if not kept or entity.start >= kept[-1].end:
            kept.append(entity)
    return kept


def _renamed(document: Document, names: dict[str, str | None]) -> tuple[Entity, ...]:
    renamed = ((_whole_name(e, document), names[e.label]) for e in document.entities)
    return tuple(dict.fromkeys(replace(entity, label=name) for entity, name in renamed if name))


def _whole_name(entity: Entity, document: Document) -> Entity:
    """The entity with its @ in section b of btc, which alone leaves the @ out of user names."""
    meta = document.fields.get("meta")
    in_b = isinstance(meta, dict) and meta.get("section") == "b" and document.text[: entity.start].endswith("@")
    return replace(entity, start=entity.start - 1, text=f"@{entity.text}") if in_b else entity


def sampled(documents: Sequence[Document], count: int | None) -> list[int]:
    """Places of `count` documents, spread evenly; all of them for None."""
    if count is None or count >= len(documents):
        return list(range(len(documents)))
    return [at * len(documents) // count for at in range(count)]
