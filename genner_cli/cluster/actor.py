"""What runs in an actor: an engine, open as long as the actor lives, and blocks of the input or requests on it.

Everything it is given and gives can be pickled. Knows nothing of ray, and writes no file.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from genner_cli.engine.statistics import Costs, Statistics
from genner_cli.errors import GennerError
from genner_cli.files import Block
from genner_cli.files.blocks import is_as_surveyed
from genner_cli.files.journal import digest_of
from genner_cli.files.parts import Record
from genner_cli.generation import Request
from genner_cli.ledger import outcome_of
from genner_cli.running.backend import ModelFacts, extractions
from genner_cli.running.spec import RunSpec
from genner_cli.running.supervised import SupervisedEngine
from genner_cli.version import __version__

BATCH_RECORDS = 256
BATCH_SECONDS = 0.5


class Opened(NamedTuple):
    """The model is open on this machine; `key`: a hash of all that shapes a record there; `logged`: lines for the
    log."""

    host: str
    facts: ModelFacts
    key: bytes
    genner: str
    logged: list[tuple[int, str]]


class Batch(NamedTuple):
    """Records of a block, or completions with the numbers of their requests; the bytes of the block that were read for
    them; the engine's figures so far; lines for the log. `last`: no more come.
    """

    results: list[Any]
    last: bool
    read: int
    statistics: Statistics
    costs: Costs
    logged: list[tuple[int, str]]


class Worker:
    """Opens the engine once and works on one thing after the other. `folder`: that relative paths are from.

    Raises what `SupervisedEngine` raises.
    """

    def __init__(self, spec: RunSpec, folder: str) -> None:
        self._spec = spec
        self._log = _Log()
        with suppress(OSError):  # a machine may have no such folder, and need none
            os.chdir(folder)
        logging.getLogger("genner").handlers[:] = [self._log]

    def open(self) -> Iterator[Opened]:
        """Opens the model: from its path on this machine, or the cache, into which one actor for all may fetch it."""
        host = socket.gethostname()
        try:
            self._engine = SupervisedEngine(self._spec)
        except GennerError as error:
            error.add_note(f"this was on machine {host}")
            raise
        facts = self._engine.facts
        self._key = facts.settings(self._spec).key
        yield Opened(host, facts, self._key, __version__, self._log.taken())

    def extract(self, block: Block) -> Iterator[Batch]:
        """The records of a block, in order, as they come; the last batch may have none.

        Raises GennerError where its bytes are not those that the driver has read.
        """
        if not is_as_surveyed(block):
            raise GennerError(
                f"{block.path}: is not on machine {socket.gethostname()} as it is on the one that began the run, or it"
                " was changed since; put it at the same place on all machines, and run the same command again"
            )
        counted: list[int] = []
        documents = self._spec.documents([block], progress=counted.append)
        records = (
            Record(self._spec.line(result), digest_of(result.document, self._key), outcome_of(result))
            for result in extractions(self._engine, documents, own_labels=self._spec.labels_field is not None)
        )
        yield from self._batches(records, counted)

    def answer(self, requests: Sequence[Request]) -> Iterator[Batch]:
        """Completions with the numbers, from 0, of these requests, as they come."""
        yield from self._batches(self._engine.generate(requests), [])

    def _batches(self, results: Iterator[Any], counted: list[int]) -> Iterator[Batch]:
        collected: list[Any] = []
        sent = time.monotonic()
        for result in results:
            collected.append(result)
            if len(collected) >= BATCH_RECORDS or time.monotonic() - sent > BATCH_SECONDS:
                yield self._batch(collected, counted, last=False)
                collected, sent = [], time.monotonic()
        yield self._batch(collected, counted, last=True)

    def _batch(self, results: list[Any], counted: list[int], *, last: bool) -> Batch:
        read = sum(counted)
        counted.clear()
        return Batch(results, last, read, self._engine.statistics, self._engine.costs, self._log.taken())


class _Log(logging.Handler):
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
