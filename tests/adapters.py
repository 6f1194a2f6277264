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
from small_bases import write_small_base
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from convert.gguf_to_hf import gguf_to_hf
from convert.hf_to_gguf import hf_to_gguf
from convert.lora_to_gguf import lora_to_gguf
from convert.quantize import quantize
from genner_cli.files.hashing import hash_files, weight_files
from genner_cli.prompting import Instructions, Prompt
from genner_cli.provenance import BASE_FILE, GGUF_SOURCE, Provenance
from genner_cli.types import Label

GOLD: tuple[tuple[str, dict[str, str]], ...] = (
    ("John Smith joined Acme in Berlin.", {"John Smith": "PER", "Acme": "ORG", "Berlin": "LOC"}),
    ("Angela Merkel met Emmanuel Macron.", {"Angela Merkel": "PER", "Emmanuel Macron": "PER"}),
    ("Zoë O’Neill left Siemens for Łódź — 北京市.", {"Zoë O’Neill": "PER", "Siemens": "ORG", "Łódź": "LOC"}),
    ("It rained.", {}),
    ("The United Nations sent Maria Lopez to Kenya.", {"Maria Lopez": "PER", "Kenya": "LOC"}),
)
INSTRUCTIONS = Instructions(
    Prompt("<|labels|>", "<|text|>", "<|entities|>"), "xml", 1, (Label("PER", "a person"), Label("ORG"), Label("LOC")),
    ("PER", "ORG", "LOC"), 200,
)  # fmt: skip
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


def gold_line(text: str, mentions: dict[str, str]) -> str:
    places = [(text.index(mention), mention, label) for mention, label in mentions.items()]
    entities = [{"start": at, "end": at + len(mention), "label": label} for at, mention, label in places]
    return json.dumps({"text": text, "entities": entities}, ensure_ascii=False) + "\n"


def write_gold(folder: Path) -> None:
    (folder / "verify.jsonl").write_text("".join(gold_line(*document) for document in GOLD), encoding="utf-8")


def trained_on_gguf(place: Path, reference: str | None = None) -> tuple[Path, Path]:
    """A quantized base without a word of genner's, and an adapter's GGUF that was trained on it and names it by the
    reference, or by its path."""
    unquantized = hf_to_gguf(write_small_base(place / "folder", words=False), place / "f32.gguf")
    base = quantize(unquantized, place / "base.gguf", "Q8_0")
    folder = gguf_to_hf(base, place / "read")
    model = adapted(AutoModelForCausalLM.from_pretrained(folder))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    said = json.loads((write_small_base(place / "said") / "genner.json").read_text())
    said = {key: value for key, value in said.items() if key.startswith("genner.") and ".base." not in key}
    source = json.loads((folder / GGUF_SOURCE).read_text())["sha256"]
    trained = {**said, BASE_FILE: source}
    adapter = save_adapter(model, tokenizer, folder, place / "adapter", trained, reference or str(base))
    return base, lora_to_gguf(adapter, folder, place / "adapter.gguf")
