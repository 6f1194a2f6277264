"""Trains the bundled model from random weights; run again after a break, it goes on where it was.

    python train.py --ner DIR --plain DIR -o runs/bundled

Writes a transformers model with its tokenizer and `genner.json` to OUT/model.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

import torch
from corpora import CORPORA, LABELS, LONGEST_TEXT, Mix
from make_tokenizer import PROMPT, make_tokenizer
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from genner_cli.errors import DataError
from genner_cli.formats.carriable import DEFAULT_DEPTH
from genner_cli.prompting import Instructions
from genner_cli.training.examples import Example, encode
from genner_cli.training.loop import Loop, LoopOptions
from genner_cli.training.loss import Objective
from genner_cli.training.options import Loss
from genner_cli.training.packing import Pack
from genner_cli.training.tokens import Tokens
from genner_cli.types import Label

TOKENIZER = Path(__file__).parent / "tokenizer"
FORMAT = "inserted"
BATCH_TOKENS = 4_000
OBJECTIVE = Objective(Loss.LOCKED, text_weight=0.1, opening_weight=2.0)  # with 1, precision is twice the recall
POOL = 8  # batches that are drawn together and grouped by length

INSTRUCTIONS = Instructions(
    prompt=PROMPT,
    format=FORMAT,
    depth=DEFAULT_DEPTH,
    labels=tuple(Label(name, definition) for name, definition in LABELS.items()),
    default_labels=("PER", "ORG", "LOC"),
    chunk_bytes=LONGEST_TEXT,
)


def new_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A Llama decoder of 7.9 million parameters with random weights."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=256, intermediate_size=768, num_hidden_layers=6,
        num_attention_heads=4, num_key_value_heads=2, head_dim=64, max_position_embeddings=4096,
        tie_word_embeddings=True, bos_token_id=None, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    return LlamaForCausalLM(config)


class Batches:
    """The batch of any step, the same in every run."""

    def __init__(self, mix: Mix, tokens: Tokens) -> None:
        self.mix = mix
        self.tokens = tokens
        self._pool: tuple[int, list[Pack]] = (-1, [])

    def __call__(self, step: int) -> list[Pack]:
        if self._pool[0] != step // POOL:
            self._pool = (step // POOL, self._draw(random.Random(step // POOL)))
        return [self._pool[1][step % POOL]]

    def _draw(self, rng: random.Random) -> list[Pack]:
        examples: list[Example] = []
        size = 0
        while size < POOL * BATCH_TOKENS:
            try:
                example = encode(self.mix.draw(rng), self.tokens, PROMPT, FORMAT, DEFAULT_DEPTH)
            except DataError:
                continue  # an entity begins or ends inside a token: 2 of 2,000 samples
            examples.append(example)
            size += len(example.ids)
        groups: list[list[Example]] = [[] for _ in range(POOL)]
        filled, share = 0, size / POOL
        for example in sorted(examples, key=lambda e: len(e.ids)):
            groups[min(POOL - 1, int(filled / share))].append(example)
            filled += len(example.ids)
        batches = [Pack(tuple(((example,),) for example in group)) for group in groups]
        rng.shuffle(batches)
        return batches


def main() -> None:
    """Reads the command line and trains."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ner", type=Path, required=True)
    parser.add_argument("--plain", type=Path, required=True)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=2600)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--bfloat16", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if not TOKENIZER.exists():
        make_tokenizer(args.ner, args.plain).save_pretrained(TOKENIZER)
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    model = new_model(tokenizer)
    print(f"{model.num_parameters():,} parameters, corpora {', '.join(CORPORA)}", flush=True)
    options = LoopOptions(
        args.steps, learning_rate=1e-3, warm_up=100 / args.steps, weight_decay=0.05, beta=0.98, bfloat16=args.bfloat16
    )
    log, report = args.out / "training_log.jsonl", lambda line: print(line, flush=True)
    loop = Loop(model, OBJECTIVE, options, args.out / "checkpoint", log=log, report=report)
    loop.run(Batches(Mix(args.ner), Tokens(tokenizer)))
    model.save_pretrained(args.out / "model")
    tokenizer.save_pretrained(args.out / "model")
    (args.out / "model" / "genner.json").write_text(
        json.dumps(INSTRUCTIONS.to_metadata(), indent=2, ensure_ascii=False)
    )


if __name__ == "__main__":
    main()
