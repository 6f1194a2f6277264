"""Patterns of a spec; and patterns alone as a backend, which asks no model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from genner_cli.engine.statistics import Costs, Statistics
from genner_cli.files.patterns import read_patterns
from genner_cli.formats import FORMATS
from genner_cli.generation import Completion, Request
from genner_cli.patterns import PatternFinder
from genner_cli.prompting import Prompt
from genner_cli.running.backend import ModelFacts, OpenedEngine
from genner_cli.running.spec import RunSpec
from genner_cli.tasks import Task
from genner_cli.types import Patterns


def patterns_of(spec: RunSpec) -> Patterns | None:
    """Those of the file that a spec names. Raises UsageError with file and line for what is wrong with one."""
    if spec.patterns is None:
        return None
    patterns = read_patterns(spec.patterns)
    PatternFinder(patterns)
    return patterns


class PatternBackend:
    """Extracts by patterns alone: no label is asked for, so no request comes."""

    @contextmanager
    def open(self, spec: RunSpec, /) -> Iterator[OpenedEngine]:
        """Reads the patterns. Raises UsageError."""
        task = Task((), Prompt("", "", ""), next(iter(FORMATS)), depth=spec.depth or 1, patterns=patterns_of(spec))
        yield OpenedEngine(ModelFacts(task), _NoEngine())


class _NoEngine:
    """Answers nothing, at no cost."""

    def __init__(self) -> None:
        self.statistics = Statistics()
        self.costs = Costs(0.0, 0.0)

    def generate(self, requests: Iterable[Request], /) -> Iterator[tuple[int, Completion]]:
        """Draws the documents, about which there are no requests."""
        for _ in requests:
            raise AssertionError("there is no model to ask")
        return iter(())
