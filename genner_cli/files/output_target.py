"""The lines of an output -> the file that its path names, and back: as they are, compressed, Parquet or a table, by
suffix.

Of a table the lines cannot be read back: they stay beside it, in PATH.records.jsonl. Takes paths. Knows nothing of
what makes an output whole.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import IO

from genner_cli.files import COMPRESSIONS, RECORDS, remote, tables
from genner_cli.files.annotations import parquet
from genner_cli.files.streams import opened
from genner_cli.files.whole import rename_durably
from genner_cli.files.writing import SUFFIXES, compressing

OUTPUTS = (*SUFFIXES, parquet.SUFFIX, *tables.SUFFIXES)


def records_of(path: str) -> str:
    """Where the records of an output are: in itself, or beside it."""
    return f"{path}{RECORDS}" if tables.is_table(path) else path


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

    def holds_something(self) -> bool:
        """Whether what is there is a file that is not empty; at an address any file counts."""
        return remote.is_address(self.path) or (os.path.isfile(self.path) and os.path.getsize(self.path) > 0)

    def publish(self, partial: str) -> None:
        """Turns the file of lines into the output, which is whole or not there. Raises OSError."""
        whole = partial
        if self.path.lower().endswith((*COMPRESSIONS, parquet.SUFFIX, *tables.SUFFIXES)):
            whole = f"{self.base}.packed"
            with open(partial, "rb") as lines, open(whole, "wb") as raw:
                self._pack(lines, raw)
        self._place(whole, "")
        if tables.is_table(self.path):
            self._place(partial, RECORDS)
        elif whole != partial:
            os.unlink(partial)

    def _place(self, file: str, added: str) -> None:
        """Moves a whole file to the output's path, with this added to its name."""
        if remote.is_address(self.path):
            remote.put(file, f"{self.path}{added}")
            os.unlink(file)
        else:
            rename_durably(file, f"{self.base}{added}")

    def _pack(self, lines: IO[bytes], raw: IO[bytes]) -> None:
        fields = {"text_field": self.text_field, "id_field": self.id_field}
        if self._is_parquet(self.path):
            parquet.pack(lines, raw, **fields)
            return
        with compressing(raw, self.path) as stream:
            if tables.is_table(self.path):
                tables.write_entities(lines, stream, self.path, **fields)
            else:
                shutil.copyfileobj(lines, stream, 2**20)

    @contextmanager
    def lines(self, path: str) -> Iterator[Iterator[bytes]]:
        """The lines of the output or of a partial file. Raises one of `streams.UNREADABLE` for a broken file."""
        with opened(records_of(path)) as (_, stream):
            if self._is_parquet(path):
                with closing(parquet.unpack(stream, text_field=self.text_field, id_field=self.id_field)) as lines:
                    yield lines
            else:
                yield iter(stream)

    @staticmethod
    def _is_parquet(path: str) -> bool:
        return path.lower().endswith(parquet.SUFFIX)
