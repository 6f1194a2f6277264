"""Options that several commands share; those of a run are made of the fields of its spec."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import Field, fields
from functools import wraps
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer

from genner_cli.errors import UsageError
from genner_cli.formats import FORMATS
from genner_cli.generation import EngineOptions
from genner_cli.options import Panel, option_name, option_of
from genner_cli.running.spec import RunSpec

if TYPE_CHECKING:
    from genner_cli.types import LabelTree


if TYPE_CHECKING:
    FormatName = str
else:
    FormatName = Literal[tuple(FORMATS)]
"""The output formats."""


def _typer_option(item: Field[Any], **more: Any) -> Any:
    option = option_of(item)
    assert option, f"{item.name} is not an option"
    return typer.Option(
        *(option.names or (option_name(item.name),)),
        help=option.help,
        metavar=option.metavar,
        min=option.least,
        max=option.most,
        envvar=option.envvar,
        show_default=option.shown or True,
        **more,
    )


def _shared(name: str) -> Any:
    """The option of a run's or an engine's field, for commands that take no run."""
    return next(_typer_option(item) for item in (*fields(RunSpec), *fields(EngineOptions)) if item.name == name)


def _types(**more: Any) -> Any:
    return typer.Option("--types", "-t", metavar="PER,ORG", help="Labels, by name.", **more)


def _labels(**more: Any) -> Any:
    about = "YAML file of labels: a list of names, names with definitions, or a tree of these."
    return typer.Option("--labels", "-l", metavar="FILE", help=about, **more)


def _nested(**more: Any) -> Any:
    return typer.Option("--nested/--flat", help="Allow entities inside entities.", **more)


def _depth(**more: Any) -> Any:
    about = "Maximum nesting depth of entities; 1 is flat, --nested is 4."
    return typer.Option(min=1, max=16, help=about, show_default="by --nested and --flat", **more)


Types = Annotated[str | None, _types()]
LabelsFile = Annotated[Path | None, _labels()]
Nested = Annotated[bool | None, _nested(show_default="flat")]
Depth = Annotated[int | None, _depth()]
DownloadBase = Annotated[bool, typer.Option("--download", help="Fetch a base model that is not in the local cache.")]
TextField = Annotated[str, _shared("text_field")]
IdField = Annotated[str, _shared("id_field")]
Threads = Annotated[int | None, _shared("threads")]
GpuLayers = Annotated[int, _shared("gpu_layers")]
Restart = Annotated[bool, _shared("restart")]
RetryErrors = Annotated[bool, _shared("retry_errors")]
Chat = Annotated[
    bool, typer.Option("--chat", help="Ask judges that genner did not train questions in a chat.", show_default="off")
]
FROM_TRAIN = {"labels": "those of TRAIN"}
"""What the default is called of commands that take their labels from training data."""
TrainTypes = Annotated[str | None, _types(show_default=FROM_TRAIN["labels"])]
TrainLabelsFile = Annotated[Path | None, _labels(show_default=FROM_TRAIN["labels"])]
FROM_GOLD = {"labels": "those of the gold data", "nested": "as the gold data are"}
"""What the defaults are called of commands that take them from gold data."""
LABELLED = "Labelled JSONL (also .gz, .zst), Parquet, CoNLL or brat .ann"
"""The files that are read with their entities (`files.gold.read_gold`)."""
LABELLED_FILES = f"{LABELLED}; globs too."
GoldFiles = Annotated[list[str], typer.Argument(metavar="GOLD", help=LABELLED_FILES)]
DOCUMENT_FILES = (
    "JSONL, .txt, .md, .csv, .tsv, .html, .eml, TEI .xml, .parquet, .conll, .ann (also .gz, .zst); folders;"
    " globs; s3://"
)
"""The files that documents are read from (docs/input.md)."""
AsJson = Annotated[bool, typer.Option("--json", help="Print a JSON object.")]
JsonLinesOutput = Annotated[
    str, typer.Option("--output", "-o", metavar="FILE", help="Output JSONL (also .gz, .zst); - is stdout.")
]
Seed = Annotated[int, typer.Option(help="Random seed; the same seed gives the same result.")]
BASE = "Base model: folder, GGUF, Hub or pypi reference, small or base."


def label_tree(types: str | None, labels: Path | None) -> LabelTree:
    """The labels of --types or --labels, with those below them; none if neither is given. Raises UsageError."""
    from genner_cli.files.labels import is_file_of_labels, parse_types, read_label_tree
    from genner_cli.types import LabelTree

    if types is not None and labels is not None:
        raise UsageError("--types cannot be combined with --labels")
    if types is not None and is_file_of_labels(types):
        raise UsageError(f"--types {types}: is a file, not a label; name it with --labels")
    if types is not None:
        return LabelTree.flat(parse_types(types))
    return read_label_tree(str(labels)) if labels is not None else LabelTree()


def nesting(nested: bool | None, depth: int | None) -> int | None:
    """The depth that --nested and --depth ask for; 1 is flat, None leaves it open."""
    from genner_cli.formats import DEFAULT_DEPTH

    if nested is False and depth not in (None, 1):
        raise UsageError("--flat cannot be combined with --depth")
    if depth is None and nested is not None:
        return DEFAULT_DEPTH if nested else 1
    return depth


_COMBINED: Mapping[str, tuple[str, Callable[..., Any]]] = {"labels": ("tree", label_tree), "depth": ("depth", nesting)}
"""Fields that two options make together: the field that they give, and the function of these that does."""


def _combined(shown: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    panel = {"rich_help_panel": Panel.LABELS.value}
    labels = {"show_default": shown.get("labels", "the model's own"), **panel}
    nested = _nested(show_default=shown.get("nested", "flat"), **panel)
    return {
        "labels": {
            "types": Annotated[str | None, _types(**labels)],
            "labels": Annotated[Path | None, _labels(**labels)],
        },
        "depth": {"nested": Annotated[bool | None, nested], "depth": Annotated[int | None, _depth(**panel)]},
    }


def run_options(
    *chosen: Panel | str, without: Collection[str] = (), shown: Mapping[str, str] = MappingProxyType({})
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command the options of a run, in place of its parameter `spec`: a RunSpec of them.

    chosen: panels, of which all fields become options, or single fields; without: fields that do not; shown: what the
    defaults of `labels` and `nested` are called, where they are others than in extraction.
    """
    run, engine = (_parameters(owner, chosen, without, _combined(shown)) for owner in (RunSpec, EngineOptions))

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @wraps(function)
        def command(**values: Any) -> None:
            fields_of_run, fields_of_engine = (
                dict(_given(name, [values.pop(each.name) for each in own]) for name, own in owner.items())
                for owner in (run, engine)
            )
            function(**values, spec=RunSpec(**fields_of_run, engine=EngineOptions(**fields_of_engine)))

        options = [each for owner in (run, engine) for own in owner.values() for each in own]
        sign(command, function, "spec", sorted(options, key=_panel_number))
        return command

    return decorate


