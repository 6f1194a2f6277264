"""How much of a model's knowledge is of names: of labels, which symbols replace, and of entities, which are swapped.

named             labels as they are
symbol-only       labels called A, B, C and so on, without a word on what they mean
symbol-explained  the same with the labels' definitions
entity-swap       the named model, on documents whose entities it has not been trained on
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count, product
from pathlib import Path
from random import Random
from string import ascii_uppercase

from genner_cli.files.gold import write_gold
from genner_cli.generation import Constraint
from genner_cli.probing.cells import Cell, measured
from genner_cli.probing.folder import ProbeFolder
from genner_cli.probing.recipe import Progress, Recipe, train_and_export
from genner_cli.scoring.figures import Key
from genner_cli.types import Document, Entity, Label

NAMED, ONLY, EXPLAINED, SWAP = "named", "symbol-only", "symbol-explained", "entity-swap"


@dataclass(frozen=True, slots=True)
class MemorizationProbe:
    """`recipe.labels` are all labels, with their definitions if there are any; `swapped`: `valid` with other
    entities."""

    train: Sequence[Document]
    valid: Sequence[Document]
    swapped: Swapped
    recipe: Recipe
    constraint: Constraint

    @property
    def labels(self) -> tuple[Label, ...]:
        """All of them."""
        return self.recipe.labels or ()

    @property
    def explained(self) -> bool:
        """Whether every label has a definition, without which there is no symbol-explained."""
        return all(label.definition for label in self.labels)


def run(probe: MemorizationProbe, folder: ProbeFolder, progress: Progress) -> dict[str, Cell]:
    """A cell for each variant, labels called by their names; does what is not done yet."""
    names = symbols(probe.labels)
    variants = {NAMED: probe.labels, ONLY: tuple(Label(symbol) for symbol in names.values())}
    if probe.explained:
        variants[EXPLAINED] = tuple(Label(names[label.name], label.definition) for label in probe.labels)
    found = {}
    for variant, labels in variants.items():
        renaming = {} if variant == NAMED else names
        gguf = _made(probe, variant, labels, renaming, folder, progress)
        found[variant] = _measured(probe, variant, gguf, renamed(probe.valid, renaming), folder, progress)
        found[variant] = _called(found[variant], {symbol: name for name, symbol in renaming.items()})
    named = folder.path / NAMED / "model.gguf"
    found[SWAP] = _measured(probe, SWAP, named, probe.swapped.documents, folder, progress)
    return found


def symbols(labels: Sequence[Label]) -> dict[str, str]:
    """A, B, ..., Z, AA, AB and so on, in the order of the labels, by their names."""
    return dict(zip((label.name for label in labels), _symbols(), strict=False))


def _symbols() -> Iterator[str]:
    for length in count(1):
        yield from map("".join, product(ascii_uppercase, repeat=length))


def renamed(documents: Sequence[Document], names: Mapping[str, str]) -> list[Document]:
    """The same documents with other labels; those that the map does not have stay."""
    return [
        replace(each, entities=tuple(replace(e, label=names.get(e.label, e.label)) for e in each.entities))
        for each in documents
    ]


def _made(
    probe: MemorizationProbe,
    variant: str,
    labels: tuple[Label, ...],
    renaming: Mapping[str, str],
    folder: ProbeFolder,
    progress: Progress,
) -> Path:
    progress.step(f"{variant}: training and export")
    place = folder.path / variant
    data = place / "train.jsonl"
    if not data.exists():
        place.mkdir(exist_ok=True)
        write_gold(data, renamed(probe.train, renaming))
    return train_and_export(replace(probe.recipe, labels=labels), data, place, progress)


def _measured(
    probe: MemorizationProbe,
    variant: str,
    gguf: Path,
    documents: Sequence[Document],
    folder: ProbeFolder,
    progress: Progress,
) -> Cell:
    progress.step(f"{variant}: extracting")
    spec = probe.recipe.extracting(gguf, probe.constraint)
    return measured(folder, f"{variant}/result", documents, spec)


def _called(cell: Cell, names: Mapping[str, str]) -> Cell:
    """The cell with its labels called so."""
    counts = tuple(
        {Key(key.kind, names.get(key.name, key.name)): each for key, each in document.items()}
        for document in cell.counts
    )
    return replace(cell, counts=counts)


Inner = tuple[tuple[int, int, str], ...]


@dataclass(frozen=True, slots=True, order=True)
class Mention:
    """A text and, for nested data, the entities within it: offsets into it, and labels."""

    text: str
    inner: Inner = ()


Pool = Mapping[str, Sequence[Mention]]
"""By label, sorted."""


@dataclass(frozen=True, slots=True)
class Swapped:
    """`replaced` and `kept` count entities that lie in no other; kept are those whose label has no other mention."""

    documents: tuple[Document, ...]
    replaced: int
    kept: Mapping[str, int]


def unseen_pool(documents: Iterable[Document], seen: Iterable[Document]) -> Pool:
    """The mentions of documents, by label, that `seen` has under no label, whatever their case; nor any within them."""
    known = {entity.text.casefold() for document in seen for entity in document.entities}
    pool: dict[str, set[Mention]] = defaultdict(set)
    for document in documents:
        for outer, inner in _outermost(document.entities):
            if not any(entity.text.casefold() in known for entity in (outer, *inner)):
                pool[outer.label].add(Mention(outer.text, _relative(outer, inner)))
    return {label: sorted(mentions) for label, mentions in pool.items()}


def swap(documents: Sequence[Document], pool: Pool, *, seed: int = 0) -> Swapped:
    """Replaces each outermost entity, and what lies in it, by another mention; the same for the same seed."""
    done = []
    replaced = 0
    kept: dict[str, int] = defaultdict(int)
    for number, document in enumerate(documents):
        draw = Random(f"{seed} {number}")
        changes: list[tuple[Entity, Mention]] = []
        for outer, inner in _outermost(document.entities):
            choices = [each for each in pool.get(outer.label, ()) if each.text.casefold() != outer.text.casefold()]
            kept[outer.label] += not choices
            replaced += bool(choices)
            mention = draw.choice(choices) if choices else Mention(outer.text, _relative(outer, inner))
            changes.append((outer, mention))
        done.append(_rebuilt(document, changes))
    return Swapped(tuple(done), replaced, {label: count for label, count in sorted(kept.items()) if count})


def _outermost(entities: Sequence[Entity]) -> Iterator[tuple[Entity, list[Entity]]]:
    """The entities that lie in no other, in canonical order, each with those that lie in it."""
    rest = list(entities)
    while rest:
        outer = rest.pop(0)
        inner = []
        while rest and rest[0].end <= outer.end:
            inner.append(rest.pop(0))
        yield outer, inner


def _relative(outer: Entity, inner: Sequence[Entity]) -> Inner:
    return tuple((each.start - outer.start, each.end - outer.start, each.label) for each in inner)


def _rebuilt(document: Document, changes: Sequence[tuple[Entity, Mention]]) -> Document:
    text, at = "", 0
    places: list[tuple[int, int, str]] = []
    for outer, mention in changes:
        text += document.text[at : outer.start]
        places.append((len(text), len(text) + len(mention.text), outer.label))
        places += [(len(text) + start, len(text) + end, label) for start, end, label in mention.inner]
        text += mention.text
        at = outer.end
    text += document.text[at:]
    entities = tuple(Entity(start, end, label, text[start:end]) for start, end, label in places)
    return replace(document, text=text, entities=entities)
