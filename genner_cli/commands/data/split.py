"""`genner data split`: labelled data into train, valid and test."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genner_cli.commands.data.input import Inputs
from genner_cli.commands.options import Seed, TextField
from genner_cli.commands.terminal import say, status_line
from genner_cli.plurals import counted

Folder = Annotated[
    Path, typer.Option("--output", "-o", metavar="FOLDER", help="Folder for train.jsonl, valid.jsonl and test.jsonl.")
]
Train = Annotated[float | None, typer.Option(help="Share of train.jsonl.", show_default="the rest")]
Valid = Annotated[float, typer.Option(min=0, max=1, help="Share of valid.jsonl.")]
Test = Annotated[float, typer.Option(min=0, max=1, help="Share of test.jsonl; 0: no such file.")]


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
    from genner_cli.files.revising import read_sound, refuse_existing, write_split

    shares = {"train": 1 - valid - test if train is None else train, "valid": valid, "test": test}
    shares = {side: share for side, share in shares.items() if share or side == "train"}
    refuse_existing(output, shares)
    with status_line("reading") as progress:
        sound = read_sound(files, text_field)
        progress("comparing and splitting")
        dealt = deal([document for document, _ in sound], shares, seed=seed)
    write_split(sound, dealt.sides, output, files, text_field)
    for side, numbers in dealt.sides.items():
        share = len(numbers) / max(1, len(sound))
        say(f"{output / side}.jsonl: {counted(len(numbers), 'document')} ({share:.1%})")
    if dealt.largest > 1:
        say(f"largest group of documents that share eight words or more, in one split: {dealt.largest:,}")
