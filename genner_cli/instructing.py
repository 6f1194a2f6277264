"""A labelled text <-> instruction, input and output, as the paper's data has them (section on the task).

The instruction is a task line, the label set with a line for each label, and a line that announces the input; the
output is a completion in one of the output formats. The paper's own completions escape no markup and count every
occurrence of a text; they are read too, wherever the input leaves one reading. Knows nothing of files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from genner_cli.errors import DataError, UsageError
from genner_cli.formats import output_format
from genner_cli.formats.carriable import Rendering
from genner_cli.prompting import Prompt
from genner_cli.types import Entity, Label, canonical_order

DEEPEST = 16
_MOST_READINGS = 20_000  # partial ones, of a completion in which markup and text look alike
_LABEL_SET = "Label Set:\n"
_TASKS = {
    "bracketed": "Copy the text and mark every named entity in it as [mention | LABEL].",
    "xml": "Copy the text and mark every named entity in it as <LABEL>mention</LABEL>.",
    "category": "List the named entities of the text as a JSON object: for each label its mentions, in order.",
    "occurrence": "List the named entities of the text as a JSON list of objects with the mention as text, its label, "
    "and an occurrence_index: 1 where the mention first stands in the text, 2 for the second time, and so on.",
    "offset": "List the named entities of the text as a JSON list of objects with the mention as text, its label, and"
    " its start and end in characters, the end one behind the last.",
    "inserted": "Copy the text and mark every named entity in it as ⟦mention⦂LABEL⟧.",
}
_LABEL_LINE = re.compile(r"(?P<name>[^:(]+?)(?:\([^)]*\))?(?::\s*(?P<definition>.*))?")


def instruction(format: str, labels: Sequence[Label]) -> str:
    """What stands before the input."""
    before = f"{_TASKS[format]} Use only the labels of the label set.\n{_LABEL_SET}"
    prompt = Prompt(before_labels=before, before_text="Now read this text:", after_text="")
    return "".join(piece.text for piece in prompt.prefix(labels))


def completed(text: str, entities: Sequence[Entity], labels: Sequence[Label], format: str) -> Rendering:
    """The output for these entities, nested ones too, and what it cannot say."""
    return output_format(format).render(text, entities, [label.name for label in labels], depth=DEEPEST)


def labels_of(instruction: str) -> list[Label]:
    """The label set of an instruction; the name of "TAG(name): definition" is TAG. Raises DataError without one."""
    _, found, rest = instruction.partition(_LABEL_SET)
    labels = []
    for line in rest.split("\n")[:-1]:
        match = _LABEL_LINE.fullmatch(line.strip())
        with suppress(UsageError):
            labels += [Label(match["name"].strip(), (match["definition"] or "").strip())] if match else []
    if not found or not labels:
        raise DataError("the instruction has no 'Label Set:' with a line for each label")
    return labels


def entities_of(text: str, output: str, instruction: str, format: str | None = None) -> list[Entity]:
    """The entities that an output names, in canonical order.

    `format` None: the one that it is in. Raises DataError for what is in none of them.
    """
    format = format or _json_format(output)
    for name in (format,) if format else ("bracketed", "xml", "inserted"):
        for reading in (output_format(name).parse, *_lenient(name, instruction)):
            with suppress(DataError):
                return reading(output, text)
    where = f"in the format {format}" if format else "in any format"
    raise DataError(f"the output is no completion of this input {where}; correct it, or see --format")


def _json_format(output: str) -> str | None:
    try:
        value = json.loads(output)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, dict):
        return "category"
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        return None
    return "offset" if value and "start" in value[0] else "occurrence"


def _lenient(format: str, instruction: str) -> Iterator[Callable[[str, str], list[Entity]]]:
    """How to read what is not in genner's canonical form."""
    if format in ("category", "occurrence", "offset"):
        yield _listed
    elif format in _MARKUP:
        names = [label.name for label in labels_of(instruction)]
        yield lambda output, text: _unescaped(output, text, _MARKUP[format](names))


