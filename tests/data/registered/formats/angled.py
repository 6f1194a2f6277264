"""An output format in one file: `<John Smith|PER> reported from <New York|LOC>.`"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

from genner_cli.formats import Marked
from genner_cli.formats.shared import gbnf
from genner_cli.formats.shared.inline import InlineFormat, marked_by_closings


class Angled(InlineFormat):
    """The label stands in the closing; bars, angles and ampersands of the source have an ampersand before them."""

    task = "Copy the text and mark every named entity in it as <mention|LABEL>."
    escapes: ClassVar[Mapping[str, str]] = {char: "&" + char for char in "<>|&"}
    scan = re.compile(
        r"(?P<open><)|(?P<close>\|(?P<label>[^<>|&]+)>)|(?P<escaped>&[<>|&])|(?P<char>[^<>|&])", re.DOTALL
    )

    def opening(self, label: str) -> str:
        return "<"

    def closing(self, label: str) -> tuple[str, ...]:
        return (f"|{label}>",)

    def grammar(self, labels: Sequence[str], *, depth: int = 1) -> str:
        levels = {
            f"entity_{level}": '"<" (char' + (f" | entity-{level + 1}" if level < depth else "") + ')+ "|" label ">"'
            for level in range(1, depth + 1)
        }
        label, char = gbnf.one_of(labels), '[^<>|&] | "&" [<>|&]'
        return gbnf.rules(root="(char | entity-1)*", **levels, label=label, char=char)

    def official(self, completion: str, labels: Sequence[str]) -> Marked:
        return marked_by_closings(completion, re.compile(r"(?P<open><)|\|\s*(?P<label>[^>]+)>"))


FORMAT = Angled()
