"""Which output format, under which constraint: one training for each format, all alike, each measured three times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from genner_cli.errors import UsageError
from genner_cli.files.gold import write_gold
from genner_cli.formats import output_format
from genner_cli.probing.cells import CONSTRAINTS, Cell, measured
from genner_cli.probing.folder import ProbeFolder
from genner_cli.probing.recipe import Progress, Recipe, train_and_export
from genner_cli.training.gold import label_set
from genner_cli.types import Document

Cells = Mapping[str, Mapping[str, Cell]]
"""By format and by constraint."""


@dataclass(frozen=True, slots=True)
class FormatsProbe:
    """What to learn from, what to measure on, and how a model is made; `recipe.options.format` does not count."""

    train: Sequence[Document]
    valid: Sequence[Document]
    formats: tuple[str, ...]
    recipe: Recipe


def run(probe: FormatsProbe, folder: ProbeFolder, progress: Progress) -> Cells:
    """Does what has not been done yet. Raises UsageError where no document can be written in all formats."""
    data = folder.path / "train.jsonl"
    kept = carriable(probe.train, probe.formats, depth=probe.recipe.options.depth)
    if not kept:
        raise UsageError(f"no training document can be written in all of {', '.join(probe.formats)}; choose fewer")
    if not data.exists():
        write_gold(data, kept)
    found: dict[str, dict[str, Cell]] = {}
    for format in probe.formats:
        recipe = replace(probe.recipe, options=replace(probe.recipe.options, format=format))
        found[format] = _measured(recipe, data, probe.valid, folder, progress)
    return found


def _measured(
    recipe: Recipe, data: Path, valid: Sequence[Document], folder: ProbeFolder, progress: Progress
) -> dict[str, Cell]:
    format = str(recipe.options.format)
    progress.step(f"{format}: training and export")
    gguf = train_and_export(recipe, data, folder.path / format, progress)
    found = {}
    for constraint in CONSTRAINTS:
        progress.step(f"{format}: extracting with constraint {constraint}")
        spec = recipe.extracting(gguf, constraint)
        found[constraint.value] = measured(folder, f"{format}/{constraint}", valid, spec)
    return found


def carriable(documents: Sequence[Document], formats: Sequence[str], *, depth: int) -> list[Document]:
    """The documents all of whose entities every format can represent, so that all are trained on the same."""
    names = [label.name for label in label_set(documents)]

    def fits(document: Document, format: str) -> bool:
        return not output_format(format).render(document.text, document.entities, names, depth=depth).left_out

    return [document for document in documents if all(fits(document, format) for format in formats)]
