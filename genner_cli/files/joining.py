"""Outputs of shards -> one output, as a run that was not shared out would have left it.

Takes the paths of finished outputs in any order. Their manifests say which shard each one is; the records are held
against their indexes. Knows nothing of how a record came about.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from genner_cli.errors import UsageError
from genner_cli.files.blocks import Shard
from genner_cli.files.journal import Entry, Journal
from genner_cli.files.manifest import Manifest, Settings
from genner_cli.files.output_target import OutputTarget
from genner_cli.files.resuming import COMPLETE, ResumableOutput, written
from genner_cli.ledger import Ledger
from genner_cli.plurals import counted

_COMMAND = "genner extract --shard i/n -o FILE"


class _Part(NamedTuple):
    path: str
    shard: Shard
    manifest: Manifest


def join(paths: Sequence[str], output: str, *, restart: bool = False) -> Ledger:
    """Writes all records of the shards to `output`, in order, with one index and manifest; gives the ledger.

    Raises UsageError, before anything is written, unless all shards of one run are there and complete, each once; and
    where a record is not as it was written, which leaves what is written so far under another name. `restart`:
    see `ResumableOutput.begin`.
    """
    parts = _in_order([_part(path) for path in paths])
    settings = replace(parts[0].manifest.settings, share={})
    with ResumableOutput(output, inputs=paths, **_fields(settings)) as whole:
        whole.begin(settings, restart=restart)
        whole.fill(_records(parts))
    return whole.ledger


def _records(parts: Sequence[_Part]) -> Iterator[tuple[bytes, Entry]]:
    for path, shard, manifest in parts:
        index = f"{os.path.realpath(path)}.run.index"
        remedy = f"run shard {shard} again with --restart"
        if not os.path.exists(index):
            raise UsageError(f"{index}: is not there; put it beside the output of shard {shard}, or {remedy}")
        count = 0
        for found in written(
            OutputTarget(path, **_fields(manifest.settings)), path, Journal(path, index), remedy=remedy
        ):
            yield found
            count += 1
        if count != manifest.ledger["documents"]:
            counts = f"has {counted(count, 'record')}, not the {manifest.ledger['documents']:,} that were written"
            raise UsageError(f"{path}: {counts}; {remedy}")


def _fields(settings: Settings) -> dict[str, str]:
    return {"text_field": settings.options["text-field"], "id_field": settings.options["id-field"]}


def _part(path: str) -> _Part:
    """An output with what its manifest says of it. Raises UsageError unless it is the complete output of a shard."""
    described = f"{os.path.realpath(path)}.run.json"
    manifest = Manifest.read(described)
    if manifest is None:
        raise UsageError(f"{described}: is not there; put it beside {path}, as {_COMMAND} left it")
    if "shard" not in manifest.settings.share:
        raise UsageError(f"{path}: is not the output of a shard; name what {_COMMAND} wrote")
    shard = Shard.parse(str(manifest.settings.share["shard"]))
    if manifest.state != COMPLETE:
        count = f"{manifest.state}, {counted(manifest.ledger['documents'], 'document')}"
        raise UsageError(f"{path}: shard {shard} is not complete ({count}); run it again with the same command first")
    return _Part(path, shard, manifest)


def _in_order(parts: Sequence[_Part]) -> list[_Part]:
    """All shards of one run, each once. Raises UsageError."""
    first = parts[0]
    found: dict[int, _Part] = {}
    for part in parts:
        _refuse_other(first, part)
        if part.shard.number in found:
            other = found[part.shard.number].path
            raise UsageError(f"{other} and {part.path} are both shard {part.shard}; drop one")
        found[part.shard.number] = part
    count = first.shard.count
    missing = [str(Shard(number, count)) for number in range(1, count + 1) if number not in found]
    if missing:
        remedy = "name their outputs as well, or make them with the same command and their --shard first"
        raise UsageError(f"missing: shard {', '.join(missing)} of the run that {first.path} is part of; {remedy}")
    return [found[number] for number in sorted(found)]


def _refuse_other(first: _Part, part: _Part) -> None:
    """Raises UsageError unless both are shards of one input, made in the same way."""
    if part.shard.count != first.shard.count:
        different = f"shard: {first.shard} there, {part.shard} here"
    else:
        here = replace(part.manifest.settings, share={**part.manifest.settings.share, "shard": str(first.shard)})
        different = first.manifest.differences(here, part.manifest.genner)
    if different:
        raise UsageError(
            f"{part.path}: is not a shard of the same run as {first.path} ({different}); drop one, or make"
            " both with the same genner, options and input"
        )
