"""Options and opening moves that the probes share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genner_cli.commands.gold import is_nested, read_gold_files
from genner_cli.commands.training import training_progress
from genner_cli.errors import UsageError
from genner_cli.training.options import TrainOptions

if TYPE_CHECKING:
    from genner_cli.probing.recipe import Progress
    from genner_cli.types import Document

TrainFile = Annotated[str, typer.Argument(metavar="TRAIN", help="Labelled JSONL to train on, or a glob.")]
ValidFile = Annotated[str, typer.Argument(metavar="VALID", help="Labelled JSONL to measure on, or a glob.")]
Folder = Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Folder of the probe; rerun to resume.")]
QuantizationType = Annotated[
    str, typer.Option("--quantize", metavar="TYPE", help="Quantization type of the GGUFs that are measured.")
]


def read_both(
    train: str, valid: str, options: TrainOptions, *, text_field: str, id_field: str
) -> tuple[tuple[Document, ...], tuple[Document, ...]]:
    """The documents to learn from and those to measure on."""
    found = tuple(read_gold_files([path], text_field=text_field, id_field=id_field) for path in (train, valid))
    if options.depth == 1 and any(map(is_nested, found)):
        raise UsageError("the data have entities inside entities; give --nested")
    return found[0], found[1]


def files_hash(*patterns: str) -> str:
    """What the files hold, as the probe remembers it. Raises UsageError for standard input."""
    from genner_cli.files import STDIO
    from genner_cli.files.hashing import hash_files
    from genner_cli.files.reading import expand

    if STDIO in patterns:
        raise UsageError("a probe must know its files again to resume; name files, not '-'")
    return hash_files(map(Path, expand(patterns)))


@contextmanager
def progress_on_stderr() -> Iterator[Progress]:
    """Reports trainings, exports and extractions on stderr."""
    from genner_cli.probing.recipe import Progress

    with training_progress() as training:
        yield Progress(training, training.stage)
