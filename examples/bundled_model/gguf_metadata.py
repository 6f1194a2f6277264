"""A GGUF with other pairs of metadata; all else stays as it is, the tensors bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from gguf import GGUFReader, GGUFValueType, GGUFWriter

from genner_cli.files.whole import whole


def with_pairs(path: Path, pairs: Mapping[str, str]) -> None:
    """Adds text pairs to a GGUF in place, or replaces those of the same keys."""
    reader = GGUFReader(path)
    kept = {key: field for key, field in reader.fields.items() if not key.startswith("GGUF.") and key not in pairs}
    architecture = kept.pop("general.architecture").contents()
    with whole(path) as partial, closing(GGUFWriter(partial, architecture)) as writer:
        for key, field in kept.items():
            items = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
            writer.add_key_value(key, field.contents(), field.types[0], sub_type=items)
        for key, text in pairs.items():
            writer.add_key_value(key, text, GGUFValueType.STRING)
        for tensor in reader.tensors:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
