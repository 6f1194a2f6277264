"""Input files -> blocks of them that several machines read, each by itself; together exactly the documents of all.

A document belongs to the block in which its line begins. JSON Lines are cut anywhere; a file that is compressed, or of
another format, is one block. Knows nothing of who reads a block.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import accumulate
from pathlib import PurePath
from typing import IO

from genner_cli.errors import UsageError
from genner_cli.files import COMPRESSIONS, Block, size
from genner_cli.files.annotations import input_format
from genner_cli.files.streams import is_passing, opened, read_error

_PIECE = 2**20
_SMALLEST, _LARGEST, _USUAL_COUNT = 2**16, 2**24, 1024
"""Bytes of a block, and the number of blocks of an input that is neither small nor large."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One of `count` shares of an input, equal in bytes; `number` is from 1."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Reads `2/5`. Raises UsageError."""
        number, _, count = text.partition("/")
        if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
            raise UsageError(f"{text!r} is not a shard; write i/n with i from 1 to n, like 2/5")
        return cls(int(number), int(count))

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def blocks(self, paths: Sequence[str]) -> list[Block]:
        """The blocks of this shard. A file that cannot be cut goes whole to the shard in whose bytes it begins.

        Reads what comes before the shard in a file, to count lines. Raises UsageError for a stream.
        """
        sizes = _sizes(paths)
        first, last = (sum(sizes) * number // self.count for number in (self.number - 1, self.number))
        blocks = []
        for path, length, end in zip(paths, sizes, accumulate(sizes), strict=True):
            begin = end - length
            start, stop = max(begin, first) - begin, min(end, last) - begin
            if length and _can_be_cut(path):
                blocks += [Block(path, start, stop, _line_ends(path, start))] if start < stop else []
            elif first <= begin and (begin < last or self.number == self.count):
                blocks.append(Block(path))
        return blocks


def input_of(paths: Sequence[str]) -> str:
    """What tells an input from another without reading it: how many files, bytes, and a hash of names and sizes."""
    sizes = _sizes(paths)
    listed = "\0".join(f"{PurePath(path).name}\0{length}" for path, length in zip(paths, sizes, strict=True))
    digest = blake2b(listed.encode("utf-8", "surrogateescape"), digest_size=4).hexdigest()
    return f"{len(paths)} files, {sum(sizes)} bytes, {digest}"


def suitable_length(paths: Sequence[str]) -> int:
    """Bytes of a block: few enough blocks of a large input, and little to do again where one is lost."""
    return min(max(sum(_sizes(paths)) // _USUAL_COUNT, _SMALLEST), _LARGEST)


def cut(paths: Sequence[str], length: int) -> list[Block]:
    """The blocks of these files, of `length` bytes each.

    Nothing of them is read yet (see `surveyed`). Raises UsageError for a stream.
    """
    blocks = []
    for path, whole in zip(paths, _sizes(paths), strict=True):
        if whole and _can_be_cut(path):
            blocks += [Block(path, start, min(start + length, whole)) for start in range(0, whole, length)]
        else:
            blocks.append(Block(path))
    return blocks


def surveyed(blocks: Iterable[Block]) -> Iterator[Block]:
    """The blocks that `cut` gives, with their lines and digests. Reads all of them in order, once.

    Raises ReadError where a disk or a server fails.
    """
    lines = 0
    for block in blocks:
        lines = lines if block.start else 0
        before, content = lines, blake2b(digest_size=16)
        for piece in _pieces(block):
            content.update(piece)
            lines += piece.count(b"\n")
        yield block._replace(lines=before, digest=content.hexdigest())


def is_as_surveyed(block: Block) -> bool:
    """Whether the bytes of a block are still, or on this machine too, those that `surveyed` has read."""
    return next(surveyed([block])).digest == block.digest


def _line_ends(path: str, end: int) -> int:
    """The number of lines that end in the first `end` bytes of a file."""
    return sum(piece.count(b"\n") for piece in _pieces(Block(path, 0, end)))


def _pieces(block: Block) -> Iterator[bytes]:
    """The bytes of a block as they lie on disk; a missing file has none, and reading it reports that.

    Raises ReadError where a disk or a server fails.
    """
    try:
        with opened(block.path) as (raw, _):
            raw.seek(block.start)
            yield from _read(raw, None if block.end is None else block.end - block.start)
    except OSError as error:
        if is_passing(error):
            raise read_error(f"{block.path}: cannot be read", error) from error


def _read(file: IO[bytes], count: int | None) -> Iterator[bytes]:
    left = count
    while piece := file.read(_PIECE if left is None else min(_PIECE, left)):
        left = None if left is None else left - len(piece)
        yield piece


def _can_be_cut(path: str) -> bool:
    format = input_format(path)
    return format is not None and format.in_blocks and not path.lower().endswith(COMPRESSIONS)


def _sizes(paths: Sequence[str]) -> list[int]:
    """The bytes of each file. Raises UsageError for a stream, whose length is unknown."""
    sizes = []
    for path in paths:
        length = size(path)
        if length is None:
            raise UsageError(f"{path}: is a stream, which cannot be split; write it to a file and name that")
        sizes.append(length)
    return sizes
