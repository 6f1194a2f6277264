"""What runs in an actor: an engine, open as long as the actor lives, and blocks of the input on it.

Everything it is given and gives can be pickled. Knows nothing of ray, and writes no file.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from genner_cli import __version__
from genner_cli.api import ExtractOptions, Extractor, configuration
from genner_cli.engine.statistics import Costs, Statistics
from genner_cli.errors import GennerError
from genner_cli.extraction import DocumentOrFailure, Task
from genner_cli.files import Block
from genner_cli.files.blocks import is_as_surveyed
from genner_cli.files.journal import digest_of
from genner_cli.files.parts import Record
from genner_cli.files.resuming import key_of
from genner_cli.ledger import outcome_of
from genner_cli.supervising import SupervisedEngine
from genner_cli.types import Extraction

BATCH_RECORDS = 256
BATCH_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Job:
    """What all actors are to do. `folder`: that relative paths are from; `read`: blocks -> documents; `shape`: see
    `commands.extracting.Plan`."""

    folder: str
    options: ExtractOptions
    read: Callable[..., Iterator[DocumentOrFailure]]
    to_line: Callable[[Extraction], bytes]
    shape: dict[str, Any]


class Opened(NamedTuple):
    """The model is open on this machine; `options`: all that shapes a record there, genner's version included."""

    host: str
    task: Task
    options: dict[str, Any]
    genner: str
    said: list[tuple[int, str]]


class Batch(NamedTuple):
    """Records of a block, the bytes of it that were read for them, the engine's figures so far, lines for the log.

    `last`: no more records come.
    """

    records: list[Record]
    last: bool
    read: int
    statistics: Statistics
    costs: Costs
    said: list[tuple[int, str]]


class BlockExtractor:
    """Opens the engine once and extracts block after block. Raises what `SupervisedEngine` raises."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._said = _Said()
        with suppress(OSError):  # a machine may have no such folder, and need none
            os.chdir(job.folder)
        logging.getLogger("genner").handlers[:] = [self._said]

    def open(self) -> Iterator[Opened]:
        """Opens the model: from its path on this machine, or the cache, into which one actor for all may fetch it."""
        host = socket.gethostname()
        try:
            self._engine = SupervisedEngine(self._job.options)
            options = {**configuration(self._engine.task, self._job.options), **self._job.shape}
        except GennerError as error:
            error.add_note(f"this was on machine {host}")
            raise
        self._key = key_of(options)
        yield Opened(host, self._engine.task, options, __version__, self._said.taken())

    def extract(self, block: Block) -> Iterator[Batch]:
        """The records of a block, in order, as they come; the last batch may have none.

        Raises GennerError where its bytes are not those that the driver has read.
        """
        if not is_as_surveyed(block):
            raise GennerError(
                f"{block.path}: is not on machine {socket.gethostname()} as it is on the one that began the run, or it"
                " was changed since; put it at the same place on all machines, and run the same command again"
            )
        records: list[Record] = []
        counted: list[int] = []
        sent = time.monotonic()
        documents = self._job.read([block], progress=counted.append)
        for result in Extractor(self._engine.task, self._engine).extract(documents):
            digest = digest_of(result.document, self._key)
            records.append(Record(self._job.to_line(result), digest, outcome_of(result)))
            if len(records) >= BATCH_RECORDS or time.monotonic() - sent > BATCH_SECONDS:
                yield self._batch(records, counted, last=False)
                records, sent = [], time.monotonic()
        yield self._batch(records, counted, last=True)

    def _batch(self, records: list[Record], counted: list[int], *, last: bool) -> Batch:
        read = sum(counted)
        counted.clear()
        return Batch(records, last, read, self._engine.statistics, self._engine.costs, self._said.taken())


class _Said(logging.Handler):
    """Keeps lines for the log until they are fetched."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[tuple[int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append((record.levelno, record.getMessage()))

    def taken(self) -> list[tuple[int, str]]:
        """The lines since the last call."""
        lines, self._lines = self._lines, []
        return lines
