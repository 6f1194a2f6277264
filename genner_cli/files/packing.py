"""The lines of an output -> the file of its name, as its suffix says, and back: as they are, compressed, or Parquet.

Takes paths. Knows nothing of what makes an output whole.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import IO

from genner_cli.files import COMPRESSIONS, rows
from genner_cli.files.reading import opened
from genner_cli.files.writing import SUFFIXES, packed

OUTPUTS = (*SUFFIXES, rows.SUFFIX)


@dataclass(frozen=True, slots=True)
class Packing:
    """What `target`, an absolute path, is to be; the fields name columns of a Parquet file.

    Raises `UsageError` for Parquet where there is no pyarrow, or where names collide.
    """

    target: str
    text_field: str = "text"
    id_field: str = "id"

    def __post_init__(self) -> None:
        if self._in_rows(self.target):
            rows.check_names(self.target, text_field=self.text_field, id_field=self.id_field)

    def give_name(self, partial: str) -> None:
        """Lets the file of lines become the target, which is whole or not there. Raises OSError."""
        if self.target.lower().endswith((*COMPRESSIONS, rows.SUFFIX)):
            whole = f"{self.target}.packed"
            with open(partial, "rb") as lines, open(whole, "wb") as raw:
                self._pack(lines, raw)
                raw.flush()
                os.fsync(raw.fileno())
            os.replace(whole, self.target)
            os.unlink(partial)
        else:
            os.replace(partial, self.target)
        _sync_folder(self.target)

    def _pack(self, lines: IO[bytes], raw: IO[bytes]) -> None:
        if self._in_rows(self.target):
            rows.pack(lines, raw, text_field=self.text_field, id_field=self.id_field)
        else:
            with packed(raw, self.target) as stream:
                shutil.copyfileobj(lines, stream, 2**20)

    @contextmanager
    def lines(self, path: str) -> Iterator[Iterator[bytes]]:
        """The lines of the target or of a partial file. Raises one of `reading.UNREADABLE` for a broken file."""
        if self._in_rows(path):
            with closing(rows.unpack(path, text_field=self.text_field, id_field=self.id_field)) as lines:
                yield lines
        else:
            with opened(path) as (_, stream):
                yield iter(stream)

    @staticmethod
    def _in_rows(path: str) -> bool:
        return path.lower().endswith(rows.SUFFIX)


def _sync_folder(path: str) -> None:
    folder = os.open(os.path.dirname(path), os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
