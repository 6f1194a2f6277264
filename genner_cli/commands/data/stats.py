"""`genner data stats`: what labelled data holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from genner_cli.commands.data.input import Inputs, read_each, report_problems
from genner_cli.commands.options import AsJson, TextField
from genner_cli.commands.terminal import print_value

if TYPE_CHECKING:
    from genner_cli.data.statistics import Lengths, Statistics


def stats(files: Inputs, as_json: AsJson = False, text_field: TextField = "text") -> None:
    """Count documents, characters and entities by label; lengths, nesting, and documents without entities.

    Documents with problems are not counted, and the exit status is 1.

    Example: `genner data stats train.jsonl valid.jsonl`
    """
    from genner_cli.data.statistics import statistics

    by_file = read_each(files, text_field, any_label=True).values()
    counted = statistics(document for data in by_file for document in data.documents)
    problems = [problem for data in by_file for problem in data.problems]
    print_value(asdict(counted), _lines(counted), as_json=as_json)
    report_problems(problems)
    if problems:
        raise typer.Exit(1)


def _lines(counted: Statistics) -> Iterator[str]:
    share = counted.empty / max(1, counted.documents)
    nested = counted.nested / max(1, counted.entities)
    yield f"documents   {counted.documents:,}, {counted.empty:,} ({share:.1%}) without entities"
    yield f"characters  {counted.characters:,}; per document: {_summary(counted.document_lengths)}"
    yield f"entities    {counted.entities:,}, {counted.nested:,} ({nested:.1%}) nested"
    yield f"            characters of an entity: {_summary(counted.entity_lengths)}"
    if counted.labels:
        yield ""
        yield from _table(counted)


def _summary(lengths: Lengths) -> str:
    return f"mean {lengths.mean:,.1f}, median {lengths.median:,.1f}, maximum {lengths.max:,}"


def _table(counted: Statistics) -> Iterator[str]:
    header = ("label", "entities", "share", "mentions", "documents", "mean length", "longest")
    rows = [
        (
            name,
            f"{label.entities:,}",
            f"{label.entities / counted.entities:.1%}",
            f"{label.mentions:,}",
            f"{label.documents:,}",
            f"{label.lengths.mean:.1f}",
            f"{label.lengths.max:,}",
        )
        for name, label in counted.labels.items()
    ]
    yield from aligned([header, *rows])


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows in columns, the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, *cells in rows:
        right = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
        yield "  ".join([name.ljust(widths[0]), *right])
