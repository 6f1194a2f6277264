"""How much a token's logits depend on what else is in the batch: the largest difference, in logits.

    python benchmarks/batch_noise.py [--model FILE] [--threads N]

The same texts decoded alone and sixteen side by side, with and without flash attention.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from genner_cli import hub
from genner_cli.chunking import sentences
from genner_cli.engine.context import Context
from genner_cli.engine.model import Model
from genner_cli.generation import EngineOptions

NEWS = Path(__file__).parent.parent / "examples" / "news.jsonl"
SLOTS = 16


def last_logits(context: Context, prompts: list[list[int]], sequences: range) -> list[np.ndarray]:
    """Logits of each prompt's last token; all prompts in one batch, token by token like running slots."""
    found = []
    for position in range(max(map(len, prompts))):
        ending = []
        for prompt, sequence in zip(prompts, sequences, strict=True):
            if position < len(prompt):
                context.add(prompt[position], position, sequence, output=True)
                ending.append((position + 1 == len(prompt), sequence))
        logits = context.decode()
        assert logits is not None
        found += [(sequence, logits[row].copy()) for row, (ends, sequence) in enumerate(ending) if ends]
    for sequence in sequences:
        context.forget(sequence)
    return [row for _, row in sorted(found, key=lambda pair: pair[0])]


def main() -> None:
    """Reads the command line and prints the noise of both settings."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    texts = [json.loads(line)["text"] for line in NEWS.read_text(encoding="utf-8").splitlines()]
    parts = [text[start:end] for text in texts for start, end in sentences(text)][:SLOTS]
    with Model(hub.resolve(args.model)) as model:
        prompts = [model.plain(part)[:60] for part in parts]
        for flash in (True, False):
            context = Context(model, EngineOptions(slots=SLOTS, flash_attention=flash), args.threads)
            together = last_logits(context, prompts, range(1, SLOTS + 1))
            alone = [last_logits(context, [prompt], range(1, 2))[0] for prompt in prompts]
            context.close()
            noise = max(float(np.abs(a - b).max()) for a, b in zip(together, alone, strict=True))
            spread = float(np.std(alone))
            print(
                f"flash attention {'on ' if flash else 'off'}: {noise:.4f} (standard deviation of logits {spread:.2f})"
            )


if __name__ == "__main__":
    main()
