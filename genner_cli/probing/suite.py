"""A suite of questions to a language model: JSON Lines, each a question of one of three kinds.

    {"task": "facts", "question": "...", "choices": ["...", "..."], "answer": 0}   which choice is likeliest
    {"task": "sums", "prompt": "...", "answer": "..."}                             whether it continues so
    {"task": "prose", "text": "..."}                                               how likely the text is

Or a folder of task files of lm-evaluation-harness, which is only found here. Knows nothing of models.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genner_cli.errors import UsageError

OWN = "own"
HARNESS = "lm-eval:"
OWN_FILE = Path(__file__).parent / "suite" / "own.jsonl"
_SHAPE = "give task and question, choices and answer; or prompt and answer; or text"


@dataclass(frozen=True, slots=True)
class Choice:
    """`answer`: the place of the right choice, from 0."""

    task: str
    question: str
    choices: tuple[str, ...]
    answer: int


@dataclass(frozen=True, slots=True)
class Exact:
    """What is to be written behind the prompt, up to the line's end."""

    task: str
    prompt: str
    answer: str


@dataclass(frozen=True, slots=True)
class Prose:
    """A text that models have not been trained on."""

    task: str
    text: str


Item = Choice | Exact | Prose


def suite_file(reference: str) -> Path:
    """The file of a suite: genner's own, or one by its path. Raises UsageError."""
    path = OWN_FILE if reference == OWN else Path(reference).expanduser()
    if not path.is_file():
        raise UsageError(
            f"there is no suite {reference!r}; give {OWN}, a JSON Lines file of questions, or {HARNESS}FOLDER of tasks"
        )
    return path


@dataclass(frozen=True, slots=True)
class TaskFiles:
    """A folder of lm-evaluation-harness's task files with their data; `names`: of the tasks, none for all."""

    folder: Path
    names: tuple[str, ...]

    def files(self, *, outside: Path) -> list[Path]:
        """All that decides about the questions, by name: what lies there and is not hidden, but not what is written."""
        whole, written = self.folder.resolve(), outside.resolve()
        found = sorted(path for path in whole.rglob("*") if path.is_file() and written not in path.parents)
        return [path for path in found if not any(map(_is_passed_over, path.relative_to(whole).parts))]


def _is_passed_over(part: str) -> bool:
    return part == "__pycache__" or part.startswith(".")


def task_files(reference: str) -> TaskFiles | None:
    """Of `lm-eval:FOLDER` or `lm-eval:FOLDER:TASK,TASK`; None for suites of another kind. Raises UsageError."""
    if not reference.startswith(HARNESS):
        return None
    rest = reference.removeprefix(HARNESS)
    whole, (folder, _, names) = Path(rest).expanduser(), rest.rpartition(":")
    if rest and whole.is_dir():
        return TaskFiles(whole, ())
    if folder and Path(folder).expanduser().is_dir():
        return TaskFiles(Path(folder).expanduser(), tuple(name.strip() for name in names.split(",") if name.strip()))
    raise UsageError(f"there is no folder of tasks {rest!r}; give {HARNESS}FOLDER, or {HARNESS}FOLDER:TASK,TASK")


def read_suite(path: Path) -> list[Item]:
    """All questions, in order. Raises UsageError with file and line, also where one task has two kinds."""
    items = list(_items(path))
    kinds: dict[str, type[Item]] = {}
    for item in items:
        if kinds.setdefault(item.task, type(item)) is not type(item):
            raise UsageError(f"{path}: the task {item.task!r} has questions of two kinds; name one of them otherwise")
    if not items:
        raise UsageError(f"{path}: holds no question; {_SHAPE}")
    return items


def _items(path: Path) -> Iterator[Item]:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            yield _item(json.loads(line))
        except (ValueError, TypeError, KeyError) as error:
            raise UsageError(f"{path}:{number}: is not a question ({error!r}); {_SHAPE}") from error


def _item(value: Mapping[str, Any]) -> Item:
    task = str(value["task"])
    if "choices" in value:
        choices = tuple(map(str, value["choices"]))
        if type(value["answer"]) is not int or not 0 <= value["answer"] < len(choices):
            raise ValueError(f"answer {value['answer']!r} is not a place among {len(choices)} choices, from 0")
        return Choice(task, str(value["question"]), choices, value["answer"])
    if "prompt" in value:
        return Exact(task, str(value["prompt"]), str(value["answer"]))
    return Prose(task, str(value["text"]))
