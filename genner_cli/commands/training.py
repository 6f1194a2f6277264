"""Options and opening moves of the commands that train."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer

from genner_cli.commands.options import BASE, FormatName, sign
from genner_cli.commands.terminal import bar, needed_for, say
from genner_cli.training.options import AUGMENTED, PRESETS, TrainOptions, made_of, option_name

if TYPE_CHECKING:
    from genner_cli.training.run import TrainingProgress


def _options(values: Mapping[str, Any]) -> str:
    """Values as options."""
    return " ".join(
        option_name(field) if value is True else f"{option_name(field)} {value}" for field, value in values.items()
    )


BaseReference = Annotated[str, typer.Option("--base", metavar="MODEL", help=BASE)]
_SWITCHES = {
    "preset": Annotated[
        Literal["fast", "paper", "tiny"],
        typer.Option(
            help="fast: the defaults below. paper: the paper's settings (arXiv 2601.17898), "
            f"{_options(PRESETS['paper'])}. tiny: for CPUs, {_options(PRESETS['tiny'])}."
        ),
    ],
    "options": Annotated[
        Path | None,
        typer.Option(
            "--options", metavar="FILE", help="YAML file of options by name; options on the command line override it."
        ),
    ],
    "augment": Annotated[
        bool, typer.Option("--augment", help=f"Train to follow the label list: {_options(AUGMENTED)}.")
    ],
    "nested": Annotated[bool, typer.Option("--nested", help="Train on nested entities.")],
}
_DEFAULTS = {"preset": "fast", "options": None, "augment": False, "nested": False}


def training_options(
    *, without: Collection[str] = (), by_name: bool = True
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command the options of a training, in place of its parameter `chosen`: a TrainOptions of them.

    without: switches and fields that get no option; by_name: whether the fields get one each.
    """
    named = [item.name for item in fields(TrainOptions) if by_name and item.name not in without]
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=_DEFAULTS[name], annotation=annotation)
        for name, annotation in _SWITCHES.items()
        if name not in without
    ]
    options += [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_annotation(name))
        for name in named
    ]

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @wraps(function)
        def command(**values: Any) -> None:
            given = {each.name: values.pop(each.name) for each in options}
            function(**values, chosen=_chosen(**given))

        sign(command, function, "chosen", options)
        return command

    return decorate


def _annotation(name: str) -> Any:
    """The option of a field; not given, the field is as preset and file have it."""
    item = next(each for each in fields(TrainOptions) if each.name == name)
    kind = FormatName if name == "format" else get_type_hints(TrainOptions)[name]
    switch = kind is bool
    text = f"{option_name(name)}/--no-{name.replace('_', '-')}" if switch else option_name(name)
    shown = item.metadata.get("shown", item.default)
    default = ("on" if shown else "off") if switch else str(shown)
    return Annotated[kind | None, typer.Option(text, help=item.metadata["help"], show_default=default)]


def _chosen(preset: str, options: Path | None, *, nested: bool, augment: bool = False, **values: Any) -> TrainOptions:
    """The preset's options, changed by those of a YAML file, then by switches, then by options by name."""
    from genner_cli.files.settings import read_settings
    from genner_cli.formats import DEFAULT_DEPTH

    settings = read_settings(str(options)) if options else {}
    switches = {**(AUGMENTED if augment else {}), **({"depth": DEFAULT_DEPTH} if nested else {})}
    return made_of(preset, settings, switches, values)


def needs_training() -> None:
    """Raises UsageError where the training extra is not installed."""
    with needed_for("genner train", extra="train"):
        import genner_cli.training.run  # noqa: F401


def absolute(base: str) -> str:
    """A path that holds from wherever export is called; other references as they are."""
    return str(Path(base).expanduser().resolve()) if Path(base).expanduser().exists() else base


@contextmanager
def training_progress() -> Iterator[TrainingProgress]:
    """A bar on stderr if that is a terminal, else a line for each stage and validation, and now and then for a step."""
    from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeRemainingColumn

    from genner_cli.training.run import TrainingProgress

    text_column = TextColumn("{task.description}", markup=False)
    with bar(SpinnerColumn(), text_column, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()) as shown:
        task = shown.add_task("", total=None)

        def stage(text: str) -> None:
            if shown.disable:
                say(text)
            shown.update(task, description=text)

        def line(found: Mapping[str, float], steps: int) -> None:
            if "valid_f1" in found:
                shown.console.print(_validation(found), markup=False, highlight=False)
            else:
                text = f"loss {found['loss']:.4f}, {found['tokens_per_second']:,.0f} tokens/s"
                shown.update(task, completed=found["step"], total=steps, description=text)
                if shown.disable and found["step"] % max(1, steps // 20) == 0:
                    say(f"step {found['step']:,} of {steps:,}: {text}")

        yield TrainingProgress(stage=stage, encoded=lambda count: shown.advance(task, count), line=line)


def _validation(found: Mapping[str, float]) -> str:
    return (
        f"step {found['step']:,}: valid loss {found['valid_loss']:.4f}, precision {found['valid_precision']:.3f},"
        f" recall {found['valid_recall']:.3f}, F1 {found['valid_f1']:.3f}"
    )
