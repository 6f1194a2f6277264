"""How far a GGUF's logits are from transformers', for a small random model of every architecture: a Markdown table.

The models are those of the tests (`tests/transformers_models.py`): every tensor random, logits with a standard
deviation of 2 and more. Compared by the check that `genner export` makes, with an F32 KV cache.

python benchmarks/parity.py
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from transformers_models import CASES, new_model, new_tokenizer, save, some_ids

from convert.hf_to_gguf import hf_to_gguf
from convert.parity import check_logits
from convert.probe import Example, Probe
from genner_cli.extraction import Task
from genner_cli.prompting import GENERAL_PROMPT
from genner_cli.training.tokens import Tokens

Number = Literal["f32", "f16", "bf16"]
NUMBERS: dict[Number, torch.dtype] = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


def main() -> None:
    """Prints a line for each architecture as soon as it is compared."""
    probe = Probe(Task((), GENERAL_PROMPT, "xml"), Tokens(new_tokenizer()), (), (Example("ids", tuple(some_ids())),))
    print("| model | std of logits |" + "".join(f" {dtype.upper()} largest difference | top-1 |" for dtype in NUMBERS))
    print("|---|---|" + "---|---|" * len(NUMBERS))
    for case in CASES:
        measured = [compare(case, dtype, probe) for dtype in NUMBERS]
        cells = (f"{found['largest_difference']:.1e} | {found['top_1_agreement']:.1%}" for found in measured)
        print(f"| {case} | {measured[0]['standard_deviation']:.1f} | {' | '.join(cells)} |", flush=True)


def compare(case: str, dtype: Number, probe: Probe) -> dict[str, Any]:
    """What the check measures, in standard deviations of the logits, on a model saved in this number type."""
    with TemporaryDirectory() as folder:
        model = new_model(case, dtype=NUMBERS[dtype]).to(NUMBERS[dtype])
        saved = save(model, new_tokenizer(), Path(folder))
        gguf = hf_to_gguf(saved, saved / "model.gguf", dtype=dtype)
        return check_logits(probe, saved, gguf, dtype=dtype, threads=1).measured


if __name__ == "__main__":
    main()
