"""A run's spec -> the task of a model that genner did not train: the wording, and the examples that it is shown.

Knows nothing of llama.cpp; tokens are counted by a function, and a chat template is applied by one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from heapq import nlargest
from pathlib import Path

from genner_cli.demonstrations import Demonstrations, Nearest, Sized, covering, invented, rendered
from genner_cli.errors import UsageError
from genner_cli.extraction import Task
from genner_cli.files.gold import read_gold
from genner_cli.files.reading import expand
from genner_cli.formats import output_format
from genner_cli.options import option_name
from genner_cli.prompting import (
    ONLY_THESE_LABELS,
    UNTRAINED_FORMAT,
    Demonstration,
    Instructions,
    Prompt,
    general_prompt,
)
from genner_cli.running.spec import SHOTS, Nearness, RunSpec
from genner_cli.running.task import CountTokens, make_task
from genner_cli.types import Document

log = logging.getLogger("genner")
BUDGET_SHARE = 4
"""Examples take at most this part of the context."""
Prompts = Callable[[Prompt, int], tuple[Prompt, ...]]
"""A prompt, and a number -> the prompt as the model reads it, with 0 to that number of demonstrations."""


def refuse_examples(spec: RunSpec, model: Path) -> None:
    """Raises UsageError for options of prompts, where a model has a prompt of its own."""
    for name in ("examples", "instruction", "no_chat_template"):
        if getattr(spec, name):
            message = f"{model} was trained by genner and has a prompt of its own; leave it out"
            raise UsageError(f"{option_name(name)}: {message}")


def make_general_task(spec: RunSpec, *, context: int, tokens: CountTokens, prompts: Prompts) -> Task:
    """What a model is asked that genner did not train. `context`: tokens of the longest sequence.

    Raises UsageError for files that cannot be used.
    """
    output = output_format(spec.format or UNTRAINED_FORMAT)
    instruction = _instruction(spec.instruction) if spec.instruction else f"{output.task} {ONLY_THESE_LABELS}"
    pool, shots = (_examples(spec.examples, spec), spec.shots or SHOTS) if spec.examples else ((), 1)
    made = prompts(general_prompt(instruction), shots)
    budget = context // BUDGET_SHARE
    task = make_task(
        spec, Instructions.untrained(made[0]), context=context, prefix_tokens=tokens, reserved=budget if pool else 0
    )
    shown = [_Choice(each, made, tokens, shots, budget).demonstrations(pool, spec.nearest) for each in task.by_pass()]
    return replace(task, demonstrations=tuple(shown))


def _instruction(path: str) -> str:
    try:
        text = Path(path).read_text("utf-8").strip()
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read as a text file in UTF-8 ({error})") from error
    if not text:
        raise UsageError(f"{path}: is empty; write there what the model is to do")
    return text


def _examples(path: str, spec: RunSpec) -> tuple[Document, ...]:
    """The labelled documents of a file. Raises UsageError with the first thing that is wrong with it."""
    gold = read_gold(expand([path]), text_field=spec.text_field, id_field=spec.id_field)
    if gold.problems:
        others = len(gold.problems) - 1
        more = f"; and {others:,} more, which genner data check lists" if others else ""
        raise UsageError(f"--examples: {gold.problems[0].message}{more}")
    names = {label.name for label in spec.labels or ()}
    if not any(entity.label in names for document in gold.documents for entity in document.entities):
        known = sorted({entity.label for document in gold.documents for entity in document.entities})
        raise UsageError(f"{path}: no example has an entity with a label asked for; theirs are {', '.join(known)}")
    return gold.documents


class _Choice:
    """Chooses for the task of one pass: at most `shots` examples, in at most `budget` tokens together."""

    def __init__(self, task: Task, prompts: tuple[Prompt, ...], tokens: CountTokens, shots: int, budget: int) -> None:
        self._task = task
        self._prompts = prompts
        self._tokens = tokens
        self._shots = shots
        self._budget = budget
        self._output = output_format(task.format)

    def demonstrations(self, pool: Sequence[Document], nearness: Nearness) -> Demonstrations:
        """Of labelled documents."""
        whole = [document for document in pool if self._rendered(document)]
        if len(whole) < len(pool):
            left = len(pool) - len(whole)
            log.warning("%d of %d examples cannot be shown whole in the format %s", left, len(pool), self._task.format)
        made = invented(self._output, self._task.names, self._task.depth)
        nearest = self._nearest(whole) if nearness is Nearness.WORDS and whole else None
        return Demonstrations(self._prompts, made, self._fixed(whole), nearest)

    def _fixed(self, pool: Sequence[Document]) -> tuple[Sized, ...]:
        """As many as fit."""
        most = min(self._shots, len(pool))
        for count in range(most, 0, -1):
            shown = tuple(self._sized(covering(pool, count, self._task.names)))
            if sum(each.tokens for each in shown) <= self._budget:
                break
        else:
            count, shown = 0, ()
        if count < most:
            log.warning("%d of %d examples fit into %d tokens, a quarter of the context", count, most, self._budget)
        return shown

    def _nearest(self, pool: Sequence[Document]) -> Nearest:
        sized = tuple(self._sized(pool))
        largest = sum(nlargest(self._shots, (each.tokens for each in sized)))
        if largest > self._budget:
            message = "texts get fewer than %d examples where these take more than %d tokens, a quarter of the context"
            log.warning(message, self._shots, self._budget)
        return Nearest(sized, self._shots, min(largest, self._budget))

    def _rendered(self, document: Document) -> Demonstration | None:
        return rendered(document, self._output, self._task.names, self._task.depth)

    def _sized(self, documents: Sequence[Document]) -> Iterator[Sized]:
        for demonstration in filter(None, map(self._rendered, documents)):
            yield Sized(demonstration, self._tokens(self._prompts[1].shown([demonstration])))
