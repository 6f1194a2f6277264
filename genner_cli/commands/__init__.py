"""The person at the terminal: `genner` and its commands, one file each. The only home of typer and rich.

A command imports what it needs inside its function, so that `--help` loads no model library.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from genner_cli import __version__
from genner_cli.commands.calibrate import calibrate
from genner_cli.commands.data import data
from genner_cli.commands.evaluate import evaluate
from genner_cli.commands.export import export
from genner_cli.commands.extract import extract
from genner_cli.commands.grammar import grammar
from genner_cli.commands.info import info
from genner_cli.commands.plan import plan
from genner_cli.commands.probe import probe
from genner_cli.commands.pull import pull
from genner_cli.commands.terminal import printable_lines
from genner_cli.commands.train import train
from genner_cli.commands.view import view
from genner_cli.errors import GennerError


class _Commands(TyperGroup):
    """Says what typer would not: that a run was interrupted, and that nobody reads its output any more."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise typer.Exit(141) from None
        except KeyboardInterrupt as error:
            _say("interrupted", error)
            raise typer.Exit(getattr(error, "exit_code", 130)) from None


app = typer.Typer(
    cls=_Commands,
    help=(
        "Named entity recognition with generative language models: offline, in batch, on this machine.\n\n"
        "Example: `genner extract news.jsonl --types PER,ORG -o entities.jsonl`"
    ),
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(extract)
app.command()(evaluate)
app.command()(calibrate)
app.command()(plan)
app.command()(grammar)
app.command()(train)
app.command()(export)
app.command()(info)
app.command()(pull)
app.command()(view)
app.add_typer(data, name="data")
app.add_typer(probe, name="probe")


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"genner {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Runs the command line; a GennerError becomes one line on stderr and its exit status."""
    try:
        app()
    except GennerError as error:
        _say(str(error), error)
        sys.exit(error.exit_code)


def _say(message: str, error: BaseException) -> None:
    told = (message, *getattr(error, "__notes__", ()))
    sys.stderr.write("".join(f"genner: {printable_lines(line)}\n" for line in told))
