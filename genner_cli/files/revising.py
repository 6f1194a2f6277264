"""Labelled files -> others, split or with other labels; all else in their records stays as it was."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from genner_cli.data.relabelling import Relabelled, relabel
from genner_cli.errors import DataError, UsageError
from genner_cli.files.gold import Problem, labelled, summarized, unknown_labels
from genner_cli.files.reading import expand, read_documents
from genner_cli.files.whole import make_folder
from genner_cli.files.writing import Writer, json_line
from genner_cli.plurals import counted
from genner_cli.types import Document, LabelTree


class Sound(NamedTuple):
    """A document without problems, and the record that it was made of, in which its entities are a field."""

    document: Document
    record: Document


def read_sound(files: Sequence[str], text_field: str, tree: LabelTree | None = None) -> list[Sound]:
    """All documents of the files, with entities of the labels without others below them in the tree, or of any. Raises
    DataError with a note for each kind of problem, if there are any."""
    names = tree.names() if tree else {}
    sound, problems = [], []
    for record in read_documents(expand(files), text_field=text_field, dropped=("completion",)):
        if isinstance(record, Document):
            document, complaints = labelled(record, any_label=True, names=names)
            sound.append(Sound(document, record))
            problems += [Problem(f"{record.source}: {complaint}", record.source) for complaint in complaints]
        else:
            problems.append(Problem(record.message, record.source))
    if tree and tree.nodes:
        problems += unknown_labels([document for document, _ in sound], [label.name for label in tree.leaves()])
    if problems:
        it = "it" if len(problems) == 1 else "them"
        error = DataError(f"{counted(len(problems), 'problem')} in the data; correct {it} first, nothing was written")
        for line in summarized(problems):
            error.add_note(line)
        raise error
    return sound


def record_line(record: Document, text_field: str, **changed: object) -> bytes:
    """The record as a line of JSON Lines, with these fields changed and all others as they were."""
    first = {name: record.fields[name] for name in ("id",) if name in record.fields}
    return json_line({**first, text_field: record.text, **record.fields, **changed})


def write_renamed(
    sound: Iterable[Sound], names: Mapping[str, str | None], output: str, inputs: Sequence[str], text_field: str
) -> Relabelled:
    """Writes the records with entities renamed, or dropped (`data.relabelling`); returns what was done."""
    done = Relabelled()
    with Writer(output, inputs=inputs) as writer:
        for _, record in sound:
            entities = relabel(record.fields["entities"], names, done)
            writer.write(record_line(record, text_field, entities=entities))
    return done


def refuse_existing(folder: Path, sides: Iterable[str]) -> None:
    """Raises UsageError where a file of a split is there already."""
    there = [str(path) for path in (folder / f"{side}.jsonl" for side in sides) if path.exists()]
    if there:
        are = "is" if len(there) == 1 else "are"
        raise UsageError(f"{', '.join(there)} {are} there already; name another folder after -o, or remove the files")


def write_split(
    sound: Sequence[Sound], sides: Mapping[str, Collection[int]], folder: Path, inputs: Sequence[str], text_field: str
) -> None:
    """Writes a file for each side of a split, with the records of these numbers; none takes its name before all are
    written. Raises UsageError where the folder cannot be made."""
    make_folder(folder)
    with ExitStack() as open_files:
        for side, numbers in sides.items():
            writer = open_files.enter_context(Writer(str(folder / f"{side}.jsonl"), inputs=inputs))
            for number in numbers:
                writer.write(record_line(sound[number].record, text_field))
