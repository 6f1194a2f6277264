"""`genner grammar`: the GBNF that constrains the completions of a format."""

from __future__ import annotations

from typing import Annotated

import typer

from genner_cli.commands.options import Depth, FormatName, LabelsFile, Nested, Types, label_tree, nesting
from genner_cli.errors import UsageError


def grammar(
    types: Types = None,
    labels: LabelsFile = None,
    format: Annotated[FormatName, typer.Option(help="Output format.")] = "xml",
    nested: Nested = None,
    depth: Depth = None,
) -> None:
    """Print the GBNF grammar of an output format.

    Example: `genner grammar --format xml --types PER,ORG`
    """
    from genner_cli.formats import output_format

    asked = label_tree(types, labels).leaves()
    if not asked:
        raise UsageError("say which labels: --types PER,ORG or --labels labels.yaml")
    names = [label.name for label in asked]
    typer.echo(output_format(format).grammar(names, depth=nesting(nested, depth) or 1), nl=False)
