"""What a user names as a base model -> a folder that transformers reads.

Knows nothing of training and of what is done with the folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from genner_cli import hub


def base_path(reference: str, *, download: bool = False) -> Path:
    """The GGUF or transformers folder of a path, or of what a reference stands for (`hub`).

    With `download` what is not in the local cache is fetched. Raises ModelError with a remedy. Needs no torch.
    """
    if hub.names_gguf(reference):
        return hub.resolve(reference, download=download)
    return hub.resolve_base(reference, download=download)


@contextmanager
def base_folder(reference: str, *, download: bool = False) -> Iterator[Path]:
    """The transformers folder of what `base_path` finds; a GGUF is turned into one that is there for the block only."""
    gguf = base_path(reference, download=download)
    if gguf.is_dir():
        yield gguf
        return
    from convert.gguf_to_hf import gguf_to_hf  # not before: it loads torch

    with TemporaryDirectory(prefix="genner-") as temporary:
        yield gguf_to_hf(gguf, Path(temporary) / "base")
