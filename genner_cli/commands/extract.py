"""`genner extract`: documents in, one record with entities for each out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from genner_cli.commands.options import DOCUMENT_FILES, run_options
from genner_cli.commands.terminal import document_progress, fail_if_any, say, warn
from genner_cli.errors import UsageError
from genner_cli.options import Panel
from genner_cli.running.spec import STDIO, RunSpec

if TYPE_CHECKING:
    from genner_cli.files.writing import Writer
    from genner_cli.running.judges import Verification
    from genner_cli.running.local import Run

Inputs = Annotated[list[str], typer.Argument(metavar="INPUT", help=f"{DOCUMENT_FILES}; - is JSONL on stdin.")]
StatisticsFile = Annotated[
    str | None,
    typer.Option(
        "--stats", metavar="FILE", help="JSON file for statistics of the run: counts, and where the time went.",
        show_default="none", rich_help_panel=Panel.OUTPUT.value,
    ),
]  # fmt: skip
Verify = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL", help="Model that verifies each entity, or self for the one that extracts: entities it does not"
        " find right are left out (see genner judge). Needs -o FILE.jsonl.", show_default="none",
        rich_help_panel=Panel.OUTPUT.value,
    ),
]  # fmt: skip


@run_options(*Panel)
def extract(inputs: Inputs, spec: RunSpec, stats: StatisticsFile = None, verify: Verify = None) -> None:
    """Extract named entities from documents, with exact character offsets.

    A .txt, .md, .html, .eml or .xml file is one document. Its id is its name, or its path in the folder that is named;
    its record has the text that was extracted, and offsets are those in it. Of a folder, all files of known kinds are
    read. A .csv or .tsv has one document per row, with the text in a column (`--text-field`).

    An interrupted run with `-o FILE` resumes when the same command is run again. For an output at an address
    (`s3://bucket/out.parquet`), the files of an unfinished run are in the current folder.

    A .csv or .tsv output has one row per entity: id, start, end, label, text, score, context. The records with texts,
    other fields and errors are beside it, in `FILE.records.jsonl`.

    Examples:

    - `genner extract news.jsonl --types PER,ORG`
    - `genner extract 'corpus/*.jsonl.gz' --labels labels.yaml --nested -o entities.jsonl.zst`
    - `cat docs.jsonl | genner extract - --min-score 0.5 --slots 32`
    - `genner extract letters/ -o entities.csv`
    - `genner extract news.jsonl --open --model qwen.gguf -o entities.jsonl`
    - `genner extract news.jsonl --types PER,ORG --verify qwen.gguf -o verified.jsonl`
    - `genner extract mails.csv --text-field subject,body --labels-field wanted -o entities.jsonl`
    - `genner extract big.jsonl --shard 2/5 -o entities-2.jsonl`
    - `genner extract big.jsonl --cluster ray --address head:6379 -o entities.jsonl`
    """
    from genner_cli.api import run_spec
    from genner_cli.files.writing import encode_value

    spec = replace(spec, inputs=tuple(inputs)).expanded()
    report = _report_writer(stats, spec.inputs)
    verification = _verification(spec, verify) if verify else None
    done = run_spec(verification.extracting if verification else spec, document_progress)
    say(done.summary())
    if report:
        with report:
            report.write(encode_value(done.report()))
    if done.ledger.failed:
        warn(*_failures(done, spec.output))
    if verification:
        judged = verification.run(document_progress)
        say(judged.summary())
        fail_if_any(judged)
    if done.ledger.failed:
        raise typer.Exit(1)


def _verification(spec: RunSpec, model: str) -> Verification:
    from genner_cli.running.judges import Verification  # not for every extraction

    return Verification(spec, model)


def _failures(done: Run, output: str) -> Iterator[str]:
    """The first messages of this run, how many documents failed beside these, and where all messages are."""
    yield from done.messages
    from genner_cli.files.output_target import records_of

    others = done.ledger.failed - len(done.messages)
    more = f"and {others:,} more; " if done.messages and others else ""
    again = "" if output == STDIO else ", and after correcting the cause extract these documents with --retry-errors"
    where = "" if output == STDIO else f" in {records_of(output)}"
    yield f'{more}see the "error" fields of the records{where}{again}'


def _report_writer(path: str | None, inputs: Sequence[str]) -> Writer | None:
    """Refuses what cannot be written; writes nothing yet."""
    from genner_cli.files.writing import Writer

    if path == STDIO:
        raise UsageError("--stats -: standard output is for records; name a .json file after --stats")
    return Writer(path, inputs=inputs, option="--stats", suffixes=(".json",)) if path is not None else None
