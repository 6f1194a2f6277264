"""lm-evaluation-harness: a folder of its task files, and a model's folder -> what each question counts, by measure.

Data come from files alone, never from the Hub. Knows nothing of adapters and of what the figures are for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from genner_cli.errors import ModelError, UsageError
from genner_cli.training.likelihood import opened_model

os.environ |= {"HF_DATASETS_OFFLINE": "1", "HF_EVALUATE_OFFLINE": "1"}  # read once, by the imports below

import datasets
from lm_eval import evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

_SEED = 1234
"""The harness's own, for examples in prompts and for sampling."""
_PLAIN_FILTER = "none"

Counted = Mapping[str, Mapping[str, Sequence[Any]]]
"""By task and by measure what each question counts, in the shape that the measure's aggregation takes."""


@dataclass(frozen=True, slots=True)
class Harness:
    """Tasks whose data are loaded; `loaded`: as the harness's TaskManager gives them."""

    loaded: dict[str, Any]

    def ask(self, model: Path) -> Counted:
        """Asks the model of a transformers folder all questions. Raises ModelError where it or a task breaks."""
        opened, tokens = opened_model(model)
        torch.manual_seed(_SEED)
        try:
            with _silent():
                language_model = HFLM(pretrained=opened, tokenizer=tokens.tokenizer, backend="causal", batch_size=1)
                found = evaluate(language_model, self.loaded, bootstrap_iters=0, log_samples=True)
        except Exception as error:  # as in loading, a task may fail in any way
            reason = f"{type(error).__name__}: {error}"
            raise ModelError(
                f"lm-evaluation-harness broke off ({reason}); see that all records have what the task files name,"
                " and that the model fits into memory"
            ) from error
        return {task: _by_measure(samples) for task, samples in found["samples"].items()}

    def aggregation(self, task: str, measure: str) -> Callable[[Sequence[Any]], float]:
        """What makes one figure of what the questions count: the task's own."""
        aggregate: Callable[[Sequence[Any]], float] = self.loaded["tasks"][task].aggregation()[_metric(measure)]
        return aggregate

    def higher_is_better(self, task: str, measure: str) -> bool:
        """As the task has it."""
        return bool(self.loaded["tasks"][task].higher_is_better()[_metric(measure)])


@contextmanager
def opened_harness(folder: Path, names: Sequence[str] = ()) -> Iterator[Harness]:
    """The tasks of a folder, or those of these names; files that they name are looked for in that folder.

    Raises UsageError where there is none, none of a name, or where data or a task's code cannot be loaded.
    """
    cache = datasets.config.HF_DATASETS_CACHE
    with TemporaryDirectory(prefix="genner-tasks-") as temporary:
        datasets.config.HF_DATASETS_CACHE = Path(temporary)
        try:
            yield Harness(_loaded(folder.resolve(), names))
        finally:
            datasets.config.HF_DATASETS_CACHE = cache


def _loaded(folder: Path, names: Sequence[str]) -> dict[str, Any]:
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    if not manager.all_subtasks:
        raise UsageError(f"{folder}: holds no task of lm-evaluation-harness; it needs files *.yaml with a `task`")
    if unknown := [name for name in names if name not in manager.all_tasks]:
        known = ", ".join(manager.all_tasks)
        raise UsageError(f"{folder}: has no task {unknown[0]!r} that can be read; it has {known}")
    tasks: dict[str, Any] = {}
    for name in names or manager.all_subtasks:
        tasks |= _task(manager, folder, name)
    return {"tasks": tasks}


def _task(manager: TaskManager, folder: Path, name: str) -> dict[str, Any]:
    """The task of a name, or those of a group."""
    try:
        with _silent(), chdir(folder):
            found: dict[str, Any] = manager.load([name])["tasks"]
    except Exception as error:  # a task may hold code, and fail in any way
        reason = f"{type(error).__name__}: {error}"
        raise UsageError(
            f"{folder}: the task {name!r} cannot be loaded ({reason}); its data must be files in that folder"
            " (dataset_path: json, dataset_kwargs: data_files), for the Hub is not asked"
        ) from error
    for task in found.values():
        if task.get_config("num_fewshot") is None:
            task.set_config(key="num_fewshot", value=0)
        task.set_fewshot_seed(seed=_SEED)
    return found


def _by_measure(samples: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """A measure is called by its metric, and by the filter behind a slash where the task has one."""
    counted: dict[str, list[Any]] = {}
    for sample in samples:
        end = "" if sample["filter"] == _PLAIN_FILTER else f"/{sample['filter']}"
        for metric in sample["metrics"]:
            counted.setdefault(f"{metric}{end}", []).append(_plain(sample[metric]))
    return counted


def _metric(measure: str) -> str:
    return measure.split("/")[0]


def _plain(value: Any) -> Any:
    """As JSON has it: lists for tuples and arrays, Python's numbers for numpy's."""
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value.tolist() if hasattr(value, "tolist") else value


@contextmanager
def _silent() -> Iterator[None]:
    """Its errors are exceptions; its bars and its talk are not shown."""
    with open(os.devnull, "w") as nowhere, redirect_stderr(nowhere), redirect_stdout(nowhere):
        yield
