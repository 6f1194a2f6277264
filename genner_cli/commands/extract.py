"""`genner extract`: documents in, one record with entities for each out."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genner_cli.commands.options import (
    AdapterReference,
    BatchTokens,
    CalibrationFile,
    ChunkBytes,
    ContextTokens,
    Depth,
    Download,
    Format,
    GpuLayers,
    Held,
    IdField,
    LabelsFile,
    MaxDocumentBytes,
    ModelReference,
    Nested,
    OverlapBytes,
    Slots,
    TextField,
    Threads,
    Types,
    Uncalibrated,
    asked_labels,
    nesting,
    obeyed,
)
from genner_cli.commands.terminal import talk_on_stderr
from genner_cli.errors import UsageError
from genner_cli.generation import Constraint, EngineOptions

if TYPE_CHECKING:
    from genner_cli.api import ExtractOptions, Extractor
    from genner_cli.extraction import DocumentOrFailure
    from genner_cli.files.writing import Writer
    from genner_cli.types import Extraction

_DEFAULTS = EngineOptions()
_SHOW = 0.25


Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT...",
        help="JSONL, .txt, .parquet, .conll, .ann (also .gz, .zst); globs; - is JSONL on stdin.",
    ),
]
Output = Annotated[
    str, typer.Option("--output", "-o", metavar="FILE", help="Output JSONL (also .gz, .zst); - is stdout.")
]
MinScore = Annotated[float, typer.Option(min=0, max=1, help="Leave out entities that score lower.")]
StrictLabels = Annotated[bool, typer.Option("--strict-labels", help="Refuse labels the model was not trained on.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Stop after so many documents.")]
KeepCompletion = Annotated[bool, typer.Option("--keep-completion", help="Add what the model wrote to each record.")]
StatisticsFile = Annotated[
    str | None,
    typer.Option("--stats", metavar="FILE", help="JSON file for what the run did and where its time went."),
]


def extract(
    inputs: Inputs,
    types: Types = None,
    labels: LabelsFile = None,
    output: Output = "-",
    model: ModelReference = None,
    adapter: AdapterReference = None,
    download: Download = False,
    format: Format = None,
    nested: Nested = False,
    depth: Depth = None,
    constraint: Held = Constraint.SOURCE,
    min_score: MinScore = 0.0,
    calibration: CalibrationFile = None,
    no_calibration: Uncalibrated = False,
    strict_labels: StrictLabels = False,
    text_field: TextField = "text",
    id_field: IdField = "id",
    limit: Limit = None,
    max_document_bytes: MaxDocumentBytes = 16 * 2**20,
    chunk: ChunkBytes = None,
    overlap: OverlapBytes = None,
    slots: Slots = _DEFAULTS.slots,
    context: ContextTokens = _DEFAULTS.context,
    batch: BatchTokens = _DEFAULTS.batch,
    threads: Threads = None,
    gpu_layers: GpuLayers = _DEFAULTS.gpu_layers,
    keep_completion: KeepCompletion = False,
    stats: StatisticsFile = None,
) -> None:
    """Extract named entities from documents, with exact character offsets.

    Examples:

    - `genner extract news.jsonl --types PER,ORG`
    - `genner extract 'corpus/*.jsonl.gz' --labels labels.yaml --nested -o entities.jsonl.zst`
    - `cat docs.jsonl | genner extract - --min-score 0.5 --slots 32`
    """
    from genner_cli.api import ExtractOptions
    from genner_cli.files import expand
    from genner_cli.files.reading import read_documents
    from genner_cli.files.writing import encode, encode_value

    paths = expand(inputs)
    report = _report_writer(stats, paths)
    options = ExtractOptions(
        labels=asked_labels(types, labels),
        model=model,
        adapter=adapter,
        download=download,
        format=format,
        depth=nesting(nested, depth),
        constraint=constraint,
        min_score=min_score,
        calibration=calibration,
        calibrated=obeyed(calibration, no_calibration),
        chunk_bytes=chunk,
        overlap_bytes=overlap,
        strict_labels=strict_labels,
        engine=EngineOptions(slots=slots, context=context, batch=batch, threads=threads, gpu_layers=gpu_layers),
    )
    read = partial(
        read_documents, paths, text_field=text_field, id_field=id_field, max_document_bytes=max_document_bytes
    )
    to_line = partial(encode, text_field=text_field, id_field=id_field, keep_completion=keep_completion)
    talk_on_stderr()
    run = _run(paths, output, options, read, to_line, limit)
    sys.stderr.write(run.summary() + "\n")
    if report:
        with report:
            report.write(encode_value(run.report()))
    if run.failed:
        raise typer.Exit(1)


def _report_writer(path: str | None, inputs: Sequence[str]) -> Writer | None:
    """Refuses what cannot be written; writes nothing yet."""
    from genner_cli.files import STDIO
    from genner_cli.files.writing import Writer

    if path == STDIO:
        raise UsageError("--stats -: standard output is for records; name a .json file after --stats")
    return Writer(path, inputs=inputs, option="--stats", suffixes=(".json",)) if path is not None else None


def _run(
    paths: Sequence[str],
    output: str,
    options: ExtractOptions,
    read: Callable[..., Iterator[DocumentOrFailure]],
    to_line: Callable[[Extraction], bytes],
    limit: int | None,
) -> _Run:
    from genner_cli.api import open_extractor
    from genner_cli.files import total_bytes
    from genner_cli.files.writing import Writer

    total = total_bytes(paths) if limit is None else None
    with (
        Writer(output, inputs=paths) as writer,
        open_extractor(options) as extractor,
        _progress(total, extractor) as run,
    ):
        for result in run.count(extractor.extract(islice(read(progress=run.read), limit))):
            writer.write(to_line(result))
    return run


@dataclass
class _Run:
    """What was done so far, and what to show of it."""

    extractor: Extractor
    show: Callable[[int, str], None]
    started: float
    bytes_read: int = 0
    documents: int = 0
    entities: int = 0
    failed: int = 0
    shown: float = 0.0

    def read(self, count: int) -> None:
        """Counts bytes of the input files."""
        self.bytes_read += count

    def count(self, results: Iterable[Extraction]) -> Iterator[Extraction]:
        """Counts and hands on."""
        for result in results:
            self.documents += 1
            self.entities += len(result.entities)
            self.failed += result.error is not None
            now = time.monotonic()
            if now - self.shown > _SHOW:
                self.shown = now
                self.show(self.bytes_read, f"{self.documents:,} documents, {self._rate():,.0f} tokens/s")
            yield result

    def summary(self) -> str:
        """One line of what was done."""
        seconds = self._seconds()
        return (
            f"{self.documents:,} documents, {self.entities:,} entities, {self.failed:,} failed"
            f" in {seconds:,.1f} s ({self.documents / seconds:,.1f} documents/s, {self._rate():,.0f} tokens/s)"
        )

    def report(self) -> dict[str, Any]:
        """What was done and where the time went, as a JSON value."""
        return self.extractor.report(seconds=self._seconds(), documents=self.documents, failed=self.failed)

    def _rate(self) -> float:
        return self.extractor.engine.statistics.decoded / self._seconds()

    def _seconds(self) -> float:
        return max(1e-9, time.monotonic() - self.started)


@contextmanager
def _progress(total: int | None, extractor: Extractor) -> Iterator[_Run]:
    """A bar on stderr if that is a terminal; total: bytes of all inputs, None where nobody knows."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        SpinnerColumn(),
        BarColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("reading", total=total)
        yield _Run(
            extractor,
            show=lambda done, text: bar.update(task, completed=done, description=text),
            started=time.monotonic(),
        )
