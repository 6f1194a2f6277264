"""The header of a GGUF -> what the file is, and what it says of itself: labels, prompt, format, provenance.

Knows nothing of weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from genner_cli.engine.adapter import WEIGHTS_HASH
from genner_cli.engine.gguf_header import Header
from genner_cli.errors import ModelError
from genner_cli.files.calibrations import read_own_value
from genner_cli.prompting import Instructions
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
    }


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
