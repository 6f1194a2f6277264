"""`genner pull`: fetches a model from the Hub once, so that all else works without network."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from genner_cli.commands.terminal import byte_bar, size_text

ReferenceArgument = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="owner/name of a base model or a GGUF, or owner/name:file.gguf."),
]
Revision = Annotated[
    str | None, typer.Option(metavar="NAME", help="Branch, tag or commit, as in owner/name@NAME.", show_default="main")
]
Place = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="PATH", help="File or folder to put it in.", show_default="the Hub's local cache"
    ),
]


def pull(model: ReferenceArgument, revision: Revision = None, output: Place = None) -> None:
    """Fetch a GGUF or a base model from the Hub, checked against its hashes; everything else works offline.

    Goes on where an interrupted call has stopped. Prints the local path.

    Examples:

    - `genner pull owner/name`
    - `genner pull owner/name:model-Q4_K_M.gguf --revision v1.0`
    """
    from genner_cli.hub.pulling import pull as fetch

    with byte_bar() as tell:
        pulled = fetch(model, revision=revision, out=output, progress=tell)
    count = "1 file" if pulled.files == 1 else f"{pulled.files} files"
    sys.stderr.write(f"{pulled.pinned}: {count}, {size_text(pulled.size)}, hashes checked\n")
    typer.echo(pulled.path)
