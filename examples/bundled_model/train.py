"""Trains the bundled model; run again after an interruption, it resumes.

    python train.py --ner DIR --plain DIR --silver FILE -o runs/bundled

Writes a transformers model with its tokenizer and `genner.json` to OUT/model.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch
import zstandard
from corpora import LONGEST_TEXT, TOGETHER, known_labels
from drawing import Drawing, batches
from embeddings import embeddings
from make_tokenizer import PROMPT, make_tokenizer
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from genner_cli.formats import DEFAULT_DEPTH
from genner_cli.prompting import Instructions
from genner_cli.training.loop import Loop, LoopOptions
from genner_cli.training.loss import Objective
from genner_cli.training.options import Loss
from genner_cli.training.processes import Processes, processes

TOKENIZER = Path(__file__).parent / "tokenizer"
FORMAT = "inserted"
STEPS = 2_600
BATCHES = 2  # a step, one for each of two processes
BATCH_TOKENS = 4_000
LONGEST = 4_096  # tokens of an example: the model's context
OBJECTIVE = Objective(Loss.LOCKED, opening_weight=2.0)  # with 1, precision is twice the recall
RATE, MUON_RATE = 1.4e-3, 0.02  # at their highest
SNAPSHOT = 500  # steps; for curve.py
LONGEST_PLAIN = 3_000

INSTRUCTIONS = Instructions(
    prompt=PROMPT,
    format=FORMAT,
    depth=DEFAULT_DEPTH,
    labels=known_labels(),
    default_labels=("PER", "ORG", "LOC"),
    chunk_bytes=LONGEST_TEXT,
    together=TOGETHER,
    open_labels=True,
)


def new_model(tokenizer: PreTrainedTokenizerFast, layers: int, width: int) -> LlamaForCausalLM:
    """A Llama decoder with random weights."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=3 * width, num_hidden_layers=layers,
        num_attention_heads=width // 64, num_key_value_heads=max(1, width // 128), head_dim=64,
        max_position_embeddings=4096, tie_word_embeddings=True, bos_token_id=None, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id, attn_implementation="eager",  # short rows on a CPU: a fifth faster
    )  # fmt: skip
    return LlamaForCausalLM(config)


def optimizers(model: LlamaForCausalLM) -> list[torch.optim.Optimizer]:
    """Muon for the layers' matrices, AdamW for embeddings and norms."""
    matrices = [value for name, value in model.named_parameters() if value.dim() == 2 and "embed" not in name]
    others = [value for name, value in model.named_parameters() if value.dim() != 2 or "embed" in name]
    return [
        torch.optim.Muon(matrices, lr=MUON_RATE, weight_decay=0.05),
        torch.optim.AdamW(others, lr=RATE, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def main() -> None:
    """Reads the command line and trains."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ner", type=Path, required=True)
    parser.add_argument("--plain", type=Path, required=True)
    parser.add_argument("--silver", type=Path, required=True)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--embeddings", choices=("counts", "random"), default="counts")
    parser.add_argument("--text-weight", type=float, default=OBJECTIVE.text_weight)
    parser.add_argument("--bfloat16", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    with processes(torch.device("cpu")) as joined:
        train(args, joined)


def train(args: argparse.Namespace, joined: Processes) -> None:
    """Trains in one process or in several."""
    if not TOKENIZER.exists():
        joined.first_only(lambda: make_tokenizer(args.ner, args.plain).save_pretrained(TOKENIZER))
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    model = new_model(tokenizer, args.layers, args.width)
    if args.embeddings == "counts":
        counted = args.out / "embeddings.safetensors"
        joined.first_only(lambda: count_embeddings(model.config.hidden_size, tokenizer, args.plain, counted))
        with torch.no_grad():
            model.get_input_embeddings().weight.copy_(load_file(counted)["embeddings"])
    options = LoopOptions(args.steps, learning_rate=RATE, warm_up=60 / args.steps, bfloat16=args.bfloat16)

    def report(line: Mapping[str, float]) -> None:
        print(line, flush=True)
        if line["step"] % SNAPSHOT == 0:
            save(model, tokenizer, args.out / f"model-{line['step']}")

    log = args.out / "training_log.jsonl"
    loop = Loop(
        model,
        replace(OBJECTIVE, text_weight=args.text_weight),
        options,
        args.out / "checkpoint",
        log=log,
        report=report,
        processes=joined,
        optimizers=optimizers(model),
    )
    drawing = Drawing(args.ner, args.silver, TOKENIZER, INSTRUCTIONS, BATCHES, BATCH_TOKENS, LONGEST)
    with batches(drawing) as batch_of:
        loop.run(batch_of)
    joined.first_only(lambda: save(model, tokenizer, args.out / "model"))


def count_embeddings(width: int, tokenizer: PreTrainedTokenizerFast, plain: Path, out: Path) -> None:
    """Writes the embeddings that the plain texts say, once."""
    if not out.exists():
        save_file({"embeddings": embeddings(plain_texts(plain), tokenizer, width)}, out)


def plain_texts(folder: Path) -> Iterator[str]:
    """The texts, a part of each long one."""
    for path in sorted(folder.glob("*.jsonl.zst")):
        with zstandard.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)["text"][:LONGEST_PLAIN]


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """A transformers folder with what genner needs to know of the model."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "genner.json").write_text(json.dumps(INSTRUCTIONS.to_metadata(), indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
