"""A run's spec and a model's instructions -> the task: which labels, in which prompts, format and chunks.

Knows nothing of llama.cpp; whether labels fit a prompt is asked of a function.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from itertools import islice

from genner_cli.errors import UsageError
from genner_cli.prompting import Instructions, label_passes
from genner_cli.running.spec import RunSpec
from genner_cli.tasks import Task
from genner_cli.types import Label, Piece

log = logging.getLogger("genner")
UNKNOWN_REPORTED = 5
UNKNOWN_WARNED = 20
"""After so many unknown labels, which documents bring in lists of their own, a run warns no more."""
ALIKE = 0.75
"""From which similarity on (difflib's ratio) a name is taken for another one misspelt."""
TAKEN = {item.name for item in fields(Task)} & {item.name for item in fields(RunSpec)} - {"labels", "calibration"}
"""Fields that a task takes from a run as they are, unless None leaves them to the instructions."""
CountTokens = Callable[[tuple[Piece, ...]], int]
TOKENS_PER_BYTE = 3
"""No byte of a chunk takes more: one as text, one as it is written again, and its share of the markup."""


def make_task(
    spec: RunSpec,
    instructions: Instructions,
    *,
    context: int,
    prefix_tokens: CountTokens,
    reserved: int = 0,
    warned: set[str] | None = None,
) -> Task:
    """`context`: tokens of the longest sequence; `prefix_tokens`: those of a prompt's fixed part; `reserved`: tokens
    that this leaves to others; `warned`: unknown labels that have been warned of; those of this task are added.

    Raises UsageError for labels that the model does not know, where the spec is strict about them.
    """
    given = {name: getattr(spec, name) for name in TAKEN}
    task = Task.of(
        instructions,
        _labels(spec, instructions, set() if warned is None else warned),
        **{**given, "depth": spec.depth or 1},
    )
    room = max(context // 2, context - TOKENS_PER_BYTE * task.chunk_bytes) - reserved
    passes = label_passes(
        instructions.labels_trained_together(task.labels),
        lambda labels: prefix_tokens(task.prompt.prefix(labels)) <= room,
    )
    if len(passes) > 1:
        count = sum(map(len, passes))
        log.warning("%d labels do not fit one prompt; each text is asked about in %d passes", count, len(passes))
    return replace(task, passes=passes)


def _labels(spec: RunSpec, instructions: Instructions, warned: set[str]) -> tuple[Label, ...]:
    """The labels asked for, with the definitions that the model knows where none are given."""
    known = {label.name: label for label in instructions.labels}
    if not spec.labels:
        return tuple(known[name] for name in instructions.default_labels)
    _report_unknown(spec.labels, instructions, warned, strict=spec.strict_labels)
    return tuple(label if label.definition else known.get(label.name, label) for label in spec.labels)


def _report_unknown(labels: Sequence[Label], instructions: Instructions, warned: set[str], *, strict: bool) -> None:
    """Warns of labels that the model was not trained on, in one line and once each, until there are many; raises
    UsageError if strict."""
    if len(warned) >= UNKNOWN_WARNED and not strict:
        return
    unknown = unknown_labels([label for label in labels if strict or label.name not in warned], instructions.labels)
    if not unknown:
        return
    known = [label.name for label in instructions.labels]
    named = []
    for name, nearest in islice(unknown.items(), UNKNOWN_REPORTED):
        same = [other for other in known if _spelling(other) == _spelling(name)]
        alike = ", ".join(dict.fromkeys(same + nearest))
        named.append(f"{name!r}" + f" (nearest: {alike})" * bool(alike))
    more = f", and {len(unknown) - UNKNOWN_REPORTED:,} more" * (len(unknown) > UNKNOWN_REPORTED)
    message = f"the model was not trained on the label{'s' * (len(unknown) > 1)} {', '.join(named)}{more}"
    if strict:
        raise UsageError(f"{message}; use labels that it knows, or leave out --strict-labels")
    warned.update(unknown)
    log.warning(
        "%s%s%s",
        message,
        "; it goes by the name, and by a definition if --labels gives one" * instructions.open_labels,
        "; further labels that it was not trained on are not named" * (len(warned) >= UNKNOWN_WARNED),
    )


def _spelling(name: str) -> str:
    """The same for names that differ only in case, or in `_` for a space."""
    return name.casefold().replace("_", " ")


def unknown_labels(labels: Sequence[Label], known: Sequence[Label]) -> dict[str, list[str]]:
    """For each label that a model was not trained on, names of those it was that are spelled nearly alike, or of which
    one is the beginning of the other, the nearest first."""
    names = {label.name.casefold(): label.name for label in known}

    def alike(name: str) -> list[str]:
        near = difflib.get_close_matches(name, names, n=3, cutoff=ALIKE)
        return [*near, *(each for each in names if each not in near and _begins(name, each))][:3]

    return {
        label.name: [names[each] for each in alike(label.name.casefold())]
        for label in labels
        if known and label.name not in names.values()
    }


def _begins(one: str, other: str) -> bool:
    """Whether one is the beginning of the other, of three letters at least."""
    return min(len(one), len(other)) >= 3 and (one.startswith(other) or other.startswith(one))
