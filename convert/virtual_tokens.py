"""A folder of virtual tokens, as training leaves it -> a GGUF of one tensor, for extract --adapter.

Training leaves what transformers takes as `inputs_embeds`, the GGUF holds what llama.cpp takes as `llama_batch.embd`.
Knows nothing of where they stand in a prompt.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import torch
from gguf import GGMLQuantizationType, GGUFType, GGUFValueType, GGUFWriter
from safetensors import SafetensorError
from safetensors.torch import load_file

from convert.adapter import Adapter, refuse_other_base
from convert.architectures import architecture
from convert.transformers_folder import read_config, read_model_metadata
from genner_cli.engine.virtual_tokens import KIND, TENSOR
from genner_cli.errors import ModelError
from genner_cli.files.whole import whole
from genner_cli.training.adapter_folder import PROMPT_EMBEDDINGS, WEIGHTS


def read_virtual_tokens(folder: Path) -> torch.Tensor:
    """(tokens, width) in F32. Raises ModelError where the folder is broken or a value is not finite."""
    path = folder / WEIGHTS
    try:
        rows = load_file(path)[PROMPT_EMBEDDINGS].float()
    except (OSError, SafetensorError, KeyError) as error:
        raise ModelError(f"{path} cannot be read ({error!r}); train again") from error
    if rows.dim() != 2 or not rows.isfinite().all():
        raise ModelError(f"{path}: embeddings are not a matrix of finite numbers; train again")
    return torch.as_tensor(rows)


def as_llama_takes_them(rows: torch.Tensor, model: str) -> torch.Tensor:
    """(tokens, width): llama.cpp multiplies embeddings of Gemma 2 by the root of their width even where they are given
    (models/gemma2.cpp), transformers only those that it looks up. Elsewhere both take the same, Gemma 3 included."""
    return rows / rows.shape[1] ** 0.5 if model == "gemma2" else rows


def tokens_to_gguf(folder: Path, base: Path, out: Path) -> Path:
    """Writes the embeddings in F32 with the pairs of genner.json. Raises ModelError for a base that they were not
    trained on."""
    pairs = read_model_metadata(folder)
    refuse_other_base(Adapter(folder, {}, {}, pairs), base)
    model = architecture(read_config(base)).name
    rows = as_llama_takes_them(read_virtual_tokens(folder), model)
    with whole(out) as partial, closing(GGUFWriter(partial, model)) as writer:
        writer.add_type(GGUFType.ADAPTER)
        writer.add_key_value("adapter.type", KIND, GGUFValueType.STRING)
        for key, value in pairs.items():
            writer.add_key_value(key, value, GGUFValueType.STRING)
        writer.add_tensor(TENSOR, rows.contiguous().numpy(), raw_dtype=GGMLQuantizationType.F32)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    return out
