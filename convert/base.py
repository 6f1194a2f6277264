"""What a user names as a base model -> a folder that transformers reads.

Knows nothing of training and of what is done with the folder.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from genner_cli import hub
from genner_cli.engine.gguf_header import read_header
from genner_cli.errors import GennerError
from genner_cli.files.hashing import hash_file
from genner_cli.files.room import OTHER_TEMPORARY, room_for
from genner_cli.provenance import GGUF_SOURCE

_OTHER_OUTPUT = "make room, or name a place on a larger disk with -o"
_BYTES = 4  # of a weight in F32


def base_path(reference: str, *, download: bool = False) -> Path:
    """The GGUF or transformers folder of a path, or of what a reference stands for (`hub`).

    With `download` what is not in the local cache is fetched. Raises ModelError with a remedy. Needs no torch.
    """
    if hub.names_gguf(reference):
        return hub.resolve(reference, download=download)
    return hub.resolve_base(reference, download=download)


@contextmanager
def base_folder(reference: str, *, download: bool = False, output: Path | None = None) -> Iterator[Path]:
    """The transformers folder of what `base_path` finds; a GGUF is turned into one that is there for the block only.

    `output`: of a run that can be resumed. The folder of a GGUF is then OUTPUT.base; it stays where the run is
    interrupted or killed, and the run that resumes takes it over. Raises ModelError, also where the disk is full, and
    UsageError where OUTPUT.base is something else.
    """
    found = base_path(reference, download=download)
    if found.is_dir():
        yield found
    elif output is None or os.environ.get("RANK", "0") != "0":  # processes of one training would write the same folder
        with TemporaryDirectory(prefix="genner-") as temporary:
            yield _dequantized(found, Path(temporary) / "base", OTHER_TEMPORARY)
    else:
        yield from _kept(found, output.with_name(f"{output.name}.base"))


def _kept(gguf: Path, folder: Path) -> Iterator[Path]:
    source = folder / GGUF_SOURCE
    if source.is_file() and json.loads(source.read_text(encoding="utf-8"))["sha256"] != hash_file(gguf):
        shutil.rmtree(folder)
    if not source.is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        _dequantized(gguf, folder, _OTHER_OUTPUT)
    try:
        yield folder
    except GennerError:  # nothing that could be resumed as it is
        shutil.rmtree(folder)
        raise
    shutil.rmtree(folder)


def _dequantized(gguf: Path, folder: Path, remedy: str) -> Path:
    from convert.gguf_to_hf import gguf_to_hf  # not before: it loads torch

    size = _BYTES * sum(tensor.numbers for tensor in read_header(gguf).tensors.values())
    with room_for(f"{gguf} in F32", size, folder.parent, remedy):
        return gguf_to_hf(gguf, folder)
