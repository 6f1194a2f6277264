"""XML: `<PER>John Smith</PER> reported from <LOC>New York</LOC>.` (paper, output formats).

Canonical: see `inline`. `<` and `&` of the source are written `&lt;` and `&amp;`; nothing else is changed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

from genner_cli.formats import Marked
from genner_cli.formats.shared import gbnf
from genner_cli.formats.shared.inline import InlineFormat, inner


class Xml(InlineFormat):
    """The label stands in opening and closing."""

    task = "Copy the text and mark every named entity in it as <LABEL>mention</LABEL>."
    label_first = True
    open = "<"
    close = ("</", ">")
    escapes: ClassVar[Mapping[str, str]] = {"<": "&lt;", "&": "&amp;"}
    char = '[^<&] | "&lt;" | "&amp;"'

    def opening(self, label: str) -> str:
        return f"<{label}>"

    @cached_property
    def scan(self) -> re.Pattern[str]:
        tag = r"<(?:(?P<close>/)|(?P<open>))(?P<label>[^<>&/][^<>&]*)>"
        return re.compile(rf"{tag}|(?P<escaped>&lt;|&amp;)|(?P<chars>[^<&]+)", re.DOTALL)

    def grammar(self, labels: Sequence[str], *, depth: int = 1) -> str:
        levels = {}
        for level in range(1, depth + 1):
            levels[f"inner_{level}"] = inner(level, depth)
            levels[f"entity_{level}"] = " | ".join(
                f"{gbnf.literal(f'<{label}>')} inner-{level} {gbnf.literal(f'</{label}>')}" for label in labels
            )
        return gbnf.rules(root="(char | entity-1)*", **levels, char=self.char)

    def official(self, completion: str, labels: Sequence[str]) -> Marked:
        """Only tags of `labels` are read. A closing tag ends the innermost open one of its label, and those opened
        since are dropped."""
        tags = "|".join(re.escape(label) for label in sorted(labels, key=len, reverse=True))
        text, at = "", 0
        opened: list[tuple[str, int]] = []
        spans: list[tuple[Any, ...]] = []
        for event in re.finditer(rf"<(?P<close>/?)(?P<label>{tags})>", completion):
            text += completion[at : event.start()]
            at = event.end()
            if not event["close"]:
                opened.append((event["label"], len(text)))
                continue
            place = next((place for place in reversed(range(len(opened))) if opened[place][0] == event["label"]), None)
            if place is not None:
                label, start = opened[place]
                del opened[place:]
                spans += [(label, start, len(text))] if start < len(text) else []
        return Marked(text + completion[at:], spans)


FORMAT = Xml()
