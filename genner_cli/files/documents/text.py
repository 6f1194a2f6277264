"""Plain text, and Markdown as it is written: a file is a document."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Mapping
from typing import Any

from genner_cli.errors import DataError
from genner_cli.files.documents import WholeFile
from genner_cli.files.streams import binary, decoded


class Text(WholeFile):
    suffixes = (".txt", ".md")

    def records(self, content: bytes, name: str) -> Iterator[Mapping[str, Any]]:
        """All of the file, without a byte order mark."""
        text = decoded(content.removeprefix(codecs.BOM_UTF8), name)
        if problem := binary(content):
            raise DataError(f"{name}: {problem}")
        yield {"text": text}


FORMAT = Text()
