"""How much of a model's knowledge is of names: of labels, which symbols replace, and of entities, which are swapped.

named             labels as they are
symbol-only       labels called A, B, C and so on, nothing said of what they mean
symbol-explained  the same with the labels' definitions
entity-swap       the named model, on documents whose entities it has not been trained on
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count, product
from pathlib import Path
from string import ascii_uppercase

from genner_cli.files.gold import write_gold
from genner_cli.generation import Constraint
from genner_cli.probing.cells import Cell, Progress, measured
from genner_cli.probing.folder import ProbeFolder
from genner_cli.probing.making import Making, Told, make_model
from genner_cli.probing.swapping import Swapped
from genner_cli.scoring.figures import Key
from genner_cli.types import Document, Label

NAMED, ONLY, EXPLAINED, SWAP = "named", "symbol-only", "symbol-explained", "entity-swap"


@dataclass(frozen=True, slots=True)
class MemorizationProbe:
    """`making.labels` are all labels, with their definitions if there are any; `swapped`: `valid` with other
    entities."""

    train: Sequence[Document]
    valid: Sequence[Document]
    swapped: Swapped
    making: Making
    constraint: Constraint

    @property
    def labels(self) -> tuple[Label, ...]:
        """All of them."""
        return self.making.labels or ()

    @property
    def explained(self) -> bool:
        """Whether every label has a definition, without which there is no symbol-explained."""
        return all(label.definition for label in self.labels)


def run(probe: MemorizationProbe, folder: ProbeFolder, told: Told, progress: Progress = iter) -> dict[str, Cell]:
    """A cell for each variant, labels called by their names; does what is not done yet."""
    names = symbols(probe.labels)
    variants = {NAMED: probe.labels, ONLY: tuple(Label(symbol) for symbol in names.values())}
    if probe.explained:
        variants[EXPLAINED] = tuple(Label(names[label.name], label.definition) for label in probe.labels)
    found = {}
    for variant, labels in variants.items():
        renaming = {} if variant == NAMED else names
        gguf = _made(probe, variant, labels, renaming, folder, told)
        found[variant] = _measured(probe, variant, gguf, renamed(probe.valid, renaming), folder, told, progress)
        found[variant] = _called(found[variant], {symbol: name for name, symbol in renaming.items()})
    named = folder.path / NAMED / "model.gguf"
    found[SWAP] = _measured(probe, SWAP, named, probe.swapped.documents, folder, told, progress)
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
    told: Told,
) -> Path:
    told.step(f"{variant}: training and export")
    place = folder.path / variant
    data = place / "train.jsonl"
    if not data.exists():
        place.mkdir(exist_ok=True)
        write_gold(data, renamed(probe.train, renaming))
    return make_model(replace(probe.making, labels=labels), data, place, told)


def _measured(
    probe: MemorizationProbe,
    variant: str,
    gguf: Path,
    documents: Sequence[Document],
    folder: ProbeFolder,
    told: Told,
    progress: Progress,
) -> Cell:
    told.step(f"{variant}: extracting")
    options = probe.making.extracting(gguf, probe.constraint)
    return measured(folder, f"{variant}/result", documents, options, progress)


def _called(cell: Cell, names: Mapping[str, str]) -> Cell:
    """The cell with its labels called so."""
    counts = tuple(
        {Key(key.kind, names.get(key.name, key.name)): each for key, each in document.items()}
        for document in cell.counts
    )
    return replace(cell, counts=counts)
