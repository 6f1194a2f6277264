"""A model reference -> a local path, without any connection; `pulling` fetches, and only when asked to.

A reference is a path, or `owner/name` on the Hub, with `@revision` (a branch, a tag or a commit) and `:file.gguf`
where they are needed: `owner/name@v1.0:model-Q4_K_M.gguf`; or Python packages that hold a GGUF (`packages`); or the
name of one of genner's own models (`own`). None is the small one. The cache is the Hub's own, so what other tools have
fetched is found too. Knows nothing of what stands in a model.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from genner_cli.errors import ModelError, ModelNotFound
from genner_cli.files.streams import lfs_pointer
from genner_cli.hub import own, packages
from genner_cli.hub.own import BUNDLED
from genner_cli.hub.references import INDEX, WEIGHTS, Reference, only_gguf, parse, storage

__all__ = ["BUNDLED"]
_BEGINNING = 100  # bytes of a file, by which a pointer is known
_COMMIT = re.compile(r"[0-9a-f]{40}")


def resolve(reference: str | None = None, *, download: bool = False) -> Path:
    """The local file of a GGUF: a path as it is, a Hub reference from the local cache.

    With `download` what is not in the cache is fetched. Raises ModelError with a remedy.
    """
    if reference is None:
        return BUNDLED
    path = Path(reference).expanduser()
    if path.is_file():
        return path
    if reference in own.NAMES:
        return own.own_model(reference)
    if path.exists():
        raise ModelNotFound(f"model {reference!r} is a folder, not a GGUF file; give the path of a .gguf file in it")
    if packages.is_package(reference):
        found = packages.cached(packages.parse_packages(reference))
    else:
        wanted = parse(reference)
        folder = cached(wanted)
        found = _gguf_in(folder, wanted) if folder else None
    if found:
        return found
    if not download:
        remedy = f"fetch it once with --download or `genner pull {reference}`, or give a path"
        raise ModelNotFound(f"{reference} is not in the local cache; {remedy}")
    from genner_cli.hub.pulling import pull

    path = pull(reference).path
    if path.is_dir():
        raise ModelError(f"{reference} has no GGUF file; name another model, or train and export with it as --base")
    return path


def names_gguf(reference: str) -> bool:
    """Whether a reference names a GGUF file, here, on the Hub or in Python packages, and not a folder."""
    path = Path(reference).expanduser()
    named = reference in own.NAMES or packages.is_package(reference) or reference.endswith(".gguf")
    return path.is_file() or (named and not path.exists())


def resolve_base(reference: str, *, revision: str | None = None, download: bool = False) -> Path:
    """The folder of a base model as transformers reads it: a path as it is, a Hub reference from the local cache.

    With `download` what is not in the cache is fetched. Raises ModelError with a remedy, for a folder in which
    files are missing too.
    """
    path = Path(reference).expanduser()
    if path.exists():
        if lacking := missing(path):
            raise ModelNotFound(f"base model {reference!r} has no {lacking}; {weights_remedy(path)}")
        _refuse_pointers(path)
        return path
    wanted = parse(reference, revision=revision)
    folder = cached(wanted)
    lacking = missing(folder) if folder else None
    if folder and not lacking:
        return folder
    if not download:
        part = f" as a whole ({lacking} is missing)" if lacking else ""
        raise ModelNotFound(f"{wanted} is not in the local cache{part}; fetch it once with `genner pull {wanted}`")
    from genner_cli.hub.pulling import pull

    return resolve_base(str(pull(str(wanted)).path))


def cached(wanted: Reference) -> Path | None:
    """The folder of a revision in the cache, whole or in part; None if nothing of it is there."""
    revision = wanted.revision or "main"
    name = storage(wanted.repo) / "refs" / revision
    commit = name.read_text(encoding="ascii", errors="replace").strip() if name.is_file() else revision
    folder = storage(wanted.repo) / "snapshots" / commit
    return folder if _COMMIT.fullmatch(commit) and folder.is_dir() else None


def missing(folder: Path) -> str | None:
    """The first file that a transformers folder lacks; None if it is whole."""
    if not folder.is_dir():
        return "config.json (it is a file)"
    wanted = ["config.json", *weights_of(folder)]
    if not (folder / "tokenizer.model").exists():
        wanted.append("tokenizer.json")
    return next((name for name in wanted if not (folder / name).exists()), None)


def _refuse_pointers(folder: Path) -> None:
    """Raises ModelError where a file of weights is a Git LFS pointer."""
    for name in weights_of(folder):
        with (folder / name).open("rb") as file:
            if problem := lfs_pointer(file.read(_BEGINNING)):
                raise ModelError(f"{folder / name}: {problem}")


def weights_remedy(folder: Path) -> str:
    """What to do about a folder without the files that are read; weights in pickles are none."""
    pickles = sorted(found.name for suffix in (".bin", ".pt", ".pth") for found in folder.glob(f"*{suffix}"))
    if not pickles:
        return "give a folder written by save_pretrained"
    return f"{pickles[0]} is a pickle, which can run anything, and is never opened; save the weights as safetensors"


def weights_of(folder: Path) -> list[str]:
    """The names of the files with a model's weights, as transformers finds them, whether they are there or not."""
    index = folder / INDEX
    if (folder / WEIGHTS).exists() or not index.exists():
        return [WEIGHTS]
    try:
        return sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise ModelError(f"{index} is broken ({error!r}); fetch or save the model again") from error


def _gguf_in(folder: Path, wanted: Reference) -> Path | None:
    """The file asked for, or the only one; None if it is not there. Raises ModelError where one must be chosen."""
    if wanted.file:
        return folder / wanted.file if (folder / wanted.file).is_file() else None
    files = [found.relative_to(folder).as_posix() for found in folder.rglob("*.gguf")]
    return folder / only_gguf(wanted, files) if files else None
