"""Token ids -> their logits, from a folder as transformers computes them on the CPU, as exactly as it can.

Knows nothing of text and of where the model comes from.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from convert.logits import Logits
from convert.transformers_folder import Weights
from genner_cli.engine.model import free_memory
from genner_cli.errors import ModelError
from genner_cli.files.hashing import weight_files
from genner_cli.training.quiet import quiet
from genner_cli.training.virtual_tokens import inputs, set_virtual_tokens


def reference_logits(
    folder: Path, sequences: Sequence[Sequence[int]], *, virtual: torch.Tensor | None = None
) -> tuple[list[Logits], str]:
    """Logits [tokens, vocabulary] of each sequence, and the number type they were computed in.

    Computed on the CPU in F32, with attention written out; in the folder's own type where F32 does not fit into memory.
    `virtual`: embeddings (tokens, width) that the ids -1, -2 and so on stand for. Raises ModelError where not even that
    does, and where the model cannot be opened.
    """
    with _opened(folder, _number_type(folder)) as model:
        if virtual is not None:
            set_virtual_tokens(model, virtual)
        found = [_logits(model, sequence) for sequence in sequences]
        name = str(model.dtype).removeprefix("torch.")
    gc.collect()
    return found, name


def _number_type(folder: Path) -> torch.dtype | str:
    stored, free = sum(path.stat().st_size for path in weight_files(folder)), free_memory()
    if free is None or stored * (1 if Weights(folder).number == "F32" else 2) <= free:
        return torch.float32
    if stored <= free:
        return "auto"
    raise ModelError(
        f"{folder}: to be compared with, the model takes {stored / 2**30:.1f} GiB of memory, and {free / 2**30:.1f} GiB"
        " are free; export on a larger machine, or without the checks (--no-verify)"
    )


@contextmanager
def _opened(folder: Path, number: torch.dtype | str) -> Iterator[Any]:
    """The model, in evaluation mode."""
    from transformers import AutoModelForCausalLM

    from genner_cli.training.tokens import DATA_ONLY

    try:
        with quiet():
            model = AutoModelForCausalLM.from_pretrained(
                folder, dtype=number, attn_implementation="eager", use_safetensors=True, **DATA_ONLY
            )
        yield model.eval()
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"{folder}: transformers cannot run the model ({error}); save it there again") from error


def _logits(model: Any, ids: Sequence[int]) -> Logits:
    with torch.inference_mode():
        output = model(**inputs(model, torch.tensor([list(ids)])), use_cache=False).logits[0]
    numbers: Logits = output.float().numpy()
    return numbers
