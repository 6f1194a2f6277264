"""`genner entities`: which mentions an output has, how often, and where."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genner_cli.commands.options import IdField, TextField
from genner_cli.commands.terminal import printable, status_line, talk_on_stderr
from genner_cli.plurals import counted

if TYPE_CHECKING:
    from genner_cli.files.mention_store import MentionStore

Files = Annotated[
    list[str],
    typer.Argument(metavar="FILE...", help="Output of `genner extract`, or labelled files; - is stdin."),
]
Output = Annotated[
    str | None,
    typer.Option(
        "--output", "-o", metavar="FILE", help="All mentions as .csv, .tsv or .jsonl (also .gz, .zst); - is JSONL.",
        show_default="the most frequent on the terminal",
    ),
]  # fmt: skip
FoldCase = Annotated[bool, typer.Option("--fold-case", help="Count spellings that differ only in case as one mention.")]
Contexts = Annotated[int, typer.Option(min=0, max=100, help="First contexts to show for each mention.")]
Top = Annotated[
    int | None,
    typer.Option(min=1, help="Only the N most frequent mentions of each label.", show_default="20 on the terminal"),
]

TOP, EVERY, SHOWN = 20, 1000, 2
COLUMNS = ("label", "text", "count", "documents", "score")


def entities(
    files: Files,
    output: Output = None,
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
    - `genner entities entities.jsonl --top 1000 --contexts 0 -o - | jq -r .text`
    """
    from genner_cli.files.mention_store import MentionStore
    from genner_cli.files.reading import expand

    paths = expand(files)
    _check(output, paths)
    talk_on_stderr()
    with MentionStore(fold_case=fold_case, contexts=contexts) as store:
        problems = _read(store, paths, text_field, id_field)
        if output is None:
            for line in _lines(_most_frequent(store.values(), top or TOP), store):
                typer.echo(line)
        else:
            _write(_most_frequent(store.values(), top), output, contexts)
    _report(store, problems)


def _check(output: str | None, inputs: Sequence[str]) -> None:
    from genner_cli.files.writing import check_target

    if output not in (None, "-"):
        check_target(output, inputs=inputs, suffixes=_suffixes())


def _suffixes() -> tuple[str, ...]:
    from genner_cli.files import tables, writing

    return (*tables.SUFFIXES, *writing.SUFFIXES)


def _read(store: MentionStore, paths: Sequence[str], text_field: str, id_field: str) -> list[str]:
    """Counts all records; gives what is wrong with those that cannot be read."""
    from genner_cli.files.predictions import read_predictions
    from genner_cli.types import FailedDocument

    problems = []
    with status_line("reading") as say:
        for extraction in read_predictions(paths, text_field=text_field, id_field=id_field):
            store.note(extraction)
            if isinstance(extraction.document, FailedDocument) and extraction.error is None:
                problems.append(extraction.document.message)
            if store.records % EVERY == 0:
                say(f"reading: {counted(store.records, 'record')}")
    return problems


def _most_frequent(values: Iterable[dict[str, Any]], top: int | None) -> Iterator[dict[str, Any]]:
    """The first of each label."""
    for _, group in groupby(values, lambda value: value["label"]):
        for number, value in enumerate(group):
            if top is None or number < top:
                yield value


def _write(values: Iterable[dict[str, Any]], output: str, contexts: int) -> None:
    from genner_cli.files import tables
    from genner_cli.files.writing import Writer, json_line

    with Writer(output, suffixes=_suffixes()) as writer:
        if not tables.is_table(output):
            for value in values:
                writer.write(json_line(value))
            return
        header = [*COLUMNS, *(f"context_{number}" for number in range(1, contexts + 1))]
        writer.write(tables.rows([header], output))
        for value in values:
            shown = [each["context"] for each in value["contexts"]]
            row = [*map(value.get, COLUMNS), *shown, *[None] * (contexts - len(shown))]
            writer.write(tables.rows([row], output))


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
        yield f"no entities in {counted(store.records, 'record')}"


def _cells(value: dict[str, Any]) -> tuple[str, ...]:
    score = f"{value['score']:.3f}" if "score" in value else ""
    context = value["contexts"][0]["context"] if value["contexts"] else ""
    return f"{value['count']:,}", f"{value['documents']:,}", score, printable(value["text"]), printable(context)


def _report(store: MentionStore, problems: Sequence[str]) -> None:
    """Totals, and what was left out, on stderr."""
    total = counted(store.entities.total(), "entity")
    sys.stderr.write(f"{counted(store.records, 'record')}, {total}\n")
    if store.failed:
        sys.stderr.write(f"genner: {counted(store.failed, 'record')} of documents that failed, without entities\n")
    for problem in problems[:SHOWN]:
        sys.stderr.write(f"genner: {printable(problem)}\n")
    if len(problems) > SHOWN:
        sys.stderr.write(f"genner: ... and {counted(len(problems) - SHOWN, 'more record')} that cannot be read\n")
    if problems:
        raise typer.Exit(1)
