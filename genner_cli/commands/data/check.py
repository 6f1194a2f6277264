"""`genner data check`: what spoils labelled data."""

from __future__ import annotations

from typing import Annotated

import typer

from genner_cli.commands.data.input import Inputs, read_each
from genner_cli.commands.options import AsJson, TextField
from genner_cli.commands.terminal import print_value, status_line
from genner_cli.data.checking import Check

Skip = Annotated[list[Check] | None, typer.Option(help="Check to skip; repeat it for more.")]
Examples = Annotated[int, typer.Option(min=0, help="Maximum number of findings per check, and of places per finding.")]


def check(
    files: Inputs, skip: Skip = None, examples: Examples = 5, as_json: AsJson = False, text_field: TextField = "text"
) -> None:
    """Look for wrong offsets, duplicates, leaks between files, and inconsistent annotations.

    The exit status is 1 if anything is found. Real annotation rarely labels a mention the same way everywhere:
    `--skip labels` skips that check.

    Examples:

    - `genner data check train.jsonl valid.jsonl test.jsonl`
    - `genner data check all.jsonl --skip labels --json`
    """
    from genner_cli.data import checking
    from genner_cli.files.gold import findings_of

    data = read_each(files, text_field)
    documents = {path: gold.documents for path, gold in data.items()}
    found: dict[Check, list[checking.Finding]] = {}
    with status_line("checking") as progress:
        for name in (each for each in Check if each not in (skip or ())):
            progress(f"looking for {checking.TITLES[name]}")
            if name is Check.PROBLEMS:
                found[name] = list(findings_of(problem for gold in data.values() for problem in gold.problems))
            else:
                found[name] = list(checking.CHECKS[name](documents))
    value = {str(name): [finding.value() for finding in findings] for name, findings in found.items()}
    print_value(value, checking.lines_of(found, examples), as_json=as_json)
    if any(found.values()):
        raise typer.Exit(1)
