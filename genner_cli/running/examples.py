"""A run's spec -> the task of a model that genner did not train: the wording, and the examples that it is shown.

Knows nothing of llama.cpp; tokens are counted by a function, and a chat template is applied by one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from genner_cli.demonstrations import Demonstrations, Nearest, Rendered, Way, covering
from genner_cli.errors import UsageError
from genner_cli.files import size
from genner_cli.files.gold import read_gold
from genner_cli.files.hashing import hash_files
from genner_cli.files.hints import check_hints, hinted, refuse_unmatched
from genner_cli.files.reading import expand, read_documents
from genner_cli.files.remote import is_address
from genner_cli.formats import output_format
from genner_cli.formats.shared.free_labels import is_free_label
from genner_cli.options import option_name
from genner_cli.prompting import (
    ONLY_THESE_LABELS,
    OPEN_INSTRUCTION,
    UNTRAINED_FORMAT,
    Demonstration,
    Instructions,
    Prompt,
    general_prompt,
)
from genner_cli.running.spec import OPEN_FORMAT, SHOTS, STDIO, Nearness, RunSpec
from genner_cli.running.task import CountTokens, make_task
from genner_cli.tasks import Task
from genner_cli.types import Document

log = logging.getLogger("genner")
BUDGET_SHARE = 4
"""Examples take at most this part of the context."""
USE_HINTS = "Another model's entities stand below the text, each with the probability that it is right."
SAMPLED = 64
"""About how many examples are taken to be like all."""
Prompts = Callable[[Prompt, int], tuple[Prompt, ...]]
"""A prompt, and a number -> the prompt as the model reads it, with 0 to that number of demonstrations."""


def refuse_examples(spec: RunSpec, model: Path) -> None:
    """Raises UsageError for options of prompts, where a model has a prompt of its own."""
    for name in ("examples", "instruction", "no_chat_template", "hints"):
        if getattr(spec, name):
            message = f"{model} was trained by genner and has a prompt of its own; leave it out"
            raise UsageError(f"{option_name(name)}: {message}")


def asked_options(task: Task, spec: RunSpec) -> dict[str, str]:
    """The options that scores depend on beside the model, as far as they are used (`files.calibrations.ASKED`). Files
    count by what they hold, labels not at all. Raises UsageError for files that cannot be used."""
    asked = {"format": str(task.format), "constraint": str(task.constraint)}
    if spec.examples:
        digest = hash_files(map(Path, expand([spec.examples])))
        asked |= {
            "examples": _file(digest),
            "shots": str(spec.shots or SHOTS),
            "nearest": str(spec.nearest or Nearness.NONE),
        }
    if spec.example_hints:
        asked["example_hints"] = _file(hash_files(map(Path, expand([spec.example_hints]))))
    if spec.instruction:
        asked["instruction"] = _file(hash_files([Path(spec.instruction)]))
    on = {"whole_words": task.whole_words, "hints": spec.hints, "no_chat_template": spec.no_chat_template}
    return asked | {name: "on" for name, used in on.items() if used}


def check_provenance(spec: RunSpec) -> None:
    """Refuses hints whose model was trained on the very texts (`files.hints.check_hints`). Raises UsageError."""
    if spec.hints:
        on_disk = [path for path in spec.inputs if path != STDIO and not is_address(path)]
        named = expand(on_disk) if on_disk else []
        files = [path for path in named if size(path) is not None]
        check_hints(spec.hints, files, option_name("hints"))
        if len(on_disk) == len(spec.inputs) and files == named:  # what can be read once alone is reported at its end
            documents = read_documents(
                files, text_field=spec.text_field, id_field=spec.id_field, max_document_bytes=spec.max_document_bytes
            )
            refuse_unmatched(
                documents, spec.hints, option_name("hints"), text_field=spec.text_field, id_field=spec.id_field
            )
    if spec.example_hints and spec.examples:
        check_hints(spec.example_hints, expand([spec.examples]), option_name("example_hints"))


def _file(digest: str) -> str:
    return f"a file of SHA-256 {digest[:16]}"


def make_general_task(spec: RunSpec, *, context: int, tokens: CountTokens, prompts: Prompts) -> Task:
    """What a model is asked that genner did not train. `context`: tokens of the longest sequence.

    Raises UsageError for files that cannot be used.
    """
    spec = replace(spec, format=OPEN_FORMAT) if spec.open else spec
    output = output_format(spec.format or UNTRAINED_FORMAT)
    usual = OPEN_INSTRUCTION if spec.open else f"{output.task} {ONLY_THESE_LABELS}"
    instruction = _instruction(spec.instruction) if spec.instruction else usual
    instruction += f" {USE_HINTS}" if spec.hints and not spec.instruction else ""
    pool, shots = (examples_of(spec), spec.shots or SHOTS) if spec.examples else ((), 1)
    made = prompts(general_prompt(instruction, open=spec.open), shots)
    budget = context // BUDGET_SHARE
    task = make_task(
        spec, Instructions.untrained(made[0]), context=context, prefix_tokens=tokens, reserved=budget if pool else 0
    )
    way = spec.nearest.way if spec.nearest else None
    shown = [_Choice(each, made, tokens, shots, budget).demonstrations(pool, way) for each in task.by_pass()]
    return replace(task, demonstrations=tuple(shown), hinted=bool(spec.hints))


def _instruction(path: str) -> str:
    try:
        text = Path(path).read_text("utf-8").strip()
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read as a text file in UTF-8 ({error})") from error
    if not text:
        raise UsageError(f"{path}: is empty; write there what the model is to do")
    return text


def examples_of(spec: RunSpec) -> tuple[Document, ...]:
    """The labelled documents that a run is given to show, with their hints. Raises UsageError with the first thing
    that is wrong with the file."""
    path = spec.examples or ""
    paths = expand([path])
    if STDIO in paths:
        raise UsageError("--examples: standard input can be read once alone, and examples are read again; name a file")
    names_of_labels = spec.tree.names()
    gold = read_gold(paths, text_field=spec.text_field, id_field=spec.id_field, names=names_of_labels)
    if gold.problems:
        others = len(gold.problems) - 1
        more = f"; and {others:,} more, which genner data check lists" if others else ""
        raise UsageError(f"--examples: {gold.problems[0].message}{more}")
    known = sorted({entity.label for document in gold.documents for entity in document.entities})
    names = {label.name for label in spec.labels or ()}
    if not any(is_free_label(label) if spec.open else not names or label in names for label in known):
        wanted = "a label of lower-case words" if spec.open else "a label asked for"
        theirs = f"with {wanted}; theirs are {', '.join(known)}" if known else "at all"
        raise UsageError(
            f"{path}: no example has an entity {theirs}; show other examples, or rename theirs (genner data relabel)"
        )
    names_of_fields = {"text_field": spec.text_field, "id_field": spec.id_field}
    if spec.example_hints:
        refuse_unmatched(gold.documents, spec.example_hints, option_name("example_hints"), **names_of_fields)
    documents = hinted(gold.documents, spec.example_hints, **names_of_fields, names=names_of_labels, of="example")
    return tuple(Document(each.text, entities=each.entities, hints=each.hints) for each in documents)


class _Choice:
    """Chooses for the task of one pass: at most `shots` examples, in at most `budget` tokens together."""

    def __init__(self, task: Task, prompts: tuple[Prompt, ...], tokens: CountTokens, shots: int, budget: int) -> None:
        self._rendered = Rendered(task.format, task.names, task.depth)
        self._prompts = prompts
        self._tokens = tokens
        self._shots = shots
        self._budget = budget

    def demonstrations(self, pool: Sequence[Document], way: Way | None) -> Demonstrations:
        """Of labelled documents."""
        nearest = self._nearest(pool, way) if way else None
        return Demonstrations(self._prompts, self._rendered.invented(), self._fixed(pool), nearest)

    def _fixed(self, pool: Sequence[Document]) -> tuple[Demonstration, ...]:
        """As many as the format can carry and as fit."""
        most = min(self._shots, len(pool))
        shown = carried = self._covering(pool, most)
        while shown and self._size(shown) > self._budget:
            shown = self._covering(pool, len(shown) - 1)
        if len(carried) < most:
            log.warning("%d of %d examples can be written in the format %s", len(carried), most, self._rendered.format)
        if len(shown) < len(carried):
            message = "%d of %d examples fit into %d tokens, a quarter of the context"
            log.warning(message, len(shown), len(carried), self._budget)
        return tuple(shown)

    def _covering(self, pool: Sequence[Document], count: int) -> list[Demonstration]:
        """Of the documents that the format can carry."""
        while True:
            chosen = covering(pool, count, self._rendered.labels)
            shown = [self._rendered.of(document) for document in chosen]
            if all(shown):
                return [each for each in shown if each]
            refused = [document for document, each in zip(chosen, shown, strict=True) if not each]
            pool = [document for document in pool if document not in refused]

    def _nearest(self, pool: Sequence[Document], way: Way) -> Nearest:
        """Tokens of all documents would take long to count, so the budget is in bytes, by what a sample takes at most
        for one."""
        sample = [each for each in map(self._rendered.of, pool[:: 1 + len(pool) // SAMPLED]) if each]
        sizes = [self._size([each]) for each in sample]
        shots = min(self._shots, self._budget // min(sizes, default=1))
        rate = max((size / each.size for size, each in zip(sizes, sample, strict=True)), default=1.0)
        budget = int(max(0, self._budget - shots * self._size([Demonstration("", "")])) / rate)
        if self._shots * max((each.size for each in sample), default=0) > budget:
            message = "texts get fewer than %d examples where these take more than %d tokens, a quarter of the context"
            log.warning(message, self._shots, self._budget)
        return Nearest(tuple(pool), self._rendered, shots, budget, way)

    def _size(self, shown: Sequence[Demonstration]) -> int:
        """Tokens that they take."""
        return self._tokens(self._prompts[len(shown)].shown(shown))
