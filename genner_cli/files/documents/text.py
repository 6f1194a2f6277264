"""Plain text: a file is a document."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Mapping
from typing import Any

from genner_cli.files.documents import WholeFile
from genner_cli.files.streams import decoded


class Text(WholeFile):
    suffixes = (".txt",)

    def records(self, content: bytes, name: str) -> Iterator[Mapping[str, Any]]:
        """All of the file, without a byte order mark."""
        yield {"text": decoded(content.removeprefix(codecs.BOM_UTF8), name)}


FORMAT = Text()
