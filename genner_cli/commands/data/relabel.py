"""`genner data relabel`: other names for labels, or other lists of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genner_cli.commands.data.input import Inputs
from genner_cli.commands.options import JsonLinesOutput, TextField, label_tree
from genner_cli.commands.terminal import say, status_line, warn
from genner_cli.errors import UsageError
from genner_cli.plurals import counted

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
        show_default="those of FILE",
    ),
]
Seed = Annotated[int, typer.Option(help="Random seed of --dynamic.")]


def relabel(
    files: Inputs,
    names: Map = None,
    dynamic: Dynamic = False,
    labels: LabelsFile = None,
    seed: Seed = 0,
    output: JsonLinesOutput = "-",
    text_field: TextField = "text",
) -> None:
    """Rename labels, merge them, or drop them; or draw a label list for each document.

    Labels that are not in the map are kept. What was renamed, dropped and kept is reported on stderr.

    Examples:

    - `genner data relabel train.jsonl --map labels.yaml -o coarse.jsonl`
    - `genner data relabel test.jsonl --dynamic --seed 7 -o dynamic.jsonl`, for `extract --labels-field labels`
    - `genner data relabel test.jsonl --dynamic --labels tree.yaml -o dynamic.jsonl`
    """
    from genner_cli.files.labels import read_label_map
    from genner_cli.files.revising import read_sound, write_renamed
    from genner_cli.training.relabelling import write_drawn

    if dynamic == bool(names) or (names and labels):
        raise UsageError("give either --map FILE or --dynamic, and --labels with --dynamic alone")
    if names:
        mapping = read_label_map(names)
        with status_line("reading"):
            done = write_renamed(read_sound(files, text_field), mapping, output, files, text_field)
        say(*done.lines(mapping))
        warn(*(f"{old}: no entity has this label; check its name in the map" for old in done.unused(mapping)))
        return
    tree = label_tree(None, labels)
    with status_line("reading"):
        sound = read_sound(files, text_field, tree)
    lists = write_drawn(sound, tree, seed, output, files, text_field)
    say(f"{counted(len(sound), 'document')} with {counted(lists, 'label list')}")
