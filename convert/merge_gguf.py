"""A model's GGUF, in whatever quantization, and an adapter GGUF on it -> the GGUF of one model in F16.

Needs numpy and the gguf package alone, so that a machine without torch can do it. Each changed weight is computed in
F32 and rounded once. Source of layout and formula: llama.cpp's llama-adapter.cpp (`w + alpha / rank * b @ a`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter, LlamaFileType
from numpy.typing import NDArray

from convert.gguf_numbers import numbers_of
from genner_cli.engine.adapter import EMBEDDINGS, WEIGHTS_HASH, metadata_of, refuse_misfit
from genner_cli.engine.gguf_header import Header, TensorInfo, read_header
from genner_cli.errors import ModelError
from genner_cli.files.whole import whole

_ABOUT = ("general.name", "general.license", "general.description")
"""Keys of what an adapter may say of the merged model in the base's place."""
_WRITTEN_ANEW = ("general.file_type", "general.quantization_version", WEIGHTS_HASH)
_REMEDY = "give a model in F32, F16, BF16 or a type that the gguf package reads (Q4_0 to Q8_0, K-quants, IQ4)"


def merge_gguf(base: Path, adapter: Path, out: Path) -> Path:
    """Writes `out`: the base's weights with the adapter's change in them, matrices in F16, vectors in F32.

    Tokenizer and template are the base's; what the adapter says of itself as genner's goes before what the base says.
    Raises ModelError where the adapter does not fit the base, and where a tensor cannot be read or does not fit into
    F16.
    """
    model, change = read_header(base), read_header(adapter)
    refuse_misfit(adapter, change, base, model)
    merged = _Merged(base, model, adapter, change)
    with whole(out) as partial, closing(GGUFWriter(partial, str(model.metadata["general.architecture"]))) as writer:
        _write_metadata(writer, merged)
        for name, tensor in model.tensors.items():
            kind = GGMLQuantizationType.F32 if len(tensor.shape) == 1 else GGMLQuantizationType.F16
            size = tensor.numbers * (4 if kind is GGMLQuantizationType.F32 else 2)
            shape = tuple(reversed(tensor.shape))
            writer.add_tensor_info(name, shape, np.dtype(np.float32), size, raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for values in merged.tensors():
            writer.write_tensor_data(values)
    return out


def _write_metadata(writer: GGUFWriter, merged: _Merged) -> None:
    """The base's pairs in their own types, then genner's of the adapter and _ABOUT, which are strings."""
    own = metadata_of(merged.model.metadata, merged.change.metadata)
    said = {key: value for key, value in merged.change.metadata.items() if key.startswith("genner.") or key in _ABOUT}
    for field in GGUFReader(merged.base).fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture" or field.name in _WRITTEN_ANEW:
            continue
        if field.name in own and field.name not in said:
            items = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
            writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=items)
    for key, value in said.items():
        writer.add_key_value(key, value, GGUFValueType.STRING)
    writer.add_file_type(LlamaFileType.MOSTLY_F16)


@dataclass(frozen=True, slots=True)
class _Merged:
    """The two files and their headers."""

    base: Path
    model: Header
    adapter: Path
    change: Header

    def tensors(self) -> Iterator[NDArray[np.generic]]:
        """The values of each tensor, in the base's order: [rows, numbers of a row] in F16, vectors in F32."""
        for name, tensor in self.model.tensors.items():
            values = self._read(self.base, name, tensor)
            if f"{name}.lora_a" in self.change.tensors:
                values = values + self._change(name)
            if len(tensor.shape) == 1:
                yield values.reshape(-1)
                continue
            with np.errstate(over="ignore"):
                rounded = values.astype(np.float16)
            if not np.isfinite(rounded).all():
                raise ModelError(f"{name} does not fit into F16 with the adapter's change in it; train again")
            yield rounded

    def _change(self, name: str) -> NDArray[np.float32]:
        """alpha / rank * b @ a, [rows, numbers of a row]; of an embedding, `a` has a row for each token."""
        a, b = (
            self._read(self.adapter, f"{name}.{half}", self.change.tensors[f"{name}.{half}"])
            for half in ("lora_a", "lora_b")
        )
        rank = b.shape[1]
        scaling = np.float32((self.change.metadata["adapter.lora.alpha"] or rank) / rank)
        changed: NDArray[np.float32] = scaling * (a @ b.T if name == EMBEDDINGS else b @ a)
        return changed

    def _read(self, path: Path, name: str, tensor: TensorInfo) -> NDArray[np.float32]:
        values = numbers_of(path, tensor)
        if values is None:
            raise ModelError(f"{path}: {name} is stored as {tensor.kind_name}, which cannot be read; {_REMEDY}")
        return values
