"""`genner entities`: which mentions an output has, how often, and where."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from genner_cli.commands.options import IdField, TextField
from genner_cli.commands.terminal import printable, say, status_line, warn
from genner_cli.errors import UsageError
from genner_cli.plurals import counted

if TYPE_CHECKING:
    from genner_cli.files.predictions import Reading

Files = Annotated[
    list[str], typer.Argument(metavar="FILE", help="Output of `genner extract`, or labelled files; - is stdin.")
]
Output = Annotated[
    str | None,
    typer.Option(
        "--output", "-o", metavar="FILE", help="All mentions as .csv, .tsv or .jsonl (also .gz, .zst); - is JSONL.",
        show_default="the most frequent on the terminal",
    ),
]  # fmt: skip
Each = Annotated[
    bool, typer.Option("--each", help="Every entity, as `genner extract -o FILE.csv` lists them; needs -o.")
]
FoldCase = Annotated[bool, typer.Option("--fold-case", help="Count spellings that differ only in case as one mention.")]
Contexts = Annotated[int, typer.Option(min=0, max=100, help="First contexts to show for each mention.")]
Top = Annotated[
    int | None,
    typer.Option(min=1, help="Only the N most frequent mentions of each label.", show_default="20 on the terminal"),
]

TOP, SHOWN = 20, 2


def entities(
    files: Files,
    output: Output = None,
    each: Each = False,
    fold_case: FoldCase = False,
    contexts: Contexts = 3,
    top: Top = None,
    text_field: TextField = "text",
    id_field: IdField = "id",
) -> None:
    """List distinct mentions by label, with counts, number of documents, mean score and first contexts.

    Records are read one by one, and mentions that do not fit into memory are counted in a temporary file: an output may
    be of any length. Runs of white space in a mention count as one space. Records that cannot be read are reported, and
    the exit status is then 1.

    Examples:

    - `genner entities entities.jsonl`
    - `genner entities 'out-*.jsonl.zst' --fold-case -o mentions.csv`
    - `genner entities entities.jsonl --each -o entities.csv`
    - `genner entities entities.jsonl --top 1000 --contexts 0 -o - | jq -r .text`
    """
    from genner_cli.files.mentions import refuse_target, write_each
    from genner_cli.files.predictions import Reading
    from genner_cli.files.reading import expand

    if each and (output is None or fold_case or top):
        raise UsageError("--each lists entities in the order of the records: give it -o, and no --fold-case or --top")
    paths = expand(files)
    refuse_target(output, paths)
    with status_line("reading") as progress:
        reading = Reading(paths, text_field, id_field, progress=progress)
        if output is not None and each:
            write_each(reading, output, text_field=text_field, id_field=id_field)
        else:
            lines = _count(reading, output, top, fold_case=fold_case, contexts=contexts)
    if output is None:
        typer.echo("\n".join(lines))
    _report(reading)


def _count(reading: Reading, output: str | None, top: int | None, *, fold_case: bool, contexts: int) -> list[str]:
    """Writes the mentions, or gives lines for the terminal."""
    from genner_cli.files.mention_store import MentionStore
    from genner_cli.files.mentions import mention_lines, most_frequent, write_mentions

    with MentionStore(fold_case=fold_case, contexts=contexts) as store:
        for extraction in reading:
            store.note(extraction)
        if output is not None:
            write_mentions(most_frequent(store.values(), top), output, contexts)
            return []
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        return [*mention_lines(most_frequent(store.values(), top or TOP), store.entities, width, printable)]


def _report(reading: Reading) -> None:
    """Totals, and what was left out, on stderr; the exit status is 1 if a record could not be read."""
    total = f"{counted(reading.records, 'record')}, {counted(reading.entities, 'entity')}"
    failed = f", {reading.failed:,} of documents that failed, without entities" if reading.failed else ""
    say(f"{total}{failed}")
    warn(*reading.problems[:SHOWN])
    if (more := len(reading.problems) - SHOWN) > 0:
        warn(f"... and {counted(more, 'more record')} that cannot be read")
    if reading.problems:
        raise typer.Exit(1)
