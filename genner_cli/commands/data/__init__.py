"""`genner data`: labelled data converted, counted, split, relabelled and checked; shards joined."""

from __future__ import annotations

import typer

from genner_cli.commands.data.check import check
from genner_cli.commands.data.convert import convert
from genner_cli.commands.data.merge import merge
from genner_cli.commands.data.relabel import relabel
from genner_cli.commands.data.split import split
from genner_cli.commands.data.stats import stats

data = typer.Typer(
    help="Convert, count, split, relabel and check labelled data; join shards.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
data.command()(convert)
data.command()(stats)
data.command()(split)
data.command()(relabel)
data.command()(check)
data.command()(merge)
