"""`genner data merge`: the outputs of `genner extract --shard` as one."""

from __future__ import annotations

from typing import Annotated

import typer

from genner_cli.commands.options import Restart
from genner_cli.commands.terminal import say, status_line
from genner_cli.plurals import counted

Parts = Annotated[list[str], typer.Argument(metavar="PART", help="Outputs of all shards, in any order; globs.")]
Output = Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="Output: a suffix as of extract.")]


def merge(parts: Parts, output: Output, restart: Restart = False) -> None:
    """Join the outputs of all shards of a run into the output of the same run without shards.

    All shards must be there and complete, with the .run.json and .run.index beside them. The result is resumed
    like any other output: `genner extract ... -o FILE --retry-errors`. The status is 1 if documents failed.

    Example: `genner data merge 'entities-*.jsonl' -o entities.jsonl`
    """
    from genner_cli.files.joining import join
    from genner_cli.files.reading import expand

    paths = expand(parts)
    with status_line("joining"):
        ledger = join(paths, output, restart=restart)
    say(f"{ledger.text()}, from {counted(len(paths), 'shard')}")
    if ledger.failed:
        raise typer.Exit(1)
