"""The lines of an output -> the file that its path names, and back: as they are, compressed, or Parquet, by suffix.

Takes paths. Knows nothing of what makes an output whole.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import IO

from genner_cli.files import COMPRESSIONS, remote
from genner_cli.files.annotations import parquet
from genner_cli.files.streams import opened
from genner_cli.files.whole import rename_durably
from genner_cli.files.writing import SUFFIXES, compressing

OUTPUTS = (*SUFFIXES, parquet.SUFFIX)


@dataclass(frozen=True, slots=True)
class OutputTarget:
    """The file at `path`, or at an address; the fields name columns of a Parquet file.

    `base` is what the names of all files that belong to the output begin with: the path, or for an address a name in
    the current folder.

    Raises `UsageError` for Parquet where there is no pyarrow, or where names collide, and for an address of no known
    kind.
    """

    path: str
    text_field: str = "text"
    id_field: str = "id"

    def __post_init__(self) -> None:
        if remote.is_address(self.path):
            remote.check(self.path)
        if self._is_parquet(self.path):
            parquet.check_names(self.path, text_field=self.text_field, id_field=self.id_field)

    @property
    def base(self) -> str:
        return remote.local_name(self.path) if remote.is_address(self.path) else os.path.realpath(self.path)

    def exists(self) -> bool:
        """Whether the output is there. Raises OSError where that cannot be found out."""
        return remote.exists(self.path) if remote.is_address(self.path) else os.path.exists(self.path)

    def publish(self, partial: str) -> None:
        """Turns the file of lines into the output, which is whole or not there. Raises OSError."""
        whole = partial
        if self.path.lower().endswith((*COMPRESSIONS, parquet.SUFFIX)):
            whole = f"{self.base}.packed"
            with open(partial, "rb") as lines, open(whole, "wb") as raw:
                self._pack(lines, raw)
        if remote.is_address(self.path):
            remote.put(whole, self.path)
            os.unlink(whole)
        else:
            rename_durably(whole, self.base)
        if whole != partial:
            os.unlink(partial)

    def _pack(self, lines: IO[bytes], raw: IO[bytes]) -> None:
        if self._is_parquet(self.path):
            parquet.pack(lines, raw, text_field=self.text_field, id_field=self.id_field)
        else:
            with compressing(raw, self.path) as stream:
                shutil.copyfileobj(lines, stream, 2**20)

    @contextmanager
    def lines(self, path: str) -> Iterator[Iterator[bytes]]:
        """The lines of the output or of a partial file. Raises one of `streams.UNREADABLE` for a broken file."""
        with opened(path) as (_, stream):
            if self._is_parquet(path):
                with closing(parquet.unpack(stream, text_field=self.text_field, id_field=self.id_field)) as lines:
                    yield lines
            else:
                yield iter(stream)

    @staticmethod
    def _is_parquet(path: str) -> bool:
        return path.lower().endswith(parquet.SUFFIX)
