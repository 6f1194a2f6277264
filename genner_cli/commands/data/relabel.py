"""`genner data relabel`: other names for labels, or other lists of them."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from genner_cli.commands.data.input import Inputs, read_sound, record_line
from genner_cli.commands.options import TextField
from genner_cli.errors import UsageError
from genner_cli.plurals import counted

if TYPE_CHECKING:
    from genner_cli.data.relabelling import Relabelled

Map = Annotated[
    str | None, typer.Option("--map", "-m", metavar="FILE", help="YAML: 'OLD: NEW' lines; 'OLD:' drops a label.")
]
Dynamic = Annotated[
    bool,
    typer.Option(
        "--dynamic", help="Give each document a label list of its own (field 'labels'), as train --augment draws it."
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
    seed: Seed = 0,
    output: Output = "-",
    text_field: TextField = "text",
) -> None:
    """Rename labels, merge them, or drop them; or draw a label list for each document.

    Labels that are not in the map are kept. What was renamed, dropped and kept is reported on stderr.

    Examples:

    - `genner data relabel train.jsonl --map labels.yaml -o coarse.jsonl`
    - `genner data relabel test.jsonl --dynamic --seed 7 -o dynamic.jsonl`, for `extract --labels-field labels`
    """
    if dynamic == bool(names):
        raise UsageError("give either --map FILE or --dynamic")
    if names:
        _rename(files, names, output, text_field)
    else:
        _draw(files, seed, output, text_field)


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


def _draw(files: Sequence[str], seed: int, output: str, text_field: str) -> None:
    """Writes each document with the labels that it is to be asked for, and the entities of these."""
    from random import Random

    from genner_cli.files.writing import Writer, entity_value
    from genner_cli.training.augment import augmented
    from genner_cli.training.examples import Sample
    from genner_cli.training.gold import label_set
    from genner_cli.training.options import AUGMENTED, Augmentation

    sound = read_sound(files, text_field)
    labels = label_set(document for document, _ in sound)
    lists = set()
    with Writer(output, inputs=files) as writer:
        for number, (document, record) in enumerate(sound):
            random = Random(f"{seed} {number}")
            drawn = augmented(Sample(document.text, document.entities, labels), Augmentation(**AUGMENTED), random)
            asked = [label.name for label in drawn.labels]
            lists.add(tuple(asked))
            entities = [entity_value(entity) for entity in drawn.entities]
            writer.write(record_line(record, text_field, entities=entities, labels=asked))
    sys.stderr.write(f"{counted(len(sound), 'document')} with {counted(len(lists), 'label list')}\n")


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
