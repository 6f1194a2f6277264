"""An adapter folder, as training leaves it -> which weights of its base it changes, and how.

What cannot be put into weights exactly is refused. Source of names and formulas: peft's LoRA layers (tuners/lora).
Knows nothing of where the change is written to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from convert.tensors import text_name
from convert.transformers_folder import read_model_metadata, read_object
from genner_cli.errors import ModelError
from genner_cli.files.hashing import hash_files, weight_files
from genner_cli.hub import weights_remedy
from genner_cli.provenance import MODEL_METADATA_FILE, Provenance

MODULES = "base_model.model."
REMEDY = "train again with plain LoRA on linear layers"
ENDS = {".lora_A.weight": "a", ".lora_B.weight": "b", ".lora_embedding_A": "a", ".lora_embedding_B": "b"}
# what changes nothing in how A and B become a change of the weights, whatever its value
_HARMLESS = {
    "peft_type", "task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode",
    "r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern", "lora_dropout", "bias", "init_lora_weights",
    "target_modules", "exclude_modules", "modules_to_save", "layers_to_transform", "layers_pattern",
    "ensure_weight_tying", "megatron_core", "loftq_config", "eva_config", "qalora_group_size", "runtime_config",
}  # fmt: skip
_KEEPING_THE_BASE = (True, False, "gaussian", "eva", "orthogonal")


@dataclass(frozen=True, slots=True)
class Pair:
    """The change `scaling * b @ a` of a weight [out, in]: a [rank, in], b [out, rank].

    Of an embedding [tokens, width] it is the transposed of that: a [rank, tokens], b [width, rank].
    """

    a: torch.Tensor
    b: torch.Tensor
    scaling: float
    embedding: bool = False

    @property
    def rank(self) -> int:
        """The inner dimension."""
        return int(self.a.shape[0])

    @property
    def shape(self) -> tuple[int, int]:
        """The weight's shape."""
        rows, columns = int(self.b.shape[0]), int(self.a.shape[1])
        return (columns, rows) if self.embedding else (rows, columns)


@dataclass(frozen=True, slots=True)
class Adapter:
    """`pairs` and `replaced` (whole new values) by the names of the weights that they change; `metadata` are the
    pairs of genner.json."""

    folder: Path
    pairs: Mapping[str, Pair]
    replaced: Mapping[str, torch.Tensor]
    metadata: Mapping[str, str]

    @property
    def names(self) -> set[str]:
        """Of all weights that it changes."""
        return {*self.pairs, *self.replaced}


def read_adapter(folder: Path) -> Adapter:
    """Raises ModelError where the folder is not whole or broken, or holds more than plain LoRA and whole weights."""
    if not (folder / MODEL_METADATA_FILE).is_file():
        raise ModelError(
            f"{folder} has no {MODEL_METADATA_FILE}: its training has not ended; end it with genner train --resume"
        )
    config = read_object(folder / "adapter_config.json")
    _refuse_unsupported(config)
    halves: dict[str, dict[str, torch.Tensor]] = {}
    replaced: dict[str, torch.Tensor] = {}
    for name, value in _read(folder / "adapter_model.safetensors").items():
        module = name.removeprefix(MODULES)
        end = next((end for end in ENDS if module.endswith(end)), None)
        if end:
            halves.setdefault(module.removesuffix(end), {})[end] = value
        else:
            replaced[_in_text(module.replace(".base_layer.", "."))] = value
    pairs = {_in_text(f"{module}.weight"): _pair(module, ends, config) for module, ends in halves.items()}
    return Adapter(folder, pairs, replaced, read_model_metadata(folder))


def _refuse_unsupported(config: Mapping[str, Any]) -> None:
    found = [key for key, value in config.items() if value and key not in _HARMLESS]
    if config.get("peft_type") != "LORA":
        found.insert(0, f"peft_type {config.get('peft_type')!r}")
    if (start := config.get("init_lora_weights", True)) not in _KEEPING_THE_BASE:
        found.append(f"init_lora_weights {start!r}, which changes the base")
    if found:
        raise ModelError(f"adapter_config.json: not supported: {', '.join(found)}; {REMEDY}")


def _read(path: Path) -> dict[str, torch.Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        remedy = "train again" if path.exists() else weights_remedy(path.parent)
        raise ModelError(f"{path} cannot be read ({error}); {remedy}") from error


def _in_text(name: str) -> str:
    found = text_name(name)
    if found is None:
        raise ModelError(f"the adapter changes {name}, which is not part of a text model; {REMEDY}")
    return found


def _pair(module: str, ends: Mapping[str, torch.Tensor], config: Mapping[str, Any]) -> Pair:
    halves = {ENDS[end]: value for end, value in ends.items()}
    if len(ends) != 2 or len(halves) != 2 or any(value.dim() != 2 for value in halves.values()):
        raise ModelError(f"the adapter's {module} is not a pair of matrices A and B ({', '.join(ends)}); {REMEDY}")
    patterns = (config.get("alpha_pattern") or {}).items()
    of_module = (alpha for pattern, alpha in patterns if re.match(rf"(.*\.)?({pattern})$", module))
    alpha = next(of_module, config.get("lora_alpha"))
    if not isinstance(alpha, int | float):
        raise ModelError(f"adapter_config.json: lora_alpha is {alpha!r} and no number; {REMEDY}")
    rank = halves["a"].shape[0]
    scaling = alpha / (rank**0.5 if config.get("use_rslora") else rank)
    return Pair(halves["a"], halves["b"], scaling, embedding=".lora_embedding_A" in ends)


def refuse_other_base(adapter: Adapter, base: Path) -> None:
    """Raises ModelError where the weights in `base` are not those that the adapter was trained on (SHA-256)."""
    provenance = Provenance.from_metadata(adapter.metadata)
    if provenance is None:
        raise ModelError(f"{adapter.folder / MODEL_METADATA_FILE} names no base; train again")
    if (found := hash_files(weight_files(base))) != provenance.base_hash:
        raise ModelError(
            f"{adapter.folder} was trained on {provenance.base!r} (SHA-256 {provenance.base_hash[:12]}), and the"
            f" weights in {base} are others (SHA-256 {found[:12]}); give the base that it was trained on"
        )


def refuse_tied(adapter: Adapter, config: Mapping[str, Any]) -> None:
    """Raises ModelError where the adapter changes one of two matrices that are one in the model."""
    ends = adapter.names & {"model.embed_tokens.weight", "lm_head.weight"}
    if ends and config.get("tie_word_embeddings"):
        raise ModelError(f"the adapter changes {min(ends)}, which is embeddings and output matrix in one; {REMEDY}")
