"""Embeddings that stand at the end of the shared prefix in place of tokens (virtual tokens, arXiv 2405.19670).

A GGUF holds them as one tensor, in what its architecture takes in place of the rows that it looks up. Knows nothing of
llama.cpp's handles.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genner_cli.engine.adapter import EMBEDDINGS, REMEDY
from genner_cli.engine.gguf_header import Header
from genner_cli.errors import ModelError

KIND, TENSOR = "virtual-tokens", "virtual_tokens"
"""`adapter.type` of such a GGUF, and the name of its tensor, (width, tokens) with the innermost size first."""


def are_in(adapter: Header) -> bool:
    """Whether an adapter GGUF holds virtual tokens."""
    return adapter.metadata.get("adapter.type") == KIND


def refuse_width(path: Path, adapter: Header, base: Header) -> None:
    """Raises ModelError unless the GGUF holds one tensor of embeddings, in F32, of the base's width."""
    found = adapter.tensors.get(TENSOR)
    if found is None or len(adapter.tensors) != 1 or found.kind_name != "F32" or len(found.shape) != 2:
        raise ModelError(f"{path}: not one tensor {TENSOR} of two dimensions in F32; export it again")
    width = base.tensors[EMBEDDINGS].shape[0] if EMBEDDINGS in base.tensors else None
    if found.shape[0] != width:
        raise ModelError(f"{path}: embeddings of {found.shape[0]} numbers, and the model's have {width}; {REMEDY}")


def read_virtual_tokens(path: Path, adapter: Header, count: int | None = None) -> NDArray[np.float32]:
    """(tokens, width): the first `count`, None for all. Raises ModelError where there are fewer, or one is
    not finite."""
    info = adapter.tensors[TENSOR]
    width, tokens = info.shape
    if count is not None and count > tokens:
        raise ModelError(f"{path}: holds {tokens} virtual tokens, and {count} are asked for; ask for fewer")
    chosen = tokens if count is None else count
    rows = np.fromfile(path, "<f4", chosen * width, offset=info.offset).reshape(chosen, width)
    if not np.isfinite(rows).all():
        raise ModelError(f"{path}: an embedding is not finite; train again, and export it again")
    return rows.astype(np.float32)