def _listed(output: str, text: str) -> list[Entity]:
    """A JSON listing whose mentions may stand inside words; each is a k-th occurrence, or has a start."""
    value = json.loads(output)
    items = value if isinstance(value, list) else _counted(value)
    entities = {_located(item, text) for item in items}
    return sorted(entities, key=canonical_order)


def _counted(value: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The items of a category listing, with the number of each mention among its like."""
    listed: dict[str, int] = {}
    for label, mentions in value.items():
        for mention in mentions if isinstance(mentions, list) else ():
            listed[mention] = listed.get(mention, 0) + 1
            yield {"text": mention, "label": label, "occurrence_index": listed[mention]}


def _located(item: dict[str, Any], text: str) -> Entity:
    mention, label = item.get("text"), item.get("label")
    if not (isinstance(mention, str) and mention and isinstance(label, str)):
        raise DataError(f"{item!r} has no text and label")
    start = item.get("start")
    if start is None:
        places = [match.start() for match in re.finditer(f"(?={re.escape(mention)})", text)]
        number = item.get("occurrence_index", 1)
        start = places[number - 1] if isinstance(number, int) and 0 < number <= len(places) else -1
    if not isinstance(start, int) or start < 0 or not text.startswith(mention, start):
        raise DataError(f"{mention!r} does not stand where {item!r} says")
    return Entity(start, start + len(mention), label, mention)


class _Mark(NamedTuple):
    """A piece of markup: the label of what it opens or closes, None where the other mark says it."""

    text: str
    opens: bool
    label: str | None


def _brackets(names: Sequence[str]) -> list[_Mark]:
    return [_Mark("[", True, None), *(_Mark(f" | {name}]", False, name) for name in names)]


def _tags(names: Sequence[str]) -> list[_Mark]:
    return [mark for name in names for mark in (_Mark(f"<{name}>", True, name), _Mark(f"</{name}>", False, name))]


_MARKUP = {"bracketed": _brackets, "xml": _tags}


class _State(NamedTuple):
    """How far the output and the text are read, the open entities (start, label), and the closed ones, last first."""

    output: int
    text: int
    open: tuple[tuple[int, str | None], ...]
    closed: tuple[Any, ...]


def _unescaped(output: str, text: str, marks: Sequence[_Mark]) -> list[Entity]:
    """Reads output in which markup and text may look alike: what makes the rest come out right is meant."""
    waiting = [_State(0, 0, (), ())]
    seen: set[tuple[object, ...]] = set()
    while waiting and len(seen) < _MOST_READINGS:
        state = waiting.pop()
        if state[:3] in seen:
            continue
        seen.add(state[:3])
        if state.output == len(output) and state.text == len(text) and not state.open:
            return sorted(_chain(state.closed, text), key=canonical_order)
        if state.text < len(text) and output.startswith(text[state.text], state.output):
            waiting.append(state._replace(output=state.output + 1, text=state.text + 1))
        waiting += [_marked(state, mark) for mark in marks if _fits(state, mark, output)]
    raise DataError("the output is not the input with markup")


def _fits(state: _State, mark: _Mark, output: str) -> bool:
    if not output.startswith(mark.text, state.output):
        return False
    if mark.opens:
        return True
    return bool(state.open) and state.open[-1][0] < state.text and state.open[-1][1] in (None, mark.label)


def _marked(state: _State, mark: _Mark) -> _State:
    after = state.output + len(mark.text)
    if mark.opens:
        return state._replace(output=after, open=(*state.open, (state.text, mark.label)))
    start, _ = state.open[-1]
    closed = ((start, state.text, mark.label), state.closed)
    return state._replace(output=after, open=state.open[:-1], closed=closed)


def _chain(closed: tuple[Any, ...], text: str) -> Iterator[Entity]:
    while closed:
        (start, end, label), closed = closed
        yield Entity(start, end, label, text[start:end])
