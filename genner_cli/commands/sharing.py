"""What of its input `genner extract` is to read, and whether a cluster does it: the options and their checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from genner_cli.commands.clustering import ClusterOptions
from genner_cli.errors import UsageError

if TYPE_CHECKING:
    from genner_cli.files import Block


class ClusterName(StrEnum):
    """The kinds of clusters."""

    ray = "ray"


ShardOfInput = Annotated[
    str | None,
    typer.Option(
        "--shard", metavar="i/n", help="Extract the i-th of n equal shares; `genner data merge` joins the outputs."
    ),
]
OnCluster = Annotated[
    ClusterName | None, typer.Option("--cluster", help="Extract on many machines (needs genner[cluster]).")
]
Address = Annotated[
    str | None,
    typer.Option(metavar="HOST:PORT", help="Ray cluster to join.", show_default="one is started on this machine"),
]
Actors = Annotated[
    int | None,
    typer.Option(min=1, help="Engines on the cluster.", show_default="one for each GPU, else for each --threads CPUs"),
]
BlockBytes = Annotated[
    int | None,
    typer.Option("--block", min=1, help="Bytes of input that an engine gets at once.", show_default="by the input"),
]


class Share(NamedTuple):
    """What of the input is to be read, and what the manifest tells of that."""

    blocks: Sequence[str | Block]
    told: Mapping[str, str] = MappingProxyType({})


def share_of(paths: list[str], shard: str | None, *, output: str, limit: int | None) -> Share:
    """All of the input, or the shard asked for. Raises UsageError where that makes no sense."""
    from genner_cli.files import STDIO
    from genner_cli.files.blocks import Shard, input_of

    if shard is None:
        return Share(paths)
    asked = Shard.parse(shard)
    if output == STDIO:
        raise UsageError("--shard: what `genner data merge` needs stands beside a file; name it after -o")
    if limit is not None:
        raise UsageError("--limit counts documents from the start of the input, which a shard does not see; drop one")
    return Share(asked.blocks(paths), {"shard": str(asked), "input": input_of(paths)})


def cluster_options(
    cluster: ClusterName | None, address: str | None, actors: int | None, block: int | None, *, shard: str | None
) -> ClusterOptions | None:
    """None: this process does it alone. Raises UsageError for options that contradict each other."""
    if cluster is None:
        given = {"--address": address, "--actors": actors, "--block": block}
        alone = next((name for name, value in given.items() if value is not None), None)
        if alone:
            raise UsageError(f"{alone} is for a cluster; add --cluster ray")
        return None
    if shard is not None:
        raise UsageError("--shard and --cluster both share the input out; leave one of them out")
    return ClusterOptions(address, actors, block)
