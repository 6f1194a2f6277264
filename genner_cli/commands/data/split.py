"""`genner data split`: labelled data into train, valid and test."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genner_cli.commands.data.input import Inputs, read_sound, record_line
from genner_cli.commands.options import TextField
from genner_cli.commands.terminal import status_line
from genner_cli.errors import UsageError
from genner_cli.plurals import counted

if TYPE_CHECKING:
    from genner_cli.data.splitting import Split
    from genner_cli.types import Document

Folder = Annotated[
    Path, typer.Option("--output", "-o", metavar="FOLDER", help="Folder for train.jsonl, valid.jsonl and test.jsonl.")
]
Train = Annotated[float | None, typer.Option(help="Share of train.jsonl.", show_default="the rest")]
Valid = Annotated[float, typer.Option(min=0, max=1, help="Share of valid.jsonl.")]
Test = Annotated[float, typer.Option(min=0, max=1, help="Share of test.jsonl; 0: no such file.")]
Seed = Annotated[int, typer.Option(help="Random seed; the same seed gives the same split.")]


def split(
    files: Inputs,
    output: Folder,
    train: Train = None,
    valid: Valid = 0.1,
    test: Test = 0.1,
    seed: Seed = 0,
    text_field: TextField = "text",
) -> None:
    """Split documents into train, valid and test, by label, with near-duplicates in the same split.

    Documents that share a run of eight words, in any case and punctuation, stay together. A label occurs in every
    split if enough documents have it. All files are written, or none; files that are there already are not replaced.

    Example: `genner data split all.jsonl -o data/ --valid 0.1 --test 0.2`
    """
    from genner_cli.data.splitting import split as deal

    shares = {"train": 1 - valid - test if train is None else train, "valid": valid, "test": test}
    shares = {side: share for side, share in shares.items() if share or side == "train"}
    _refuse_existing(output / f"{side}.jsonl" for side in shares)
    sound = read_sound(files, text_field)
    with status_line("comparing and splitting"):
        dealt = deal([document for document, _ in sound], shares, seed=seed)
    _write([record for _, record in sound], dealt, output, files, text_field)
    for side, numbers in dealt.sides.items():
        share = len(numbers) / max(1, len(sound))
        sys.stderr.write(f"{output / side}.jsonl: {counted(len(numbers), 'document')} ({share:.1%})\n")
    if dealt.largest > 1:
        sys.stderr.write(
            f"largest group of documents that share eight words or more, in one split: {dealt.largest:,}\n"
        )


def _refuse_existing(paths: Iterable[Path]) -> None:
    there = [str(path) for path in paths if path.exists()]
    if there:
        are = "is" if len(there) == 1 else "are"
        raise UsageError(f"{', '.join(there)} {are} there already; name another folder after -o, or remove the files")


def _write(records: Sequence[Document], dealt: Split, folder: Path, inputs: Sequence[str], text_field: str) -> None:
    """No file takes its name before all are written."""
    from genner_cli.files.writing import Writer

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be made ({error.strerror}); name another folder after -o") from error
    with ExitStack() as open_files:
        for side, numbers in dealt.sides.items():
            writer = open_files.enter_context(Writer(str(folder / f"{side}.jsonl"), inputs=inputs))
            for number in numbers:
                writer.write(record_line(records[number], text_field))
