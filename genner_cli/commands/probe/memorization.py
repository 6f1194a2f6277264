"""`genner probe memorization`: how much depends on the names of labels, and on entities seen in training."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genner_cli.commands.options import FROM_TRAIN, DownloadBase, run_options
from genner_cli.commands.probe.options import (
    Folder,
    QuantizationType,
    TrainFile,
    ValidFile,
    files_hash,
    progress_on_stderr,
    read_both,
    report,
)
from genner_cli.commands.terminal import talk_on_stderr
from genner_cli.commands.training import BaseReference, absolute, needs_training, training_options
from genner_cli.generation import Constraint
from genner_cli.options import Panel
from genner_cli.plurals import counted
from genner_cli.running.spec import RunSpec
from genner_cli.training.options import TrainOptions

if TYPE_CHECKING:
    from genner_cli.probing.cells import Cell
    from genner_cli.probing.memorization import Swapped

PoolFile = Annotated[
    list[str] | None,
    typer.Option("--pool", metavar="FILE", help="Labelled JSONL to take unseen entities from.", show_default="VALID"),
]


@training_options(without=("augment", "fusion", "beta"))
@run_options("labels", "constraint", "text_field", "id_field", Panel.SPEED, shown=FROM_TRAIN)
def memorization(
    train: TrainFile,
    valid: ValidFile,
    base: BaseReference,
    output: Folder,
    spec: RunSpec,
    pool: PoolFile = None,
    type: QuantizationType = "Q8_0",
    download: DownloadBase = False,
    *,
    chosen: TrainOptions,
) -> None:
    """Train with label names, symbols, and explained symbols; and swap entities for unseen ones.

    Symbols are A, B, C and so on; explained ones need --labels with a definition for each label. For the swap, the
    model with label names is measured on VALID with every entity replaced by one of the same label that is not in
    TRAIN. Differences from that model have paired bootstrap intervals. The same command resumes an interrupted run.

    Example: `genner probe memorization train.jsonl valid.jsonl --base small --labels labels.yaml -o memorization/`
    """
    needs_training()
    from genner_cli.files.gold import read_gold_files
    from genner_cli.probing import memorization as probing
    from genner_cli.probing.folder import ProbeFolder
    from genner_cli.probing.recipe import Recipe
    from genner_cli.training.gold import label_set

    talk_on_stderr()
    documents = read_both(train, valid, chosen, text_field=spec.text_field, id_field=spec.id_field)
    known = spec.labels or label_set(documents[0])
    others = read_gold_files(pool, text_field=spec.text_field, id_field=spec.id_field) if pool else documents[1]
    swapped = probing.swap(documents[1], probing.unseen_pool(others, documents[0]), seed=chosen.seed)
    recipe = Recipe(absolute(base), chosen, type, known, download, spec.engine)
    probe = probing.MemorizationProbe(*documents, swapped, recipe, spec.constraint)
    data = {"train": files_hash(train), "valid": files_hash(valid), "pool": files_hash(*pool) if pool else None}
    folder = ProbeFolder(
        output, {"probe": "memorization", **recipe.value(), "constraint": spec.constraint.value, "data": data}
    )
    if not probe.explained:
        sys.stderr.write("genner: not every label has a definition, so there is no symbol-explained; give --labels\n")
    with progress_on_stderr() as progress:
        cells = probing.run(probe, folder, progress)
    _finish(cells, swapped, spec.constraint, folder.path)


def _finish(cells: dict[str, Cell], swapped: Swapped, constraint: Constraint, path: Path) -> None:
    """Results as JSON, as a picture and as tables."""
    from genner_cli.files.gold import write_gold
    from genner_cli.probing.memorization import NAMED
    from genner_cli.probing.tables import cells_table, changes, changes_table, changes_value

    write_gold(path / "swapped.jsonl", swapped.documents)
    found = changes({name: (cell, cells[NAMED]) for name, cell in cells.items() if name != NAMED})
    results = {
        "variants": {name: cell.summary() for name, cell in cells.items()},
        "changes": changes_value(found),
        "swapped": {"replaced": swapped.replaced, "kept": dict(swapped.kept)},
    }
    f1 = {name: {"F1": cell.figures.f1} for name, cell in cells.items()}
    moved = {name: {"F1": rates["f1"]} for name, (rates, _) in found.items()}
    panels = [("strict micro F1, 95 % interval", f1, False), ("difference to named", moved, True)]
    variants = cells_table("variant", {(name, constraint.value): cell for name, cell in cells.items()})
    report(path, results, panels, [variants, changes_table("difference to named", found), _swap_line(swapped)])


def _swap_line(swapped: Swapped) -> str:
    kept = ", ".join(f"{count} {label}" for label, count in swapped.kept.items())
    rest = f"; no unseen mention for {kept} (give --pool)" if kept else ""
    return f"entity-swap: {counted(swapped.replaced, 'entity')} replaced{rest}"
