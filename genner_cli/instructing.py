"""A labelled text <-> instruction, input and output, as the paper's data has them (section on the task).

The instruction is a task line, the label set with a line for each label, and a line that announces the input; the
output is a completion in one of the output formats. The paper's own completions escape no markup and count every
occurrence of a text; they are read too, wherever the input leaves one reading. Knows nothing of files.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress

from genner_cli.errors import DataError, UsageError
from genner_cli.formats import FORMATS, Rendering, output_format
from genner_cli.prompting import Prompt
from genner_cli.types import Entity, Label

MAX_DEPTH = 16
_LABEL_SET = "Label Set:\n"
_LABEL_LINE = re.compile(r"(?P<name>[^:(]+?)(?:\([^)]*\))?(?::\s*(?P<definition>.*))?")


def instruction(format: str, labels: Sequence[Label]) -> str:
    """What stands before the input."""
    before = f"{output_format(format).task} Use only the labels of the label set.\n{_LABEL_SET}"
    prompt = Prompt(before_labels=before, before_text="Now read this text:", after_text="")
    return "".join(piece.text for piece in prompt.prefix(labels))


def completed(text: str, entities: Sequence[Entity], labels: Sequence[Label], format: str) -> Rendering:
    """The output for these entities, nested ones too, and the entities that are not in it."""
    return output_format(format).render(text, entities, [label.name for label in labels], depth=MAX_DEPTH)


def labels_of(instruction: str) -> list[Label]:
    """The label set of an instruction; the name of "TAG(name): definition" is TAG. Raises DataError without one."""
    labels = _label_set(instruction)
    if not labels:
        raise DataError("the instruction has no 'Label Set:' with a line for each label")
    return labels


def _label_set(instruction: str) -> list[Label]:
    labels = []
    for line in instruction.partition(_LABEL_SET)[2].split("\n")[:-1]:
        match = _LABEL_LINE.fullmatch(line.strip())
        with suppress(UsageError):
            labels += [Label(match["name"].strip(), (match["definition"] or "").strip())] if match else []
    return labels


def entities_of(text: str, output: str, instruction: str, format: str | None = None) -> list[Entity]:
    """The entities in an output, in canonical order.

    `format` None: the first one that can read it. Raises DataError where none can, or without a label set.
    """
    formats = [output_format(format)] if format else list(FORMATS.values())
    for each in formats:
        with suppress(DataError):
            return each.parse(output, text)
    labels = [label.name for label in _label_set(instruction)]
    for each in formats:
        with suppress(DataError):
            return each.parse_loosely(output, text, labels)
    labels_of(instruction)
    where = f"in the format {format}" if format else "in any format"
    raise DataError(f"the output is not a completion of this input {where}; correct it, or see --format")
