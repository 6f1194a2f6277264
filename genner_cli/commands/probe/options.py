"""Options and reports that the probes share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genner_cli.commands.options import LABELLED
from genner_cli.commands.terminal import show
from genner_cli.commands.training import training_progress

if TYPE_CHECKING:
    from genner_cli.probing.recipe import Progress
    from genner_cli.probing.results import Results

TrainFile = Annotated[str, typer.Argument(metavar="TRAIN", help=f"{LABELLED}, to train on; or a glob.")]
ValidFile = Annotated[str, typer.Argument(metavar="VALID", help=f"{LABELLED}, to measure on; or a glob.")]
Folder = Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Folder of the probe; rerun to resume.")]
QuantizationType = Annotated[
    str, typer.Option("--quantize", metavar="TYPE", help="Quantization type of the GGUFs that are measured.")
]


@contextmanager
def progress_on_stderr() -> Iterator[Progress]:
    """Reports trainings, exports and extractions on stderr."""
    from genner_cli.probing.recipe import Progress

    with training_progress() as training:
        yield Progress(training, training.stage)


def report(results: Results, folder: Path) -> None:
    """Saves results in the probe's folder, and shows them."""
    results.save(folder)
    show(results.parts)
