"""A base model small enough to be trained in a test: the bundled model's tokenizer and words on random weights."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from genner_cli import hub
from genner_cli.engine.model import Model
from genner_cli.files.calibrations import KEY

TOKENIZER = Path(__file__).parent.parent / "examples" / "bundled_model" / "tokenizer"


def write_small_base(folder: Path, *, words: bool = True) -> Path:
    """A folder as save_pretrained leaves it; without `words`, one that genner did not train."""
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=1024, tie_word_embeddings=True, bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if words:
        with Model(hub.BUNDLED, gpu_layers=0) as model:
            said = {key: value for key, value in model.metadata.items() if key != KEY}
            (folder / "genner.json").write_text(json.dumps(said))
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
