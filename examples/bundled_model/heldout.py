"""What no model may be trained on: texts that share a run of eight words with a valid or test text of any corpus."""

from __future__ import annotations

import gzip
import json
from hashlib import blake2b
from pathlib import Path

from genner_cli.types import Document

LENGTH = 8


class HeldOut:
    """The runs of words of all valid and test texts in a folder of corpora; `found` counts what was left out."""

    def __init__(self, folder: Path) -> None:
        self.found = 0
        self._runs: set[bytes] = set()
        for path in sorted(folder.glob("*/*.jsonl.gz")):
            if path.name != "train.jsonl.gz":
                with gzip.open(path, "rt", encoding="utf-8") as lines:
                    for line in lines:
                        self._runs |= runs(json.loads(line)["text"])

    def shows(self, text: str) -> bool:
        """Whether a text shares a run; counted if so."""
        shared = not self._runs.isdisjoint(runs(text))
        self.found += shared
        return shared

    def without(self, parts: list[Document]) -> list[Document]:
        """The parts of a document that share none."""
        return [part for part in parts if not self.shows(part.text)]


def runs(text: str) -> set[bytes]:
    """Hashes of all runs of LENGTH words, in small letters, of a text."""
    words = "".join(char.lower() if char.isalnum() else " " for char in text).split()
    return {
        blake2b(" ".join(words[at : at + LENGTH]).encode(), digest_size=8).digest()
        for at in range(len(words) - LENGTH + 1)
    }
