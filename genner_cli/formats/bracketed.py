"""Bracketed: `[John Smith | PER] reported from [New York | LOC].` (paper, output formats).

Canonical: see `inline`. `[`, `]`, `|` and the backslash of the source are written with a backslash before them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from genner_cli.formats.shared.inline import InlineFormat


class Bracketed(InlineFormat):
    """The label stands in the closing."""

    task = "Copy the text and mark every named entity in it as [mention | LABEL]."
    open = "["
    close = (" | ", "]")
    escapes: ClassVar[Mapping[str, str]] = {char: "\\" + char for char in "[]|\\"}
    char = r'[^\[\]|\\] | "\\" [\[\]|\\]'


FORMAT = Bracketed()
