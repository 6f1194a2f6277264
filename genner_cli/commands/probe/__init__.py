"""`genner probe`: the questions of arXiv 2601.17898, on one's own data and models."""

from __future__ import annotations

import typer

from genner_cli.commands.probe.constraint import constraint
from genner_cli.commands.probe.formats import formats
from genner_cli.commands.probe.memorization import memorization
from genner_cli.commands.probe.retention import retention

probe = typer.Typer(
    help="Ask the questions of the paper (arXiv 2601.17898) of your own data and models.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
probe.command()(formats)
probe.command()(memorization)
probe.command()(retention)
probe.command()(constraint)
