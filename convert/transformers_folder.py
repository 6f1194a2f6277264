"""A folder written by save_pretrained -> its config as transformers reads it, its weights one by one, and genner.json.

The weights are memory-mapped. genner.json holds what the folder's GGUF will say in its metadata, as pairs of strings.
Knows nothing of what any of them mean (`prompting.Instructions`, `provenance.Provenance`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from genner_cli import hub
from genner_cli.errors import ModelError
from genner_cli.provenance import MODEL_METADATA_FILE

if TYPE_CHECKING:
    import torch

REMEDY = "give a folder written by save_pretrained"


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises ModelError where there is none."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise ModelError(f"{path} holds no JSON object ({error}); {REMEDY}") from error


def read_config(folder: Path) -> dict[str, Any]:
    """config.json with transformers' defaults for what it leaves out, and its RoPE in today's form.

    A model_type that transformers does not know is returned as it stands. Raises ModelError where transformers
    does not accept it.
    """
    from transformers import CONFIG_MAPPING, AutoConfig

    from genner_cli.training.tokens import DATA_ONLY

    config = read_object(folder / "config.json")
    if config.get("model_type") not in CONFIG_MAPPING:
        return config
    try:
        return dict(AutoConfig.from_pretrained(folder, **DATA_ONLY).to_dict())
    except Exception as error:  # transformers and huggingface_hub raise their own kinds
        raise ModelError(f"{folder / 'config.json'} is broken ({error}); {REMEDY}") from error


class Weights:
    """The tensors of all *.safetensors that belong to the model of a folder, by name."""

    def __init__(self, folder: Path) -> None:
        """Raises ModelError where a file is missing or broken."""
        files = [_open(folder / name) for name in hub.weights_of(folder)]
        self._files = {name: file for file in files for name in file.keys()}  # noqa: SIM118
        self.names = self._files.keys()

    @property
    def number(self) -> str:
        """The number type of the first matrix (F32, BF16 ...), which is that of all in all models but a few."""
        described = map(self.described, self.names)
        return next((kind for kind, shape in described if len(shape) > 1), "F32")

    def described(self, name: str) -> tuple[str, tuple[int, ...]]:
        """Number type (F32, BF16 ...) and shape."""
        stored = self._files[name].get_slice(name)
        return stored.get_dtype(), tuple(stored.get_shape())

    def read(self, name: str) -> torch.Tensor:
        """The tensor, in the number type that it is stored in."""
        value: torch.Tensor = self._files[name].get_tensor(name)
        return value


def _open(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} cannot be read ({error}); save the model there with save_pretrained") from error


RESERVED = {"general.architecture", "general.file_type", "general.alignment", "general.quantization_version"}


def read_model_metadata(folder: Path, more: Mapping[str, str] = {}) -> dict[str, str]:
    """The pairs of a folder, none where it has no genner.json; `more` adds to them and goes before them.

    Raises ModelError for a value that is not a string, and for keys that do not begin with `genner.` or `general.`.
    """
    path = folder / MODEL_METADATA_FILE
    pairs = {**(read_object(path) if path.exists() else {}), **more}
    for key, value in pairs.items():
        if key in RESERVED or not key.startswith(("genner.", "general.")) or not isinstance(value, str):
            raise ModelError(f"metadata {key!r}: {value!r} is refused; give strings under `genner.` or `general.`")
    return pairs
