"""Labels and a model's instructions -> what each document is asked: a task, and the prompt of each pass over the text.

Knows nothing of completions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Any, NamedTuple

from genner_cli.demonstrations import Demonstrations, Pieces, Query, Rank, Way
from genner_cli.formats import output_format
from genner_cli.generation import Constraint
from genner_cli.prompting import Instructions, Prompt
from genner_cli.types import Calibration, Label, Patterns, Piece

LABEL_LISTS = 256
"""Lists of labels whose tasks are kept, where documents have their own."""


@dataclass(frozen=True, slots=True)
class Task:
    """What to extract, and how the model is asked. `depth` 1 is flat; `chunk_bytes` counts UTF-8.

    `min_score` is compared with the calibrated score. `passes`: the labels in runs, each of which is asked in a prompt
    of its own; without any, all of them stand in one. Labels that are only in passes are asked for because the model
    was trained on them together with `labels`; their entities are left out. `demonstrations`: those of each pass, none
    for a model that genner trained. `whole_words`: entities start and end at word boundaries. `seconds_per_document`:
    the time that a document may be worked on before it fails; None for any. `patterns`: of what is found beside the
    model; without any labels, of all that is found. `hinted`: the hints of documents stand in their prompts; else they
    only help to choose demonstrations. `open`: there are no labels to choose from, and each entity has one of any name,
    in a format with `free_labels`.
    """

    labels: tuple[Label, ...]
    prompt: Prompt
    format: str
    depth: int = 1
    chunk_bytes: int = 1000
    overlap_bytes: int | None = None
    constraint: Constraint = Constraint.SOURCE
    min_score: float = 0.0
    calibration: Calibration | None = None
    passes: tuple[tuple[Label, ...], ...] = ()
    demonstrations: tuple[Demonstrations, ...] = ()
    whole_words: bool = False
    seconds_per_document: float | None = None
    patterns: Patterns | None = None
    hinted: bool = False
    open: bool = False

    @classmethod
    def of(cls, instructions: Instructions, labels: Sequence[Label], **changes: Any) -> Task:
        """What a model is asked for these labels; `changes`: fields that differ from its instructions, but for None."""
        own = {name: getattr(instructions, name) for name in ("format", "depth", "chunk_bytes", "whole_words")}
        given = {name: value for name, value in changes.items() if value is not None}
        return cls(tuple(labels), instructions.prompt, **{**own, **given})

    @property
    def names(self) -> tuple[str, ...]:
        """The labels' names."""
        return tuple(label.name for label in self.labels)

    @property
    def in_two_passes(self) -> bool:
        """Whether demonstrations are chosen by the entities of a text, and nobody gives these as hints."""
        by_entities = (each.nearest and each.nearest.way in (Way.ENTITY, Way.SPAN) for each in self.demonstrations)
        return not self.hinted and any(by_entities)

    def ranked_by(self, rank: Rank) -> Task:
        """The same, with who compares vectors."""
        return self._nearest_with(rank=rank)

    def by_text(self) -> Task:
        """The same, with demonstrations chosen by the whole text."""
        return self._nearest_with(way=Way.SENTENCE)

    def _nearest_with(self, **changes: Any) -> Task:
        shown = (
            replace(each, nearest=replace(each.nearest, **changes)) if each.nearest else each
            for each in self.demonstrations
        )
        return replace(self, demonstrations=tuple(shown))

    def by_pass(self) -> list[Task]:
        """A task of one prompt for each pass."""
        shown = [(each,) for each in self.demonstrations] or repeat(())
        return [
            replace(self, labels=labels, passes=(), demonstrations=demonstrations)
            for labels, demonstrations in zip(self.passes or (self.labels,), shown, strict=False)
        ]


class Pass(NamedTuple):
    """A task of one prompt, with what its requests have in common."""

    task: Task
    prefix: tuple[Piece, ...]
    grammar: str

    def pieces(self, query: Query) -> tuple[Pieces, Pieces, Prompt]:
        """What stands before the text of a query: the prefix, the demonstrations for this text alone, and the prompt
        with a turn for each."""
        for demonstrations in self.task.demonstrations:  # of this pass: one, or none
            return demonstrations.pieces(self.task.labels, query)
        return self.prefix, (), self.task.prompt


@dataclass(frozen=True, slots=True, eq=False)
class Asking:
    """What documents with the same labels are asked: a task, and its passes."""

    task: Task
    passes: tuple[Pass, ...]

    @classmethod
    def of(cls, task: Task) -> Asking:
        output = output_format(task.format)
        passes = (
            Pass(each, each.prompt.prefix(each.labels), output.grammar(each.names, depth=each.depth))
            for each in task.by_pass()
            if each.labels or each.open
        )
        return cls(task, tuple(passes))


TaskOf = Callable[[tuple[Label, ...]], Task]
"""The task that asks for these labels. Raises UsageError where there can be none."""


class Tasks:
    """What each document is asked: the task of all, or where there is `task_of`, one for its own labels."""

    def __init__(self, task: Task, task_of: TaskOf | None) -> None:
        self.of_all = Asking.of(task)
        self._task_of = task_of
        self._known: dict[tuple[Label, ...], Asking] = {}

    @property
    def in_blocks(self) -> bool:
        """Whether there is more than one prompt."""
        return self._task_of is not None or len(self.of_all.passes) > 1

    def of(self, labels: tuple[Label, ...] | None) -> Asking:
        """What is asked of a document; `labels`: its own."""
        if labels is None or self._task_of is None:
            return self.of_all
        if labels not in self._known:
            if len(self._known) == LABEL_LISTS:
                del self._known[next(iter(self._known))]
            self._known[labels] = Asking.of(self._task_of(labels))
        return self._known[labels]
