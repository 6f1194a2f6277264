"""`genner view`: predictions, alone or beside gold, as a page for the browser or as text on the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from itertools import chain, islice, starmap
from typing import TYPE_CHECKING, Annotated

import typer

from genner_cli.commands.options import IdField, TextField
from genner_cli.commands.terminal import say, say_written, status_line, warn
from genner_cli.errors import UsageError
from genner_cli.plurals import counted, size_text

if TYPE_CHECKING:
    from genner_cli.files.predictions import Reading
    from genner_cli.view.viewed import Viewed


Predictions = Annotated[
    str, typer.Argument(metavar="PRED", help="JSONL that `genner extract` wrote (also .gz, .zst), or - for stdin.")
]
Gold = Annotated[str | None, typer.Option("--gold", metavar="FILE", help="JSONL with gold entities to compare with.")]
Page = Annotated[str | None, typer.Option("--output", "-o", metavar="FILE", help="HTML file to write; - is stdout.")]
Terminal = Annotated[bool, typer.Option("--terminal", help="Print the documents instead; no colour when piped.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Show only the first N documents.")]


def view(
    predictions: Predictions,
    gold: Gold = None,
    output: Page = None,
    terminal: Terminal = False,
    text_field: TextField = "text",
    id_field: IdField = "id",
    limit: Limit = None,
) -> None:
    """Show predictions: a self-contained HTML page with all documents, or text on the terminal.

    With --gold, each entity is marked as `genner evaluate` scores it: hit, wrong label, wrong boundary, spurious or
    missed.

    Examples:

    - `genner view entities.jsonl -o page.html`
    - `genner view entities.jsonl --gold valid.jsonl -o page.html`
    - `genner view entities.jsonl --terminal --limit 5`
    """
    from genner_cli.files.gold import read_gold_files
    from genner_cli.files.predictions import Reading, refuse_documents
    from genner_cli.files.reading import expand
    from genner_cli.pairing import pair_with_gold
    from genner_cli.view.viewed import alone, with_gold

    if terminal == (output is not None):
        raise UsageError("give either -o page.html or --terminal")
    inputs, gold_inputs = expand([predictions]), expand([gold]) if gold is not None else []
    refuse_documents(inputs)
    with status_line("reading") as progress:
        reading = Reading(inputs, text_field, id_field, limit=limit, progress=progress)
        documents: Iterator[Viewed] = map(alone, reading)
        if gold is not None:
            golden = read_gold_files([gold], text_field=text_field, id_field=id_field)
            documents = starmap(with_gold, pair_with_gold(golden, reading, whole=limit is None))
        if output is None:
            _print(documents)
        else:
            _write(output, inputs + gold_inputs, documents, predictions, gold)
    say(_summary(reading))
    if reading.problems:
        raise typer.Exit(1)


def _summary(reading: Reading) -> str:
    """One line of what was shown."""
    counts = f"{counted(reading.records, 'document')}, {counted(reading.entities, 'entity')}, {reading.failed:,} failed"
    return counts + (f", {len(reading.problems):,} could not be read" if reading.problems else "")


def _print(documents: Iterable[Viewed]) -> None:
    from rich.console import Console

    from genner_cli.commands.marking import marked

    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    for document in documents:
        console.print(marked(document))


def _write(path: str, inputs: list[str], documents: Iterator[Viewed], title: str, gold: str | None) -> None:
    """Writes the page, whole or not at all, and warns of one that browsers will find hard."""
    from genner_cli.files.writing import Writer
    from genner_cli.view.page import LARGE, page

    size = 0
    first = list(islice(documents, 1))  # what is wrong with the inputs shows before a page is begun
    with Writer(path, inputs=inputs, suffixes=(".html", ".htm")) as writer:
        for piece in page(chain(first, documents), title=title, gold=gold):
            size += len(piece)
            writer.write(piece)
    say_written(path, size)
    if size > LARGE:
        warn(f"{path} has {size_text(size)}; browsers are slow with that, show less with --limit")
