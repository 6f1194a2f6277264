"""A base model small enough to be trained in a test: the short vocabulary and the bundled model's metadata on random
weights."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from short_vocabulary import END, write_short_tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

from genner_cli import hub
from genner_cli.engine.gguf_header import read_header
from genner_cli.files.calibrations import KEY
from genner_cli.prompting import GENERAL_PROMPT, Instructions


def write_small_base(folder: Path, *, words: bool = True) -> Path:
    """A folder as save_pretrained leaves it; without `words`, one that genner did not train."""
    folder.mkdir(parents=True, exist_ok=True)
    size = write_short_tokenizer(folder)
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=size, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=1024, tie_word_embeddings=True, bos_token_id=None, eos_token_id=END, pad_token_id=END,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    if words:
        metadata = read_header(hub.BUNDLED).metadata
        said = {key: value for key, value in metadata.items() if key.startswith("genner.") and key != KEY}
        (folder / "genner.json").write_text(json.dumps(said))
    return folder


def write_small_adapter(folder: Path) -> Path:
    """What an adapter's folder says of itself, without weights."""
    folder.mkdir()
    (folder / "genner.json").write_text(json.dumps(Instructions.untrained(GENERAL_PROMPT).to_metadata()))
    (folder / "adapter_config.json").write_text("{}")
    return folder


RECORDS = [
    {
        "id": str(number),
        "text": f"{person} went to {place} on day {number}.",
        "entities": [
            {"start": 0, "end": len(person), "label": "PER"},
            {"start": len(person) + 9, "end": len(person) + 9 + len(place), "label": "LOC"},
        ],
    }
    for number, (person, place) in enumerate(
        zip(
            ["Ann", "Zoë Miller", "Bob", "Dr. Li", "Eve", "O’Neill"] * 4,
            ["Rome", "New York", "Łódź", "Oslo"] * 6,
            strict=True,
        )
    )
]
"""Labelled documents of one sentence."""


def write_jsonl(path: Path, records: list[dict] = RECORDS) -> Path:  # type: ignore[type-arg]
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
    return path
