"""Options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genner_cli.errors import UsageError
from genner_cli.formats import FORMATS
from genner_cli.generation import MOST_SLOTS, SMALLEST_CONTEXT, Constraint

if TYPE_CHECKING:
    from genner_cli.types import Label


FormatName = StrEnum("FormatName", {name: name for name in FORMATS})  # type: ignore[misc]  # names are not literals
"""The output formats."""

Types = Annotated[str | None, typer.Option("--types", "-t", metavar="PER,ORG", help="Labels to extract, by name.")]
LabelsFile = Annotated[
    Path | None,
    typer.Option(
        "--labels", "-l", metavar="FILE", help="YAML file of labels: a list of names, or names with definitions."
    ),
]
Nested = Annotated[bool, typer.Option("--nested/--flat", help="Allow entities inside entities.")]
NestedAsGold = Annotated[
    bool | None,
    typer.Option("--nested/--flat", help="Allow entities inside entities.", show_default="as the gold data are"),
]
Depth = Annotated[
    int | None, typer.Option(min=1, max=16, help="How deep nested entities may nest (with --nested).", show_default="4")
]
ModelReference = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL",
        envvar="GENNER_MODEL",
        help="GGUF file, or Hub reference owner/name:file.gguf from the local cache.",
        show_default="the bundled model",
    ),
]
AdapterReference = Annotated[
    str | None,
    typer.Option("--adapter", metavar="ADAPTER", help="Adapter GGUF to apply to the model, named like a model."),
]
Download = Annotated[bool, typer.Option("--download", help="Fetch a Hub model that is not in the local cache.")]
DownloadBase = Annotated[bool, typer.Option("--download", help="Fetch a base model that is not in the local cache.")]
Format = Annotated[FormatName | None, typer.Option(help="Output format.", show_default="the model's own")]
Held = Annotated[Constraint, typer.Option(help="Hold completions to format and source text, the format, or nothing.")]
TextField = Annotated[str, typer.Option(help="Field that holds the text.")]
IdField = Annotated[str, typer.Option(help="Field that holds the id.")]
MaxDocumentBytes = Annotated[int, typer.Option(min=1, help="A longer line or text becomes an error record.")]
ChunkBytes = Annotated[
    int | None,
    typer.Option("--chunk", min=64, help="Longest piece of text, in UTF-8 bytes.", show_default="the model's own"),
]
OverlapBytes = Annotated[
    int | None,
    typer.Option("--overlap", min=0, help="Context beside a chunk, in UTF-8 bytes.", show_default="chunk / 8"),
]
ContextTokens = Annotated[
    int, typer.Option("--context", min=SMALLEST_CONTEXT, help="Tokens that all slots hold together.")
]
BatchTokens = Annotated[int, typer.Option("--batch", min=32, help="Most tokens of one decoding step.")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads.", show_default="all cores")]
Slots = Annotated[
    int, typer.Option(min=1, max=MOST_SLOTS, help="Most texts that run side by side; fewer do where that is faster.")
]
CalibrationFile = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="What `genner calibrate` wrote.", show_default="the one beside the model"),
]
Uncalibrated = Annotated[bool, typer.Option("--no-calibration", help="Obey no calibration: all entities, raw scores.")]
GoldFiles = Annotated[
    list[str], typer.Argument(metavar="GOLD...", help="Labelled JSONL files (also .gz, .zst), or globs.")
]
Restart = Annotated[bool, typer.Option("--restart", help="Forget what an earlier run wrote to the output.")]
GpuLayers = Annotated[int, typer.Option(min=-1, help="Layers on a GPU; -1: all, where there is one.")]


def asked_labels(types: str | None, file: Path | None) -> tuple[Label, ...] | None:
    """The labels of --types or --labels; None if neither is given."""
    from genner_cli.files.labels import parse_types, read_labels

    if types is not None and file is not None:
        raise UsageError("--types and --labels both name the labels; give one of them")
    if types is not None:
        return tuple(parse_types(types))
    return tuple(read_labels(str(file))) if file is not None else None


def nesting(nested: bool, depth: int | None) -> int:
    """The depth that --nested and --depth ask for; 1 is flat."""
    from genner_cli.formats import DEFAULT_DEPTH

    if depth is not None and not nested:
        raise UsageError("--depth needs --nested")
    return (depth or DEFAULT_DEPTH) if nested else 1


def obeyed(calibration: str | None, no_calibration: bool) -> bool:
    """Whether a calibration is to be obeyed, the one named or the one beside the model."""
    if calibration and no_calibration:
        raise UsageError("--calibration and --no-calibration contradict each other; give one of them")
    return not no_calibration
