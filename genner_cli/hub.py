"""A model reference -> a local path. The only module that opens the network, and only when asked to.

A reference is a path, `owner/name` or `owner/name:file.gguf` on the Hub, or None for the bundled model.
"""

from __future__ import annotations

import re
from pathlib import Path

from genner_cli.errors import ModelError

BUNDLED = Path(__file__).parent / "models" / "genner-small.gguf"
_REFERENCE = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+?)(?::(?P<file>[^:]+\.gguf))?")


def resolve(reference: str | None = None, *, download: bool = False) -> Path:
    """The local file of a model: a path as it is, a Hub reference from the local cache.

    With `download` a Hub file that is not in the cache is fetched. Raises ModelError with a remedy.
    """
    if reference is None:
        return BUNDLED
    path = Path(reference).expanduser()
    if path.is_file():
        return path
    match = _REFERENCE.fullmatch(reference)
    if path.exists() or match is None or (reference.endswith(".gguf") and match["file"] is None):
        kind = "is a folder, not a GGUF file" if path.is_dir() else "does not exist"
        raise ModelError(
            f"model {reference!r} {kind}; give the path of a .gguf file or a Hub reference owner/name:file.gguf"
        )
    return _from_hub(match["repo"], match["file"], download)


def _from_hub(repo: str, file: str | None, download: bool) -> Path:
    from huggingface_hub import hf_hub_download, snapshot_download, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        if download:
            file = file or _only_gguf(repo, _files_on_hub(repo))
            return Path(hf_hub_download(repo, file))
        if file:  # hf_hub_download asks the Hub something even with local_files_only
            cached = try_to_load_from_cache(repo, file)
            if not isinstance(cached, str):
                raise _not_cached(f"{repo}:{file}")
            return Path(cached)
        folder = Path(snapshot_download(repo, allow_patterns="*.gguf", local_files_only=True))
    except LocalEntryNotFoundError as error:
        raise (_unreachable(repo) if download else _not_cached(repo)) from error
    except ValueError as error:  # HFValidationError, and file names that leave the repository
        raise ModelError(f"{repo}: no such name can be on the Hub ({error}); check it, or give a path") from error
    except (HfHubHTTPError, OSError) as error:
        reason = str(error).split("\n", 1)[0]
        raise ModelError(
            f"{repo}: the Hub refused ({reason}); check the name, and `hf auth login` for gated models"
        ) from error
    return folder / _only_gguf(repo, [str(found.relative_to(folder)) for found in folder.rglob("*.gguf")])


def _files_on_hub(repo: str) -> list[str]:
    from huggingface_hub import list_repo_files
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return [file for file in list_repo_files(repo) if file.endswith(".gguf")]
    except (HfHubHTTPError, OSError, ValueError):
        raise
    except Exception as error:  # transport errors of the HTTP library, which one depends on huggingface_hub
        raise _unreachable(repo) from error


def _not_cached(reference: str) -> ModelError:
    return ModelError(f"{reference} is not in the local cache; fetch it once with --download, or give a path")


def _unreachable(repo: str) -> ModelError:
    return ModelError(f"{repo}: the Hub cannot be reached; check the network, or copy the file here and give its path")


def _only_gguf(repo: str, files: list[str]) -> str:
    if len(files) == 1:
        return files[0]
    if not files:
        raise ModelError(f"{repo} has no GGUF file here; name another model, or fetch it with --download")
    raise ModelError(
        f"{repo} has several GGUF files; choose one: {', '.join(f'{repo}:{file}' for file in sorted(files))}"
    )
