"""The header of an adapter GGUF beside that of the base: whether llama.cpp can apply the one to the other.

llama.cpp itself ends the process on some that it cannot apply, and leaves out parts of others without a word.
Knows nothing of llama.cpp's handles. Layout: llama-adapter.cpp.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genner_cli.engine.gguf_header import Header
from genner_cli.errors import ModelError
from genner_cli.files.hashing import hash_file
from genner_cli.provenance import BASE_FILE

log = logging.getLogger("genner")
OUTPUT, EMBEDDINGS = "output.weight", "token_embd.weight"
BASE_HASH, WEIGHTS_HASH = "genner.base.hash", "genner.weights.hash"
"""Keys of the hash of the weights that an adapter was trained on, and of those that a GGUF was converted from."""
REMEDY = "give the GGUF of the base that the adapter was trained on"
_COUNTED = re.compile(r"(.+\.gguf):([0-9]+)", re.DOTALL)


def split_count(reference: str) -> tuple[str, int | None]:
    """The reference of an adapter, and how many of its virtual tokens are asked for: `tokens.gguf:16`."""
    found = _COUNTED.fullmatch(reference)
    return (found[1], int(found[2])) if found else (reference, None)


def with_count(path: str, reference: str) -> str:
    """The path of an adapter with as many virtual tokens as the reference of it asks for."""
    count = split_count(reference)[1]
    return path if count is None else f"{path}:{count}"


def refuse_misfit(path: Path, adapter: Header, model: Path, base: Header) -> None:
    """Raises ModelError, naming the adapter's path, where a LoRA adapter does not fit the base.

    `model`: the file of the base.
    """
    refuse_other_base(path, adapter, model, base)
    if adapter.metadata.get("adapter.type") != "lora":
        raise ModelError(f"{path}: this is not a LoRA adapter in GGUF; make one with genner export --adapter-only")
    names = _pairs(path, adapter)
    for name in names:
        _refuse_shapes(path, name, adapter, base)
    if EMBEDDINGS in names and OUTPUT not in base.tensors:
        raise ModelError(
            f"{path}: the adapter changes embeddings that are the output matrix too, which llama.cpp cannot apply;"
            " merge it into the model (genner export without --adapter-only)"
        )


def refuse_other_base(path: Path, adapter: Header, model: Path, base: Header) -> None:
    """Raises ModelError for what is not an adapter, and for one of another base.

    An adapter fits the weights that a base's GGUF was converted from, and the GGUF that it was trained on itself. Of a
    GGUF that does not say what it was converted from it cannot be known whether it has the same weights in another
    type: a warning then.
    """
    said = adapter.metadata
    if said.get("general.type") != "adapter":
        raise ModelError(f"{path}: this is not an adapter in GGUF; make one with genner export --adapter-only")
    own, other = (header.metadata.get("general.architecture") for header in (adapter, base))
    if own != other:
        raise ModelError(f"{path}: an adapter for {own!r}, and the model is {other!r}; {REMEDY}")
    trained_on, made_from, file = said.get(BASE_HASH), base.metadata.get(WEIGHTS_HASH), said.get(BASE_FILE)
    if (made_from and trained_on == made_from) or (file and hash_file(model) == file):
        return
    trained = f"{path}: the adapter was trained on {said.get('genner.base.reference')!r}"
    if trained_on and made_from:
        raise ModelError(
            f"{trained} (SHA-256 {trained_on[:12]}), and the model was made from other weights"
            f" (SHA-256 {made_from[:12]}); {REMEDY}"
        )
    if file:
        message = "%s (SHA-256 of the file %s), and %s is another file; it must be the same model in another type"
        log.warning(message, trained, file[:12], model)


def refuse_as_model(path: Path, header: Header) -> None:
    """Raises ModelError for an adapter that is given as the model."""
    if header.metadata.get("general.type") == "adapter":
        raise ModelError(f"{path}: an adapter and no model; give it after --adapter, and its base's GGUF after --model")


def changes_output(adapter: Header) -> bool:
    """Whether logits are more than the base's output matrix times the last norm."""
    return f"{OUTPUT}.lora_a" in adapter.tensors


def metadata_of(base: Mapping[str, Any], adapter: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the two say of themselves: if the adapter says anything as genner's, then it alone."""
    if not any(key.startswith("genner.") for key in adapter):
        return base
    kept = {key: value for key, value in base.items() if not key.startswith("genner.")}
    return {**kept, **{key: value for key, value in adapter.items() if key.startswith("genner.")}}


def _pairs(path: Path, adapter: Header) -> list[str]:
    """The tensors of the base that change, each by a pair A and B."""
    names = {name.removesuffix(end) for name in adapter.tensors for end in (".lora_a", ".lora_b") if name.endswith(end)}
    whole = {f"{name}{end}" for name in names for end in (".lora_a", ".lora_b")}
    if lost := sorted(whole - adapter.tensors.keys()):
        raise ModelError(f"{path}: the tensor {lost[0]} is missing; export the adapter again")
    if strange := sorted(adapter.tensors.keys() - whole):
        raise ModelError(
            f"{path}: {strange[0]} is not one of a pair A and B, which is all that llama.cpp applies; merge it into the"
            " model (genner export without --adapter-only)"
        )
    return sorted(names)


def _refuse_shapes(path: Path, name: str, adapter: Header, base: Header) -> None:
    """Sizes are the innermost first. Those of an embedding's A are swapped."""
    a, b = adapter.tensors[f"{name}.lora_a"].shape, adapter.tensors[f"{name}.lora_b"].shape
    if len(a) != 2 or len(b) != 2:
        raise ModelError(f"{path}: {name} has a pair of {a} and {b}, which are no matrices; export the adapter again")
    changed, ranks = ((b[1], a[1]), (a[0], b[0])) if name == EMBEDDINGS else ((a[0], b[1]), (a[1], b[0]))
    has = base.tensors[name].shape if name in base.tensors else None
    if changed != has or ranks[0] != ranks[1]:
        found = f"has it as {has}" if has else "has none of that name"
        raise ModelError(f"{path}: the adapter changes a {name} {changed}, and the model {found}; {REMEDY}")
