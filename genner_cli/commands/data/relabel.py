"""`genner data relabel`: other names for labels."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from genner_cli.commands.data.input import Inputs, read_sound, record_line
from genner_cli.commands.options import TextField
from genner_cli.plurals import counted

if TYPE_CHECKING:
    from genner_cli.data.relabelling import Relabelled

Map = Annotated[str, typer.Option("--map", "-m", metavar="FILE", help="YAML: 'OLD: NEW' lines; 'OLD:' drops a label.")]
Output = Annotated[
    str, typer.Option("--output", "-o", metavar="FILE", help="Output JSONL (also .gz, .zst); - is stdout.")
]


def relabel(files: Inputs, names: Map, output: Output = "-", text_field: TextField = "text") -> None:
    """Rename labels, merge them, or drop them.

    Labels that are not in the map are kept. What was renamed, dropped and kept is reported on stderr.

    Example: `genner data relabel train.jsonl --map labels.yaml -o coarse.jsonl`
    """
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
