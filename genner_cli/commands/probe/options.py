"""Options and opening moves that the probes share."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genner_cli.commands.terminal import show
from genner_cli.commands.training import training_progress
from genner_cli.errors import UsageError
from genner_cli.training.options import TrainOptions

if TYPE_CHECKING:
    from genner_cli.probing.recipe import Progress
    from genner_cli.scoring import Estimate
    from genner_cli.scoring.tables import Table
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
    from genner_cli.data.statistics import is_nested
    from genner_cli.files.gold import read_gold_files

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


def report(
    folder: Path,
    results: dict[str, Any],
    panels: Sequence[tuple[str, Mapping[str, Mapping[str, Estimate]], bool]],
    parts: Iterable[Table | str],
) -> None:
    """What was found: `results.json` and `results.svg` in the probe's folder, and the parts on the terminal.

    panels: of the picture: their titles, rows, and whether zero is marked.
    """
    from genner_cli.files.writing import Writer, encode_value

    with Writer(str(folder / "results.json"), suffixes=(".json",)) as writer:
        writer.write(encode_value(results))
    try:
        from genner_cli.plots.drawings import Panel, draw_probe
    except ModuleNotFoundError as error:
        picture = folder / "results.svg"
        sys.stderr.write(f"genner: no {picture}, which needs {error.name}; run: pip install 'genner[plots]'\n")
    else:
        draw_probe([Panel(*each) for each in panels], folder / "results.svg")
    show(parts)
