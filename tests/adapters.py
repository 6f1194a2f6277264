"""Adapters of random numbers on small models, as training leaves them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from genner_cli.files.hashing import hash_files, weight_files
from genner_cli.provenance import Provenance

LINEAR = r".*\.(q|k|v|o|qkv|gate|up|gate_up|down)_proj|.*\.(input|output)_linear"


def provenance(base: Path, reference: str = "my/base") -> dict[str, str]:
    """What an adapter says of the base that it was trained on."""
    return Provenance(reference, hash_files(weight_files(base)), "0" * 64, {"rank": 4}, {"peft": "1"}).to_metadata()


def adapted(model: PreTrainedModel, *, size: float = 0.5, **options: Any) -> PeftModel:
    """The model with a random adapter that is applied as it runs; what is replaced is changed too."""
    config = LoraConfig(**{"r": 4, "lora_alpha": 6, "target_modules": LINEAR, **options})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers by an old name
        changed = get_peft_model(deepcopy(model), config).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, value in changed.named_parameters():
            if "lora_" in name:
                value.normal_(0, size / value.shape[-1] ** 0.5, generator=generator)
            elif value.requires_grad:
                value.add_(torch.empty_like(value).normal_(0, size / 10, generator=generator))
    return changed


def save_adapter(
    changed: PeftModel,
    tokenizer: PreTrainedTokenizerFast,
    base: Path,
    folder: Path,
    metadata: Mapping[str, str] = {},
    reference: str = "my/base",
) -> Path:
    """The folder of an adapter whose training has ended."""
    changed.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    pairs = {**metadata, **provenance(base, reference)}
    (folder / "genner.json").write_text(json.dumps(pairs, ensure_ascii=False), encoding="utf-8")
    return folder
