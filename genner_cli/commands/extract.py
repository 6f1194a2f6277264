"""`genner extract`: documents in, one record with entities for each out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from genner_cli.commands.clustering import run_on_cluster
from genner_cli.commands.extracting import Plan, run
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
    Restart,
    Slots,
    TextField,
    Threads,
    Types,
    Uncalibrated,
    asked_labels,
    nesting,
    obeyed,
)
from genner_cli.commands.sharing import Actors, Address, BlockBytes, OnCluster, ShardOfInput, cluster_options, share_of
from genner_cli.commands.terminal import talk_on_stderr
from genner_cli.errors import UsageError
from genner_cli.generation import Constraint, EngineOptions

if TYPE_CHECKING:
    from genner_cli.files.writing import Writer

_DEFAULTS = EngineOptions()

Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT...",
        help="JSONL, .txt, .parquet, .conll, .ann (also .gz, .zst); globs; s3://; - is JSONL on stdin.",
    ),
]
Output = Annotated[
    str,
    typer.Option(
        "--output", "-o", metavar="FILE", help="Output .jsonl (also .gz, .zst) or .parquet, also at s3://; - is stdout."
    ),
]
MinScore = Annotated[float, typer.Option(min=0, max=1, help="Leave out entities that score lower.")]
StrictLabels = Annotated[bool, typer.Option("--strict-labels", help="Refuse labels the model was not trained on.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Stop after so many documents.")]
KeepCompletion = Annotated[bool, typer.Option("--keep-completion", help="Add what the model wrote to each record.")]
StatisticsFile = Annotated[
    str | None,
    typer.Option("--stats", metavar="FILE", help="JSON file for what the run did and where its time went."),
]
RetryErrors = Annotated[
    bool, typer.Option("--retry-errors", help="Extract the documents once more that failed, before going on.")
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
    restart: Restart = False,
    retry_errors: RetryErrors = False,
    shard: ShardOfInput = None,
    cluster: OnCluster = None,
    address: Address = None,
    actors: Actors = None,
    block: BlockBytes = None,
) -> None:
    """Extract named entities from documents, with exact character offsets.

    An interrupted run with `-o FILE` goes on where it was when the same command is run again. What belongs to an output
    at an address (`s3://bucket/out.parquet`) is in the current folder until all of it is put there at the end.

    Examples:

    - `genner extract news.jsonl --types PER,ORG`
    - `genner extract 'corpus/*.jsonl.gz' --labels labels.yaml --nested -o entities.jsonl.zst`
    - `cat docs.jsonl | genner extract - --min-score 0.5 --slots 32`
    - `genner extract big.jsonl --shard 2/5 -o entities-2.jsonl`
    - `genner extract big.jsonl --cluster ray --address head:6379 -o entities.jsonl`
    """
    from genner_cli.api import ExtractOptions
    from genner_cli.files.reading import expand, read_documents
    from genner_cli.files.writing import encode, encode_value

    paths = expand(inputs, addresses=True)
    share = share_of(paths, shard, output=output, limit=limit)
    on_cluster = cluster_options(cluster, address, actors, block, shard=shard)
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
    read = partial(read_documents, text_field=text_field, id_field=id_field, max_document_bytes=max_document_bytes)
    to_line = partial(encode, text_field=text_field, id_field=id_field, keep_completion=keep_completion)
    talk_on_stderr()
    shape = {"text-field": text_field, "id-field": id_field, "keep-completion": keep_completion}
    shape |= share.told
    plan = Plan(paths, share.blocks, output, options, read, to_line, limit, shape, restart=restart, retry=retry_errors)
    done = run_on_cluster(plan, on_cluster) if on_cluster else run(plan)
    sys.stderr.write(done.summary() + "\n")
    if report:
        with report:
            report.write(encode_value(done.report()))
    if done.ledger.failed:
        raise typer.Exit(1)


def _report_writer(path: str | None, inputs: Sequence[str]) -> Writer | None:
    """Refuses what cannot be written; writes nothing yet."""
    from genner_cli.files import STDIO
    from genner_cli.files.writing import Writer

    if path == STDIO:
        raise UsageError("--stats -: standard output is for records; name a .json file after --stats")
    return Writer(path, inputs=inputs, option="--stats", suffixes=(".json",)) if path is not None else None
