"""`genner plan`: how long an extraction will take here."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import Annotated

import typer

from genner_cli.commands.options import DOCUMENT_FILES, AsJson, run_options
from genner_cli.commands.terminal import print_value, status_line
from genner_cli.options import Panel
from genner_cli.running.spec import RunSpec

_OWN = ("sample", "seconds", "as_json")
_OUTPUT = "entities.jsonl"

Files = Annotated[list[str], typer.Argument(metavar="INPUT", help=f"{DOCUMENT_FILES}.")]
Sample = Annotated[int, typer.Option(min=1, help="Documents to time, drawn evenly from all.")]
Seconds = Annotated[float, typer.Option(min=1, help="Approximate limit, in seconds, for timing the sample.")]


@run_options(
    Panel.LABELS,
    Panel.MODEL,
    "patterns",
    Panel.PROMPT,
    Panel.TEXT,
    Panel.SPEED,
    without=("strict_labels", "calibration", "no_calibration", "choose"),
)
def plan(
    call: typer.Context,
    inputs: Files,
    spec: RunSpec,
    sample: Sample = 20,
    seconds: Seconds = 60,
    as_json: AsJson = False,
) -> None:
    """Time a sample of the documents, and estimate how long all of them will take.

    Takes the options of `genner extract` that change its speed, and ends with the command to run, which writes to
    entities.jsonl so that it can be resumed. Standard input can be read only once, so it is refused.

    Example: `genner plan 'corpus/*.jsonl.gz' --types PER,ORG`
    """
    from genner_cli.api import estimate

    spec = replace(spec, inputs=tuple(inputs), no_calibration=True).expanded()
    with status_line("reading") as progress:
        made = estimate(spec, sample, seconds, progress)
    found = made.value()
    found["command"] = shlex.join(["genner", "extract", *_given(call), "-o", _OUTPUT])
    print_value(found, (*made.lines(), "", f"Run: {found['command']}"), as_json=as_json)


def _given(call: typer.Context) -> list[str]:
    """The arguments of this call that genner extract takes too, as it takes them."""
    words: list[str] = []
    for parameter in call.command.params:
        name = parameter.name or ""
        source = call.get_parameter_source(name)
        if name in _OWN or source is None or source.name != "COMMANDLINE":
            continue
        value = call.params[name]
        if isinstance(value, bool):
            words.append((parameter.opts if value else parameter.secondary_opts)[0])
        elif isinstance(value, list):
            words.extend(value)
        else:
            words += [max(parameter.opts, key=len), str(value)]
    return words
