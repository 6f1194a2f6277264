"""`genner data convert`: labelled data from one annotation format to another."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genner_cli.commands.data.input import report_problems
from genner_cli.commands.options import FormatName, IdField, LabelsFile, TextField, Types, label_tree
from genner_cli.commands.terminal import say, status_line, warn
from genner_cli.data.offsets import Unit
from genner_cli.data.tags import Scheme
from genner_cli.errors import UsageError
from genner_cli.files import STDIO
from genner_cli.files.annotations import ANNOTATION_FORMATS, AnnotationOptions, format_of
from genner_cli.plurals import counted

if TYPE_CHECKING:
    from genner_cli.files.converting import Conversion


AnnotationFormatName = StrEnum(  # type: ignore[misc]  # names are not literals
    "AnnotationFormatName", {name: name for name in ANNOTATION_FORMATS}
)
"""The annotation formats."""

Source = Annotated[
    str, typer.Argument(metavar="IN", help="File, or folder of brat's .txt and .ann files; - is JSONL on stdin.")
]
Target = Annotated[str, typer.Argument(metavar="OUT", help="File, or new folder for brat; - is JSONL on stdout.")]
From = Annotated[
    AnnotationFormatName | None, typer.Option("--from", help="Format of IN.", show_default="by its suffix")
]
To = Annotated[AnnotationFormatName | None, typer.Option("--to", help="Format of OUT.", show_default="by its suffix")]
OffsetUnit = Annotated[
    Unit | None,
    typer.Option(
        "--offsets", help="Unit of IN's offsets, or of OUT's where IN is JSONL.", show_default="the format's own"
    ),
]
TagScheme = Annotated[Scheme, typer.Option(help="Tagging scheme to write in CoNLL and CSV; all are read.")]
TokenColumn = Annotated[
    str | None,
    typer.Option(
        help="Column of the tokens: a number from 0 (CoNLL), or a name (CSV).", show_default="by the file, else 0"
    ),
]
TagColumn = Annotated[
    str | None,
    typer.Option(
        help="Column of the tags: a number from 0 (CoNLL), or a name (CSV).",
        show_default="by the file, else -1, the last",
    ),
]  # fmt: skip
Documents = Annotated[
    bool, typer.Option("--documents/--sentences", help="Read CoNLL's documents (-DOCSTART-), or its sentences.")
]
KeepText = Annotated[bool, typer.Option("--keep-text", help="Write ids and texts as comments into CoNLL.")]
Predictions = Annotated[
    bool | None,
    typer.Option(
        "--predictions/--annotations",
        help="Label Studio: write entities as predictions or annotations.",
        show_default="predictions if scored",
    ),
]
AlpacaFormat = Annotated[
    FormatName | None,
    typer.Option("--format", help="Output format of alpaca.", show_default="bracketed; detected when reading"),
]
Trim = Annotated[bool, typer.Option("--trim", help="Trim white space at entity boundaries.")]
Strict = Annotated[bool, typer.Option("--strict", help="Fail if OUT cannot represent everything.")]


def convert(
    source: Source,
    target: Target,
    from_: From = None,
    to: To = None,
    offsets: OffsetUnit = None,
    scheme: TagScheme = Scheme.IOB2,
    token_column: TokenColumn = None,
    tag_column: TagColumn = None,
    documents: Documents = False,
    keep_text: KeepText = False,
    predictions: Predictions = None,
    format: AlpacaFormat = None,
    types: Types = None,
    labels: LabelsFile = None,
    trim: Trim = False,
    strict: Strict = False,
    text_field: TextField = "text",
    id_field: IdField = "id",
) -> None:
    """Convert labelled data from one annotation format to another.

    What OUT cannot represent is counted on stderr, with examples. Documents with problems are dropped; the exit status
    is then 1.

    Examples:

    - `genner data convert train.conll train.jsonl`
    - `genner data convert corpus/ corpus.jsonl --from brat`
    - `genner data convert entities.jsonl tasks.json --to label-studio`
    - `genner data convert export.jsonl train.spacy --from doccano --trim`
    - `genner data convert inception.zip train.jsonl`, UIMA CAS XMI; JSON with --from cas
    """
    from genner_cli.files.converting import convert as run

    _check(source, target)
    source_and_format = (source, from_ or format_of(source, option="--from"))
    target_and_format = (target, to or format_of(target, option="--to"))
    options = AnnotationOptions(
        text_field, id_field, offsets=offsets, labels=label_tree(types, labels).leaves() or None, format=format,
        scheme=scheme, token_column=token_column, tag_column=tag_column, whole=documents, keep_text=keep_text,
        predictions=predictions,
    )  # fmt: skip
    with status_line("converting") as show:
        done = run(
            source_and_format, target_and_format, options, strict=strict, trim=trim,
            progress=lambda count: show(counted(count, "document")),
        )  # fmt: skip
    _report(done)


def _check(source: str, target: str) -> None:
    if source != STDIO and not os.path.exists(source):
        raise UsageError(f"{source}: no such file or folder; check the path (it is read from {Path.cwd()})")
    if source != STDIO and os.path.realpath(source) == os.path.realpath(target):
        raise UsageError(f"{target}: is the input too; name another file or folder for the output")


def _report(done: Conversion) -> None:
    warn(*done.dropped.lines())
    report_problems(done.problems)
    bad = f", {counted(len(done.problems), 'problem')}" if done.problems else ""
    say(f"{counted(done.documents, 'document')}, {counted(done.entities, 'entity')}{bad}")
    if done.problems:
        raise typer.Exit(1)
