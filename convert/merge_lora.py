"""A base model and an adapter on it -> the folder of one model, for transformers and for `hf_to_gguf`.

Goes from file to file of the base, one tensor in memory at a time. Knows nothing of architectures.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from convert.adapter import Adapter, Pair, read_adapter, refuse_other_base, refuse_tied
from convert.safetensors_writer import DTYPES, Entry, write_safetensors
from convert.tensors import text_name
from convert.transformers_folder import read_config
from genner_cli import hub
from genner_cli.errors import ModelError
from genner_cli.files.whole import whole_folder
from genner_cli.hub.references import INDEX
from genner_cli.provenance import MODEL_METADATA_FILE

OF_THE_BASE = ("config.json", "generation_config.json", INDEX)
OF_THE_ADAPTER = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "tokenizer.model",
    "vocab.json", "merges.txt", "chat_template.jinja", MODEL_METADATA_FILE,
)  # fmt: skip


def merge_lora(base: Path, adapter: Path, out: Path) -> Path:
    """Writes base + adapter to the folder `out`, in the base's files and number types.

    Every changed weight is computed in F32 and rounded once. Config from the base; tokenizer and genner.json from the
    adapter. Raises ModelError for a base that the adapter was not trained on and for an adapter that is not whole or
    that weights cannot express; UsageError where `out` is not empty.
    """
    change = read_adapter(adapter)
    refuse_tied(change, read_config(base))
    shards = [base / name for name in hub.weights_of(base)]
    _refuse_strangers(change, shards)
    refuse_other_base(change, base)
    with whole_folder(out) as partial:
        for shard in shards:
            _merge_file(shard, change, partial / shard.name)
        for folder, names in ((base, OF_THE_BASE), (adapter, OF_THE_ADAPTER)):
            for name in names:
                if (folder / name).is_file():
                    shutil.copyfile(folder / name, partial / name)
    return out


def _refuse_strangers(change: Adapter, shards: list[Path]) -> None:
    """Raises ModelError where the adapter changes what the base has not, or has in another shape."""
    shapes = {text_name(entry.name): entry.shape for shard in shards for entry in _entries(shard)}
    wanted = {
        **{name: tuple(value.shape) for name, value in change.replaced.items()},
        **{name: pair.shape for name, pair in change.pairs.items()},
    }
    for name, shape in sorted(wanted.items()):
        if shapes.get(name) != shape:
            has = f"has it as {shapes[name]}" if name in shapes else "has none of that name"
            raise ModelError(
                f"the adapter changes a {name} {shape}, and the base {has}; give the base that it was trained on"
            )


def _entries(shard: Path) -> list[Entry]:
    try:
        with safe_open(shard, framework="pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            found = [Entry(name, part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()]
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{shard} cannot be read ({error}); save the base there with save_pretrained") from error
    if strangers := [entry for entry in found if entry.dtype not in DTYPES]:
        raise ModelError(f"{shard}: {strangers[0].name} is {strangers[0].dtype}, not {', '.join(DTYPES)}; give another")
    return found


def _merge_file(shard: Path, change: Adapter, out: Path) -> None:
    with safe_open(shard, framework="pt") as file:
        write_safetensors(out, _entries(shard), lambda entry: _merged(entry, file.get_tensor(entry.name), change))


def _merged(entry: Entry, value: torch.Tensor, change: Adapter) -> torch.Tensor:
    """The new value, in the old one's number type."""
    name = text_name(entry.name) or entry.name
    value = change.replaced.get(name, value)
    if name in change.pairs:
        value = _added(value, change.pairs[name])
    value = value.to(DTYPES[entry.dtype])
    if name in change.names and not torch.stack(torch.aminmax(value)).isfinite().all():
        raise ModelError(f"{entry.name} is not finite everywhere in {entry.dtype} once merged; train again")
    return value


def _added(value: torch.Tensor, pair: Pair) -> torch.Tensor:
    a, b = pair.a.float(), pair.b.float()
    left, right = (a.T, b.T) if pair.embedding else (b, a)
    return value.to(torch.float32, copy=True).addmm_(left, right, alpha=pair.scaling)
