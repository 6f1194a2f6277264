"""Whether a disk has room for what is to be written, and what to say where it has not."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from genner_cli.errors import ModelError

OTHER_TEMPORARY = "make room, or name a folder on a larger disk in TMPDIR"
"""The remedy for temporary files."""


@contextmanager
def room_for(what: str, size: int, folder: Path, remedy: str = "make room") -> Iterator[None]:
    """Around the writing of a model's files, of `size` bytes together, into a folder that is there.

    Raises ModelError that begins with `what` and ends with the remedy: at the start where less is free, and for an
    OSError of the block.
    """
    free = shutil.disk_usage(folder).free
    numbers = f"{size:,} bytes to write, {free:,} are free in {folder}"
    if size > free:
        raise ModelError(f"{what}: {numbers}; {remedy}")
    try:
        yield
    except OSError as error:
        raise ModelError(f"{what} cannot be stored ({error.strerror or error}): {numbers}; {remedy}") from error
