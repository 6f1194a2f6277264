"""`genner data stats`: what labelled data holds."""

from __future__ import annotations

from dataclasses import asdict

import typer

from genner_cli.commands.data.input import Inputs, read_each, report_problems
from genner_cli.commands.options import AsJson, TextField
from genner_cli.commands.terminal import print_value


def stats(files: Inputs, as_json: AsJson = False, text_field: TextField = "text") -> None:
    """Count documents, characters and entities by label; lengths, nesting, and documents without entities.

    Documents with problems are not counted, and the exit status is 1.

    Example: `genner data stats train.jsonl valid.jsonl`
    """
    from genner_cli.data.statistics import lines_of, statistics

    by_file = read_each(files, text_field, any_label=True).values()
    counted = statistics(document for data in by_file for document in data.documents)
    problems = [problem for data in by_file for problem in data.problems]
    print_value(asdict(counted), lines_of(counted), as_json=as_json)
    report_problems(problems)
    if problems:
        raise typer.Exit(1)
