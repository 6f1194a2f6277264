"""The header of a GGUF -> what the file is, and what it says of itself: labels, prompt, format, provenance.

Knows nothing of weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from genner_cli.engine.adapter import WEIGHTS_HASH
from genner_cli.engine.gguf_header import Header
from genner_cli.errors import ModelError
from genner_cli.files.calibrations import calibration_of, calibration_path, read_own_value, read_value
from genner_cli.plurals import size_text
from genner_cli.prompting import VERSION_KEY, Instructions
from genner_cli.provenance import Provenance


def described(path: Path, header: Header) -> dict[str, Any]:
    """As a JSON value; None where the file does not say. `path`: of the file with this header."""
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
        "calibration_file": _calibration_file(calibration_path([path])),
    }


def _calibration_file(path: Path) -> dict[str, Any] | None:
    """What `genner calibrate` wrote beside the model. Raises ModelError where it is broken."""
    if not path.exists():
        return None
    value = read_value(path)
    return {"file": str(path), **{key: value.get(key, []) for key in ("map", "thresholds", "labels")}}


def _lora(header: Header) -> dict[str, Any] | None:
    ranks = {tensor.shape[-1] for name, tensor in header.tensors.items() if name.endswith(".lora_a") and tensor.shape}
    if not ranks:
        return None
    return {"ranks": sorted(ranks), "alpha": header.metadata.get("adapter.lora.alpha")}


def _genner(pairs: Mapping[str, str]) -> dict[str, Any]:
    """Instructions and provenance, or why they cannot be read."""
    try:
        instructions, provenance = Instructions.from_metadata(pairs), Provenance.from_metadata(pairs)
        calibration = read_own_value(pairs)
    except ModelError as error:
        return {"instructions": None, "provenance": None, "problem": str(error)}
    value = instructions and {
        "prompt_version": int(pairs[VERSION_KEY]),
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


def lines_of(found: Mapping[str, Any]) -> Iterator[str]:
    """What `described` gives, for people to read."""
    rows = [*_file_rows(found), *_training_rows(found["provenance"]), *_instruction_rows(found["instructions"])]
    if beside := found["calibration_file"]:
        rows.append(("calibrated by", f"{beside['file']}: {_kept(beside)}"))
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
    file = f"file with SHA-256 {made['base_file']}, " if made["base_file"] else ""
    yield "base", f"{made['base']}, {file}weights with SHA-256 {made['base_hash']}"
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
        yield "calibrated", _kept(instructions["calibration"])


def _kept(value: Mapping[str, Any]) -> str:
    """For which labels, and from which scores on, as they stand in the output."""
    calibration = calibration_of(value)
    labels = ", ".join(calibration.labels)
    alone = f"where only {labels} are asked for, " * bool(labels)
    kept = (f"{label} from {calibration.map(score):.2f}" for label, score in calibration.thresholds.items())
    return f"{alone}kept by score: {', '.join(kept) or 'all'} (--no-calibration: all, with raw scores)"


def _number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int | float) else str(value)
