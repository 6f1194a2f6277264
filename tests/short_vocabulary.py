"""The start of the bundled model's vocabulary: 4,000 tokens, which take little time to write, read and index.

Token 256 + n of byte-level BPE is made by merge n, so that a vocabulary cut there is a whole one. Control tokens and
marks stand behind it, as they do behind the long one.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from asking import ROOT

MERGES = 3737
NORMAL = 256 + MERGES
"""Number of tokens before the control tokens."""
END = NORMAL
"""The first of them ends a completion."""
LONG = ROOT / "examples" / "bundled_model" / "tokenizer"


def write_short_tokenizer(folder: Path) -> int:
    """Writes tokenizer.json and tokenizer_config.json into a folder; returns the number of tokens."""
    content = json.loads((LONG / "tokenizer.json").read_text(encoding="utf-8"))
    model, added = content["model"], content["added_tokens"]
    model["vocab"] = {token: id for token, id in model["vocab"].items() if id < NORMAL}
    model["merges"] = model["merges"][:MERGES]
    for id, token in enumerate(added, NORMAL):
        token["id"] = id
    (folder / "tokenizer.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    shutil.copy(LONG / "tokenizer_config.json", folder)
    return NORMAL + len(added)
