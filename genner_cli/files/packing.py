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

from genner_cli.files import COMPRESSIONS, remote, rows
from genner_cli.files.reading import opened
from genner_cli.files.whole import rename_durably
from genner_cli.files.writing import SUFFIXES, packed

OUTPUTS = (*SUFFIXES, rows.SUFFIX)


@dataclass(frozen=True, slots=True)
class Packing:
    """What `target`, a path or an address, is to be; the fields name columns of a Parquet file.

    `base` is what the names of all files begin with that belong to the target: the target, or for an address a name in
    the current folder. It is put there whole at the end.

    Raises `UsageError` for Parquet where there is no pyarrow, or where names collide, and for an address of no known
    kind.
    """

    target: str
    text_field: str = "text"
    id_field: str = "id"

    def __post_init__(self) -> None:
        if remote.is_address(self.target):
            remote.check(self.target)
        if self._in_rows(self.target):
            rows.check_names(self.target, text_field=self.text_field, id_field=self.id_field)

    @property
    def base(self) -> str:
        return remote.beside(self.target) if remote.is_address(self.target) else os.path.realpath(self.target)

    def exists(self) -> bool:
        """Whether the target is there. Raises OSError where nobody can say."""
        return remote.exists(self.target) if remote.is_address(self.target) else os.path.exists(self.target)

    def give_name(self, partial: str) -> None:
        """Lets the file of lines become the target, which is whole or not there. Raises OSError."""
        whole = partial
        if self.target.lower().endswith((*COMPRESSIONS, rows.SUFFIX)):
            whole = f"{self.base}.packed"
            with open(partial, "rb") as lines, open(whole, "wb") as raw:
                self._pack(lines, raw)
        if remote.is_address(self.target):
            remote.put(whole, self.target)
            os.unlink(whole)
        else:
            rename_durably(whole, self.base)
        if whole != partial:
            os.unlink(partial)

    def _pack(self, lines: IO[bytes], raw: IO[bytes]) -> None:
        if self._in_rows(self.target):
            rows.pack(lines, raw, text_field=self.text_field, id_field=self.id_field)
        else:
            with packed(raw, self.target) as stream:
                shutil.copyfileobj(lines, stream, 2**20)

    @contextmanager
    def lines(self, path: str) -> Iterator[Iterator[bytes]]:
        """The lines of the target or of a partial file. Raises one of `reading.UNREADABLE` for a broken file."""
        with opened(path) as (_, stream):
            if self._in_rows(path):
                with closing(rows.unpack(stream, text_field=self.text_field, id_field=self.id_field)) as lines:
                    yield lines
            else:
                yield iter(stream)

    @staticmethod
    def _in_rows(path: str) -> bool:
        return path.lower().endswith(rows.SUFFIX)
