"""What a user names as a base model -> a folder that transformers reads.

Knows nothing of training and of what is done with the folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from convert.gguf_to_hf import gguf_to_hf
from genner_cli import hub


@contextmanager
def base_folder(reference: str, *, download: bool = False) -> Iterator[Path]:
    """The folder of a GGUF, of a transformers folder, or of what a reference stands for (`hub`).

    A GGUF is turned into a folder that is there for the block only. With `download` what is not in the local cache is
    fetched. Raises ModelError with a remedy.
    """
    if hub.names_gguf(reference):
        gguf = hub.resolve(reference, download=download)
    else:
        yield hub.resolve_base(reference, download=download)
        return
    with TemporaryDirectory(prefix="genner-") as temporary:
        yield gguf_to_hf(gguf, Path(temporary) / "base")
