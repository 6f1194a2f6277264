"""`genner probe memorization`: how much depends on the names of labels, and on entities seen in training."""

from __future__ import annotations

from typing import Annotated

import typer

from genner_cli.commands.options import FROM_TRAIN, LABELLED, DownloadBase, run_options
from genner_cli.commands.probe.options import Folder, QuantizationType, TrainFile, ValidFile, progress_on_stderr, report
from genner_cli.commands.terminal import warn
from genner_cli.commands.training import BaseReference, absolute, needs_training, training_options
from genner_cli.options import Panel
from genner_cli.running.spec import RunSpec
from genner_cli.training.options import TrainOptions

PoolFile = Annotated[
    list[str] | None,
    typer.Option("--pool", metavar="FILE", help=f"{LABELLED}, to take unseen entities from.", show_default="VALID"),
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
    from convert.base import base_path
    from genner_cli.files.gold import read_gold_files, write_gold
    from genner_cli.probing.folder import ProbeFolder, files_hash, read_both
    from genner_cli.training.gold import label_set

    documents = read_both(train, valid, chosen, spec)
    others = documents[1]
    if pool:
        others = read_gold_files(pool, text_field=spec.text_field, id_field=spec.id_field, names=spec.tree.names())
    known = spec.labels or label_set(documents[0])
    base_path(base, download=download)
    needs_training()
    from genner_cli.probing import memorization as probing
    from genner_cli.probing.recipe import Recipe
    from genner_cli.probing.results import memorization_results

    swapped = probing.swap(documents[1], probing.unseen_pool(others, documents[0]), seed=chosen.seed)
    recipe = Recipe(absolute(base), chosen, type, known, download, spec.engine)
    probe = probing.MemorizationProbe(*documents, swapped, recipe, spec.constraint)
    data = {"train": files_hash(train), "valid": files_hash(valid), "pool": files_hash(*pool) if pool else None}
    folder = ProbeFolder(
        output, {"probe": "memorization", **recipe.value(), "constraint": spec.constraint.value, "data": data}
    )
    if not probe.explained:
        warn("some labels have no definition, so symbol-explained is left out; give --labels")
    with progress_on_stderr() as progress:
        cells = probing.run(probe, folder, progress)
    write_gold(folder.path / "swapped.jsonl", swapped.documents)
    report(memorization_results(cells, probing.NAMED, swapped, spec.constraint), folder.path)
