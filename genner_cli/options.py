"""What an option of a run is: help, bounds and place, kept beside the field that holds its value.

From this follow the options of the command line and what a resumed run compares. Knows nothing of typer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import Field, dataclass, field, fields
from enum import StrEnum
from typing import Any

from genner_cli.errors import UsageError


class Panel(StrEnum):
    """The parts of a command's help."""

    LABELS = "Labels"
    MODEL = "Model"
    PATTERNS = "Patterns and lists"
    PROMPT = "Prompt of models that genner did not train"
    TEXT = "Text"
    OUTPUT = "Output"
    SPEED = "Speed"
    CLUSTER = "Cluster"


class Compared(StrEnum):
    """How a resumed run compares an option with that of the run before it.

    VALUE: a record depends on it, and any other value is refused. CONTENT: a record depends on what it names, which
    the opened model's facts hold. INPUT: it says which documents there are. WAY: it says how missing records are made,
    and must stay the same until the output is complete. NEVER: no record depends on it.
    """

    VALUE = "value"
    CONTENT = "content"
    INPUT = "input"
    WAY = "way"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Option:
    """An option of a run. `names`: on the command line, none for that of the field; `shown`: what a default of None
    means; `least`, `most`: bounds of a number."""

    help: str
    panel: Panel
    compared: Compared
    names: tuple[str, ...] = ()
    metavar: str | None = None
    least: float | None = None
    most: float | None = None
    shown: str | None = None
    envvar: str | None = None


def option(default: Any, help: str, panel: Panel, *, compared: Compared, **more: Any) -> Any:
    """A dataclass field with its option."""
    return field(default=default, metadata={"option": Option(help, panel, compared, **more)})


def option_of(item: Field[Any]) -> Option | None:
    """The option of a field, if it has one."""
    found: Option | None = item.metadata.get("option")
    return found


def key_of(name: str) -> str:
    """What the option of a field is called in files: `min-score` of `min_score`."""
    return name.replace("_", "-")


def option_name(name: str) -> str:
    """The option of a field on the command line."""
    return f"--{key_of(name)}"


def options_in(value: Any) -> Iterator[tuple[str, Option, Any]]:
    """The options of a dataclass instance: name of the field, option, value."""
    for item in fields(value):
        if found := option_of(item):
            yield item.name, found, getattr(value, item.name)


def check_bounds(value: Any) -> None:
    """Raises UsageError for the first number of a dataclass instance that is out of its option's bounds."""
    for name, each, number in options_in(value):
        least, most = each.least, each.most
        if number is None or (least is None and most is None):
            continue
        if (least is not None and not number >= least) or (most is not None and not number <= most):
            bounds = f"at least {least}" if most is None else f"from {least} to {most}"
            raise UsageError(f"{option_name(name)} is {number}; give a number {bounds}")
