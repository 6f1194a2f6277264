"""`genner entities`: which mentions an output has, how often, and where."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genner_cli.commands.options import IdField, TextField
from genner_cli.commands.predictions import Reading
from genner_cli.commands.terminal import printable, talk_on_stderr
from genner_cli.errors import UsageError
from genner_cli.plurals import counted

if TYPE_CHECKING:
    from genner_cli.files.mention_store import MentionStore

Files = Annotated[
    list[str], typer.Argument(metavar="FILE...", help="Output of `genner extract`, or labelled files; - is stdin.")
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
COLUMNS = ("label", "text", "count", "documents", "score")
Cells = Callable[[dict[str, Any] | None], Sequence[object]]
"""The cells of a value in a table; of None, those of the header."""


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
    from genner_cli.files.reading import expand

    if each and (output is None or fold_case or top):
        raise UsageError("--each lists entities in the order of the records: give it -o, and no --fold-case or --top")
    talk_on_stderr()
    paths = expand(files)
    _check(output, paths)
    reading = Reading(paths, text_field, id_field)
    if output is not None and each:
        _write(_entities(reading), output, _cells_of_each)
    else:
        _count(reading, output, top, fold_case=fold_case, contexts=contexts)
    _report(reading)


def _count(reading: Reading, output: str | None, top: int | None, *, fold_case: bool, contexts: int) -> None:
    from genner_cli.files.mention_store import MentionStore

    with MentionStore(fold_case=fold_case, contexts=contexts) as store:
        for extraction in reading:
            store.note(extraction)
        if output is not None:
            _write(_most_frequent(store.values(), top), output, partial(_cells_of_mention, contexts))
        for line in _lines(_most_frequent(store.values(), top or TOP), store) if output is None else ():
            typer.echo(line)


def _check(output: str | None, inputs: Sequence[str]) -> None:
    from genner_cli.files.writing import check_target

    if output not in (None, "-"):
        check_target(output, inputs=inputs, suffixes=_suffixes())


def _suffixes() -> tuple[str, ...]:
    from genner_cli.files import tables, writing

    return (*tables.SUFFIXES, *writing.SUFFIXES)


def _entities(reading: Reading) -> Iterator[dict[str, Any]]:
    """Each entity as a row of a table."""
    from genner_cli.files.tables import entity_values
    from genner_cli.files.writing import record_of

    text_field, id_field = reading.fields["text_field"], reading.fields["id_field"]
    for number, extraction in enumerate(reading, 1):
        record = record_of(extraction, text_field=text_field, id_field=id_field)
        yield from entity_values(record, number, text_field=text_field, id_field=id_field)


def _report(reading: Reading) -> None:
    """Totals, and what was left out, on stderr; the exit status is 1 if a record could not be read."""
    total = f"{counted(reading.records, 'record')}, {counted(reading.entities, 'entity')}"
    failed = f", {reading.failed:,} of documents that failed, without entities" if reading.failed else ""
    sys.stderr.write(f"{total}{failed}\n")
    for problem in reading.problems[:SHOWN]:
        sys.stderr.write(f"genner: {printable(problem)}\n")
    if (more := len(reading.problems) - SHOWN) > 0:
        sys.stderr.write(f"genner: ... and {counted(more, 'more record')} that cannot be read\n")
    if reading.problems:
        raise typer.Exit(1)


def _most_frequent(values: Iterable[dict[str, Any]], top: int | None) -> Iterator[dict[str, Any]]:
    """The first of each label."""
    for _, group in groupby(values, lambda value: value["label"]):
        for number, value in enumerate(group):
            if top is None or number < top:
                yield value


def _write(values: Iterable[dict[str, Any]], output: str, cells: Cells) -> None:
    """As JSON Lines, or a table with these cells of each value."""
    from genner_cli.files import tables
    from genner_cli.files.writing import Writer, json_line

    with Writer(output, suffixes=_suffixes()) as writer:
        if tables.is_table(output):
            writer.write(tables.rows([cells(None)], output))
        for value in values:
            writer.write(tables.rows([cells(value)], output) if tables.is_table(output) else json_line(value))


def _cells_of_each(value: dict[str, Any] | None) -> Sequence[object]:
    from genner_cli.files.tables import COLUMNS

    return COLUMNS if value is None else [*value.values()]


def _cells_of_mention(contexts: int, value: dict[str, Any] | None) -> Sequence[object]:
    if value is None:
        return [*COLUMNS, *(f"context_{number}" for number in range(1, contexts + 1))]
    shown = [each["context"] for each in value["contexts"]]
    return [*map(value.get, COLUMNS), *shown, *[None] * (contexts - len(shown))]


def _lines(values: Iterable[dict[str, Any]], store: MentionStore) -> Iterator[str]:
    """For each label its mentions in columns, the context as far as the terminal is wide."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for label, group in groupby(values, lambda value: value["label"]):
        yield f"{printable(label)}: {counted(store.entities[label], 'entity')}"
        rows = [("count", "documents", "score", "mention", "context"), *map(_cells, group)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            right = [cell.rjust(size) for cell, size in zip(row[:3], widths, strict=False)]
            yield "  ".join(["", *right, row[3].ljust(widths[3]), row[4]])[:width].rstrip()
        yield ""
    if not store.entities:
        yield "no entities"


def _cells(value: dict[str, Any]) -> tuple[str, ...]:
    score = f"{value['score']:.3f}" if "score" in value else ""
    context = value["contexts"][0]["context"] if value["contexts"] else ""
    return f"{value['count']:,}", f"{value['documents']:,}", score, printable(value["text"]), printable(context)
