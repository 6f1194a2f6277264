"""The labelled files that the commands of `genner data` take, and the report of their problems."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from genner_cli.errors import DataError
from genner_cli.plurals import counted
from genner_cli.types import Document, LabelTree

if TYPE_CHECKING:
    from genner_cli.files.gold import GoldData, Problem

Inputs = Annotated[
    list[str],
    typer.Argument(metavar="FILE...", help="Labelled JSONL (also .gz, .zst), Parquet, CoNLL or brat .ann; globs too."),
]


def read_each(files: Sequence[str], text_field: str, *, any_label: bool = False) -> dict[str, GoldData]:
    """The data of each file that the names and globs name; `any_label` as in `read_gold`."""
    from genner_cli.commands.terminal import status_line, talk_on_stderr
    from genner_cli.files.gold import read_gold
    from genner_cli.files.reading import expand

    talk_on_stderr()
    data = {}
    with status_line("reading") as say:
        for path in expand(files):
            say(f"reading {path}")
            data[path] = read_gold([path], text_field=text_field, any_label=any_label)
    return data


class Sound(NamedTuple):
    """A document without problems, and the record that it was made of, in which its entities are a field."""

    document: Document
    record: Document


def read_sound(files: Sequence[str], text_field: str, tree: LabelTree | None = None) -> list[Sound]:
    """All documents of the files, with entities of the labels without others below them in the tree, or of any. Raises
    DataError, once the problems are reported, if there are any."""
    from genner_cli.commands.terminal import status_line, talk_on_stderr
    from genner_cli.files.gold import Problem, labelled, unknown_labels
    from genner_cli.files.reading import expand, read_documents

    talk_on_stderr()
    sound = []
    problems = []
    names = tree.names() if tree else {}
    with status_line("reading"):
        for record in read_documents(expand(files), text_field=text_field, dropped=("completion",)):
            if isinstance(record, Document):
                document, complaints = labelled(record, any_label=True, names=names)
                sound.append(Sound(document, record))
                problems += [Problem(f"{record.source}: {complaint}", record.source) for complaint in complaints]
            else:
                problems.append(Problem(record.message, record.source))
    if tree and tree.nodes:
        wanted = [label.name for label in tree.leaves()]
        problems += unknown_labels([document for document, _ in sound], wanted)
    report_problems(problems)
    if problems:
        it = "it" if len(problems) == 1 else "them"
        raise DataError(f"{counted(len(problems), 'problem')} in the data; correct {it} first, nothing was written")
    return sound


def record_line(record: Document, text_field: str, **changed: object) -> bytes:
    """The record as a line of JSON Lines, with these fields changed and all others as they were."""
    from genner_cli.files.writing import json_line

    first = {name: record.fields[name] for name in ("id",) if name in record.fields}
    return json_line({**first, text_field: record.text, **record.fields, **changed})


def report_problems(problems: Sequence[Problem]) -> None:
    """Each kind of problem on stderr, with its number and first places."""
    from genner_cli.files.gold import summarized

    for line in summarized(problems):
        sys.stderr.write(f"genner: {line}\n")
