"""The parts of an output that several machines make, until all are there: each is whole, or does not have its name.

`BASE.parts/` (`output_target`) holds a file of records for each block of the input, and an index beside it (`journal`).
A part is named by its file's number and its range, and by a hash of all that shapes its records: one that was made of
other input, or in another way, is not found, and is made again. Knows nothing of who makes a part.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from hashlib import blake2b
from typing import NamedTuple

from genner_cli.errors import UsageError
from genner_cli.files import Block
from genner_cli.files.journal import Entry, Journal, refused
from genner_cli.files.output_target import OutputTarget
from genner_cli.files.resuming import written
from genner_cli.files.whole import rename_durably
from genner_cli.ledger import Ledger, Outcome
from genner_cli.version import __version__

SUFFIX = ".part"
"""Not one of an input: a glob for the files beside the output does not match them."""
INDEX = ".index"


class Record(NamedTuple):
    """A line of output, the hash of its document (`journal.digest_of`), and its outcome."""

    line: bytes
    digest: bytes
    outcome: Outcome


class Parts:
    """The parts of one output, in the order of the blocks (`blocks.surveyed`); `key`: see `resuming.key_of`.

    Raises UsageError where the folder cannot be made.
    """

    def __init__(self, output: str, blocks: Iterable[Block], key: bytes) -> None:
        self.folder = _folder(output)
        try:
            os.makedirs(self.folder, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{self.folder}: {error.strerror}; name a file in another folder after -o") from error
        self._paths = {block: os.path.join(self.folder, name) for block, name in _named(blocks, key)}
        self._under_way: dict[Block, Journal] = {}

    def __len__(self) -> int:
        return len(self._paths)

    def missing(self) -> list[Block]:
        """The blocks whose parts, or the indexes beside them, are not there, in order."""
        return [
            block
            for block, path in self._paths.items()
            if not (os.path.exists(path) and os.path.exists(f"{path}{INDEX}"))
        ]

    def ledger(self) -> Ledger:
        """The counts of the parts that are there."""
        missing = set(self.missing())
        return Ledger.of(entry.outcome for block in self._paths if block not in missing for entry in self._index(block))

    def write(self, block: Block, records: Sequence[Record]) -> None:
        """Adds records to a part. Raises GennerError where the disk refuses."""
        if block not in self._under_way:
            path = self._paths[block]
            with suppress(FileNotFoundError):
                os.unlink(path)  # whose index was lost; beside a new one it would seem whole
            journal = self._under_way[block] = Journal(f"{path}.partial", f"{path}{INDEX}").__enter__()
            journal.clear()
            journal.resume()
        for line, digest, outcome in records:
            self._under_way[block].append(line, digest, outcome)

    def finish(self, block: Block) -> list[Outcome]:
        """All records of a part are there: it gets its name. Gives their outcomes."""
        journal = self._under_way.pop(block)
        path = self._paths[block]
        try:
            journal.sync()
            rename_durably(journal.lines, path)
        except OSError as error:
            raise refused(path, error) from error
        finally:
            journal.__exit__()
        return [entry.outcome for entry in journal]

    def drop(self, block: Block) -> None:
        """Discards what was written of a part, which starts again."""
        journal = self._under_way.pop(block, None)
        if journal:
            journal.__exit__()

    def records(self) -> Iterator[tuple[bytes, Entry]]:
        """The records of all parts in order, each with its entry. Raises UsageError for what is not as written."""
        for block, path in self._paths.items():
            yield from written(
                OutputTarget(path), path, self._index(block), remedy="delete it and run the same command again"
            )

    def _index(self, block: Block) -> Journal:
        path = self._paths[block]
        return Journal(path, f"{path}{INDEX}")


def remove_parts(output: str) -> None:
    """Deletes the folder of an output's parts, if there is one."""
    with suppress(FileNotFoundError):
        shutil.rmtree(_folder(output))


def _folder(output: str) -> str:
    return f"{OutputTarget(output).base}.parts"


def _named(blocks: Iterable[Block], key: bytes) -> Iterator[tuple[Block, str]]:
    number, last = -1, None
    for block in blocks:
        number, last = number + (block.path != last), block.path
        shaping = "\0".join((__version__, block.path, str(block.lines), block.digest))
        digest = blake2b(shaping.encode("utf-8", "surrogateescape"), key=key, digest_size=8).hexdigest()
        end = "end" if block.end is None else f"{block.end:015}"
        yield block, f"{number:05}-{block.start:015}-{end}-{digest}{SUFFIX}"
