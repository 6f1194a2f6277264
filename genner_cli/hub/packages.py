"""`pypi:NAME[==VERSION][,NAME[==VERSION] ...]` -> the GGUF that those Python packages hold, from the local cache.

Beside the Hub's cache, each set of names has a folder, and in it one folder per version with the GGUF and, written
last, ORIGIN. `wheels` fetches what is not there. Knows nothing of pip, and opens no connection.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genner_cli.errors import ModelError

PREFIX = "pypi:"
ORIGIN = "origin.json"
"""Packages, versions and SHA-256 hashes that a GGUF in the cache was made of, and its own hash and size."""
_REQUIREMENT = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)(?:==([A-Za-z0-9.!+_-]+))?")
_LONGEST_NAME = 100


@dataclass(frozen=True, slots=True)
class Package:
    """A package by its normalized name (PEP 503); `version` None: whichever pip chooses."""

    name: str
    version: str | None = None

    def __str__(self) -> str:
        return f"{self.name}=={self.version}" if self.version else self.name


def is_package(reference: str) -> bool:
    """Whether a reference names Python packages."""
    return reference.startswith(PREFIX)


def parse_packages(reference: str) -> tuple[Package, ...]:
    """Reads a reference; raises ModelError where it does not name packages."""
    found = []
    for part in reference.removeprefix(PREFIX).split(","):
        match = _REQUIREMENT.fullmatch(part.strip())
        if match is None:
            raise ModelError(
                f"{reference!r}: {part!r} is not the name of a package; give pypi:NAME or pypi:NAME==VERSION, several"
                " with commas between them"
            )
        found.append(Package(normalized(match[1]), match[2]))
    return tuple(dict.fromkeys(found))


def normalized(name: str) -> str:
    """A package's name as indexes spell it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def written(packages: Sequence[Package]) -> str:
    """The reference of these packages."""
    return PREFIX + ",".join(map(str, packages))


def folder_of(packages: Sequence[Package]) -> Path:
    """The folder in the cache for these names, whatever their versions."""
    from huggingface_hub import constants

    joined = "+".join(package.name for package in packages)
    if len(joined) > _LONGEST_NAME:
        joined = f"{packages[0].name}+{hashlib.sha256(joined.encode()).hexdigest()[:16]}"
    return Path(constants.HF_HUB_CACHE).parent / "genner-packages" / joined


def cached(packages: Sequence[Package]) -> Path | None:
    """The GGUF of these packages that was fetched last, in the versions asked for; None if there is none."""
    origins = sorted(folder_of(packages).glob(f"*/{ORIGIN}"), key=lambda path: path.stat().st_mtime)
    for path in reversed(origins):
        origin = read_origin(path)
        versions = {each["name"]: each["version"] for each in origin["packages"]}
        found = path.with_name(origin["file"])
        if all(each.version in (None, versions.get(each.name)) for each in packages) and found.is_file():
            return found
    return None


def read_origin(path: Path) -> dict[str, Any]:
    """What ORIGIN says. Raises ModelError where it is broken."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return {"file": str(found["file"]), "sha256": str(found["sha256"]), "packages": list(found["packages"])}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{path} is broken ({error!r}); remove {path.parent}, and fetch the model again") from error
