"""An adapter folder -> an adapter GGUF, which llama.cpp applies to the GGUF of the base as it runs.

Knows nothing of quantization: the base may be in any type. Layout: llama.cpp's llama-adapter.cpp.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import torch
from gguf import GGMLQuantizationType, GGUFType, GGUFValueType, GGUFWriter

from convert.adapter import Adapter, Pair, read_adapter, refuse_other_base, refuse_tied
from convert.architectures import Architecture, architecture
from convert.tensors import Tensor, text_name
from convert.transformers_folder import Weights, read_config, read_model_metadata
from genner_cli.errors import ModelError
from genner_cli.files.whole import whole

REMEDY = "export the merged model instead, without --adapter-only"
_KINDS = {
    torch.float32: GGMLQuantizationType.F32,
    torch.float16: GGMLQuantizationType.F16,
    torch.bfloat16: GGMLQuantizationType.BF16,
}


def lora_to_gguf(adapter: Path, base: Path, out: Path, *, metadata: Mapping[str, str] = {}) -> Path:
    """Writes the adapter in the number type that it is stored in, with the pairs of its genner.json.

    `metadata` adds to them and goes before them. Raises ModelError for a base that the adapter was not trained on, for
    an adapter that is not whole, and for one that llama.cpp cannot apply as it runs.
    """
    change, config = read_adapter(adapter), read_config(base)
    refuse_tied(change, config)
    model = architecture(config)
    _refuse_other_shapes(change, model)
    refuse_other_base(change, base)
    _refuse_replaced(change, Weights(base))
    pairs = read_model_metadata(adapter, metadata)
    alpha = next((pair.scaling * pair.rank for pair in change.pairs.values() if pair.scaling), 1.0)
    with whole(out) as partial, closing(GGUFWriter(partial, model.name)) as writer:
        writer.add_type(GGUFType.ADAPTER)
        writer.add_key_value("adapter.type", "lora", GGUFValueType.STRING)
        writer.add_key_value("adapter.lora.alpha", alpha, GGUFValueType.FLOAT32)
        for key, value in pairs.items():
            writer.add_key_value(key, value, GGUFValueType.STRING)
        for name, half in _tensors(change, model, alpha):
            raw = half.contiguous().view(torch.uint8).numpy()
            writer.add_tensor(name, raw, raw_dtype=_KINDS[half.dtype])
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    return out


def _refuse_replaced(change: Adapter, base: Weights) -> None:
    """What peft saves beside a pair on it (embeddings, output matrix) is the base's and replaces nothing."""
    names = {text_name(name): name for name in base.names}
    for name, value in sorted(change.replaced.items()):
        own = base.read(names[name]) if name in names else torch.empty(0)
        if not torch.equal(own, value.to(own.dtype)):
            raise ModelError(f"the adapter replaces {name}, which llama.cpp does not apply; {REMEDY}")


def _refuse_other_shapes(change: Adapter, model: Architecture) -> None:
    shapes = {tensor.source: tensor.shape for tensor in model.tensors}
    for name, pair in sorted(change.pairs.items()):
        if shapes.get(name) != pair.shape:
            raise ModelError(
                f"the adapter changes a {name} {pair.shape}, and a {model.name} model of this size has"
                f" {shapes.get(name, 'none of that name')}; give the base that it was trained on"
            )


def _tensors(change: Adapter, model: Architecture, alpha: float) -> Iterator[tuple[str, torch.Tensor]]:
    """Names and values of A and B for each weight of the GGUF that changes."""
    for tensor in model.tensors:
        if pair := change.pairs.get(tensor.source):
            a, b = _halves(pair, tensor, alpha)
            if not all(torch.stack(torch.aminmax(half)).isfinite().all() for half in (a, b)):
                raise ModelError(f"the adapter's {tensor.source} is not finite everywhere; train again")
            yield f"{tensor.name}.lora_a", a
            yield f"{tensor.name}.lora_b", b


def _halves(pair: Pair, tensor: Tensor, alpha: float) -> tuple[torch.Tensor, torch.Tensor]:
    """A and B as llama.cpp scales them, by alpha / rank for all weights; what differs from that goes into B."""
    factor = pair.scaling * pair.rank / alpha
    b = pair.b if factor == 1 else (pair.b.float() * factor).to(pair.b.dtype)
    return (pair.a.T, b) if pair.embedding else (pair.a, tensor.arranged(b))