def _parameters(
    owner: type, chosen: Collection[Panel | str], without: Collection[str], combined: Mapping[str, Mapping[str, Any]]
) -> dict[str, list[inspect.Parameter]]:
    """The parameters of a command for the chosen fields of a dataclass."""
    hints = get_type_hints(owner)
    found = {}
    for item in fields(owner):
        option = option_of(item)
        if option and {item.name, option.panel} & set(chosen) and item.name not in (*without, "inputs"):
            kind = FormatName | None if item.name == "format" else hints[item.name]
            one = {item.name: Annotated[kind, _typer_option(item, rich_help_panel=option.panel.value)]}
            found[item.name] = [
                inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=item.default, annotation=annotation)
                for name, annotation in combined.get(item.name, one).items()
            ]
    return found


def _panel_number(parameter: inspect.Parameter) -> int:
    """The place of an option's panel in the help."""
    (option,) = parameter.annotation.__metadata__
    return list(Panel).index(Panel(option.rich_help_panel))


def _given(name: str, values: Sequence[Any]) -> tuple[str, Any]:
    """A field and its value, of those of its options."""
    field, make = _COMBINED.get(name, (name, lambda value: value))
    return field, make(*values)


def sign(
    command: Callable[..., None], function: Callable[..., None], name: str, options: Sequence[inspect.Parameter]
) -> None:
    """Lets typer see the options where the function has the parameter of this name."""
    hints = get_type_hints(function, include_extras=True)
    seen: list[inspect.Parameter] = []
    for each in inspect.signature(function).parameters.values():
        own = each.replace(annotation=hints.get(each.name, Any), kind=inspect.Parameter.KEYWORD_ONLY)
        seen += options if each.name == name else [own]
    command.__signature__ = inspect.Signature(seen)  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in seen}
