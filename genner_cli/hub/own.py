"""genner's own models by name: `small` comes with genner, `base` is made once of a fetched model and an adapter.

What is made lies in the local cache, in a file whose name tells which adapter it was made of. Opens no connection.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from genner_cli.errors import ModelNotFound
from genner_cli.files.hashing import fingerprint

_MODELS = Path(__file__).parents[1] / "models"
BUNDLED = _MODELS / "genner-small.gguf"
BASE_ADAPTER = _MODELS / "genner-base-adapter.gguf"
SMALL, BASE = "small", "base"
OFFERED = (SMALL, BASE)
NAMES = (*OFFERED, "bundled")
"""`bundled` is what `small` was called in adapters that were trained on it."""


def own_model(name: str) -> Path:
    """The file of one of NAMES. Raises ModelNotFound where genner-base has not been made yet, or of another adapter."""
    if name != BASE:
        return BUNDLED
    if made := made_base():
        return made
    if any(_folder().glob("genner-base-*.gguf")):
        what = "genner-base in the local cache was made by another version of genner"
        raise ModelNotFound(f"{what}; make this version's once with `genner pull base`")
    raise ModelNotFound("genner-base is not in the local cache; fetch and make it once with `genner pull base`")


def made_base() -> Path | None:
    """genner-base in the local cache, made of this genner's adapter; None if it is not there."""
    found = _folder().glob(f"{_stem()}.*.gguf") if BASE_ADAPTER.is_file() else ()
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def base_path(type: str) -> Path:
    """Where genner-base belongs in this type of weights."""
    return _folder() / f"{_stem()}.{type}.gguf"


@contextmanager
def making() -> Iterator[Path]:
    """An empty folder beside `base_path`, for one process at a time; what a killed one left there is removed."""
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

    folder = _folder()
    folder.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(folder / ".lock"):
        work = folder / "making"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _stem() -> str:
    return f"genner-base-{fingerprint([BASE_ADAPTER])[:12]}"


def _folder() -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE).parent / "genner-models"
