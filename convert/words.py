"""genner.json, in which a folder says of itself what its GGUF will: pairs of strings -> checked pairs.

Knows nothing of what they mean (`prompting.Instructions`, `provenance.Provenance`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from convert.transformers_folder import read_object
from genner_cli.errors import ModelError
from genner_cli.provenance import WORDS

RESERVED = {"general.architecture", "general.file_type", "general.alignment", "general.quantization_version"}


def read_words(folder: Path, more: Mapping[str, str] = {}) -> dict[str, str]:
    """The pairs of a folder, none where it has no genner.json; `more` adds to them and goes before them.

    Raises ModelError for what is no string, and for keys that do not begin with `genner.` or `general.`.
    """
    path = folder / WORDS
    pairs = {**(read_object(path) if path.exists() else {}), **more}
    for key, value in pairs.items():
        if key in RESERVED or not key.startswith(("genner.", "general.")) or not isinstance(value, str):
            raise ModelError(f"metadata {key!r}: {value!r} is refused; give strings under `genner.` or `general.`")
    return pairs
