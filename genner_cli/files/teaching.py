"""What a teacher said of each example of a training, in a file that is added to and can be resumed.

JSON lines: the first one names the teacher, each other one has the hash of an example, the cost of its completion and
the teacher's beliefs. A line that was cut off is removed. Knows nothing of models.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import orjson

from genner_cli.errors import ModelError


class Belief(NamedTuple):
    """A decision and what a teacher thinks of it.

    `situation`: where in the text, and which entities are open (`formats.shared.meaning.Situation`); `outcomes`: groups
    of what may be decided; `log_probabilities`: of each group (nats).
    """

    situation: tuple[Any, ...]
    outcomes: tuple[tuple[str, ...], ...]
    log_probabilities: tuple[float, ...]


class Answer(NamedTuple):
    """`cost`: the cross-entropy of a completion's decisions, in nats, infinite where the teacher cannot write it."""

    cost: float
    beliefs: tuple[Belief, ...]


class Teaching:
    """The answers of one teacher. Only places and costs are kept in memory."""

    def __init__(self, path: Path, teacher: Mapping[str, str]) -> None:
        """Opens the file, or begins it. Raises ModelError where it holds another teacher's answers, or is broken."""
        self._path = path
        self._places: dict[str, tuple[int, float]] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: BinaryIO = path.open("a+b")
        try:
            self._read(teacher)
        except ModelError:
            self._file.close()
            raise

    def _read(self, teacher: Mapping[str, str]) -> None:
        """Finds the answers that are there."""
        self._file.seek(0)
        at = 0
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            record = self._record(line)
            if at and "key" in record:
                self._places[record["key"]] = (at, _cost(record["cost"]))
            elif record != teacher:
                raise ModelError(f"{self._path} holds answers of another teacher; remove it")
            at += len(line)
        self._file.truncate(at)
        if not at:
            self._append(teacher)

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def add(self, key: str, answer: Answer) -> None:
        """Adds an answer; it survives the process."""
        cost = None if answer.cost == float("inf") else answer.cost
        place = self._append({"key": key, "cost": cost, "beliefs": answer.beliefs})
        self._places[key] = (place, answer.cost)

    def cost(self, key: str) -> float:
        """The cost of an example's completion."""
        return self._places[key][1]

    def answer(self, key: str) -> Answer:
        """The answer to an example, read from the file."""
        self._file.seek(self._places[key][0])
        record = self._record(self._file.readline())
        return Answer(_cost(record["cost"]), tuple(Belief(*map(_hashable, belief)) for belief in record["beliefs"]))

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _append(self, record: Mapping[str, Any]) -> int:
        place = self._file.seek(0, os.SEEK_END)
        self._file.write(orjson.dumps(record, default=tuple) + b"\n")
        self._file.flush()
        return place

    def _record(self, line: bytes) -> dict[str, Any]:
        try:
            return dict(orjson.loads(line))
        except (ValueError, TypeError) as error:
            raise ModelError(f"{self._path} is broken ({error}); remove it") from error


def _cost(value: float | None) -> float:
    return float("inf") if value is None else value


def _hashable(value: Any) -> Any:
    """JSON's lists as tuples."""
    return tuple(map(_hashable, value)) if isinstance(value, list) else value
