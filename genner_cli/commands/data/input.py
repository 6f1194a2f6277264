"""The labelled files that the commands of `genner data` take, and the report of their problems."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from genner_cli.commands.options import LABELLED_FILES
from genner_cli.commands.terminal import status_line, warn

if TYPE_CHECKING:
    from genner_cli.files.gold import GoldData, Problem

Inputs = Annotated[list[str], typer.Argument(metavar="FILE", help=LABELLED_FILES)]


def read_each(files: Sequence[str], text_field: str, *, any_label: bool = False) -> dict[str, GoldData]:
    """The data of each file that the names and globs name, with a warning for empty ones; `any_label` as in
    `read_gold`."""
    from genner_cli.files.gold import read_gold
    from genner_cli.files.reading import expand

    data = {}
    with status_line("reading") as say:
        for path in expand(files):
            say(f"reading {path}")
            data[path] = read_gold([path], text_field=text_field, any_label=any_label)
    warn(*(f"{path}: has no documents" for path, gold in data.items() if not gold.documents and not gold.problems))
    return data


def report_problems(problems: Sequence[Problem]) -> None:
    """Each kind of problem on stderr, with its number and first places."""
    from genner_cli.files.gold import summarized

    warn(*summarized(problems))
