"""`genner data relabel`: other names for labels, or other lists of them."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genner_cli.commands.data.input import Inputs, read_sound, record_line
from genner_cli.commands.options import TextField, label_tree
from genner_cli.errors import UsageError
from genner_cli.plurals import counted

if TYPE_CHECKING:
    from genner_cli.data.relabelling import Relabelled
    from genner_cli.types import Label

Map = Annotated[
    str | None, typer.Option("--map", "-m", metavar="FILE", help="YAML: 'OLD: NEW' lines; 'OLD:' drops a label.")
]
Dynamic = Annotated[
    bool,
    typer.Option(
        "--dynamic", help="Give each document a label list of its own (field 'labels'), as train --augment draws it."
    ),
]
LabelsFile = Annotated[
    Path | None,
    typer.Option(
        "--labels",
        "-l",
        metavar="FILE",
        help="YAML file of all labels, for --dynamic; of a tree, labels above and aliases are drawn too.",
        show_default="those of FILE...",
    ),
]
Seed = Annotated[int, typer.Option(help="Random seed of --dynamic.")]
Output = Annotated[
    str, typer.Option("--output", "-o", metavar="FILE", help="Output JSONL (also .gz, .zst); - is stdout.")
]


def relabel(
    files: Inputs,
    names: Map = None,
    dynamic: Dynamic = False,
    labels: LabelsFile = None,
    seed: Seed = 0,
    output: Output = "-",
    text_field: TextField = "text",
) -> None:
    """Rename labels, merge them, or drop them; or draw a label list for each document.

    Labels that are not in the map are kept. What was renamed, dropped and kept is reported on stderr.

    Examples:

    - `genner data relabel train.jsonl --map labels.yaml -o coarse.jsonl`
    - `genner data relabel test.jsonl --dynamic --seed 7 -o dynamic.jsonl`, for `extract --labels-field labels`
    - `genner data relabel test.jsonl --dynamic --labels tree.yaml -o dynamic.jsonl`
    """
    if dynamic == bool(names) or (names and labels):
        raise UsageError("give either --map FILE or --dynamic, and --labels with --dynamic alone")
    if names:
        _rename(files, names, output, text_field)
    else:
        _draw(files, labels, seed, output, text_field)


def _rename(files: Sequence[str], names: str, output: str, text_field: str) -> None:
    from genner_cli.data.relabelling import Relabelled
    from genner_cli.data.relabelling import relabel as run
    from genner_cli.files.labels import read_label_map
    from genner_cli.files.writing import Writer

    mapping = read_label_map(names)
    sound = read_sound(files, text_field)
    done = Relabelled()
    with Writer(output, inputs=files) as writer:
        for _, record in sound:
            entities = run(record.fields["entities"], mapping, done)
            writer.write(record_line(record, text_field, entities=entities))
    _report(done, mapping)


def _draw(files: Sequence[str], tree_file: Path | None, seed: int, output: str, text_field: str) -> None:
    """Writes each document with the labels that it is to be asked for, and the entities of these."""
    from random import Random

    from genner_cli.files.writing import Writer, entity_value
    from genner_cli.training.augment import augmented
    from genner_cli.training.examples import Sample
    from genner_cli.training.gold import label_set
    from genner_cli.training.options import AUGMENTED, Augmentation

    tree = label_tree(None, tree_file)
    sound = read_sound(files, text_field, tree)
    labels = tree.leaves() or label_set(document for document, _ in sound)
    lists = set()
    with Writer(output, inputs=files) as writer:
        for number, (document, record) in enumerate(sound):
            sample = Sample(document.text, document.entities, labels)
            drawn = augmented(sample, Augmentation(**AUGMENTED), Random(f"{seed} {number}"), tree)
            lists.add(drawn.labels)
            entities = [entity_value(entity) for entity in drawn.entities]
            writer.write(record_line(record, text_field, entities=entities, labels=_as_field(drawn.labels)))
    sys.stderr.write(f"{counted(len(sound), 'document')} with {counted(len(lists), 'label list')}\n")


def _as_field(labels: Sequence[Label]) -> list[str] | dict[str, str]:
    """Labels as `--labels-field` reads them: with their definitions, where there are any."""
    if any(label.definition for label in labels):
        return {label.name: label.definition for label in labels}
    return [label.name for label in labels]


def _report(done: Relabelled, mapping: Mapping[str, str | None]) -> None:
    for old, count in done.renamed.most_common():
        sys.stderr.write(f"{old} -> {mapping[old]}: {counted(count, 'entity')}\n")
    for old, count in done.dropped.most_common():
        sys.stderr.write(f"{old} dropped: {counted(count, 'entity')}\n")
    for old, count in done.kept.most_common():
        sys.stderr.write(f"{old} kept: {counted(count, 'entity')}\n")
    if done.doubled:
        sys.stderr.write(f"duplicates after relabelling: {counted(done.doubled, 'entity')} removed\n")
    for old in sorted(mapping.keys() - done.renamed.keys() - done.dropped.keys()):
        sys.stderr.write(f"genner: {old}: no entity has this label; check its name in the map\n")
