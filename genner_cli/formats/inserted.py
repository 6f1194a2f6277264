"""Inserted (ours): `⟦John Smith⦂PER⟧ reported from⟦ New York⦂LOC⟧.`, markup between unchanged tokens.

The three marks are user-defined tokens of the model. An opening stands before the space of its mention,
where byte-level tokenizers cut, so the source keeps its canonical tokens and only those are legal, plus
marks: most positions have one legal token. Canonical: see `inline`. A mark in the source is written as `⧵`
(U+29F5) and a letter, `⧵` itself twice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

from genner_cli.formats import Marked
from genner_cli.formats.shared import gbnf
from genner_cli.formats.shared.inline import InlineFormat, marked_by_closings

OPEN, COLON, CLOSE = MARKS = ("⟦", "⦂", "⟧")


class Inserted(InlineFormat):
    """The label stands in the closing, between two marks."""

    task = "Copy the text and mark every named entity in it as ⟦mention⦂LABEL⟧."
    escapes: ClassVar[Mapping[str, str]] = {OPEN: "⧵o", COLON: "⧵t", CLOSE: "⧵c", "⧵": "⧵⧵"}
    scan = re.compile(r"(?P<open>⟦)|(?P<close>⦂(?P<label>[^⟦⦂⟧⧵]+)⟧)|(?P<escaped>⧵[otc⧵])|(?P<char>[^⟦⦂⟧⧵])", re.DOTALL)
    space_inside = True
    markup = frozenset(mark.encode() for mark in MARKS)

    def opening(self, label: str) -> str:
        return OPEN

    def closing(self, label: str) -> tuple[str, ...]:
        return (COLON, label, CLOSE)

    def grammar(self, labels: Sequence[str], *, depth: int = 1) -> str:
        levels = {
            f"entity_{level}": '"⟦" (char' + (f" | entity-{level + 1}" if level < depth else "") + ')+ "⦂" label "⟧"'
            for level in range(1, depth + 1)
        }
        label, char = gbnf.one_of(labels), '[^⟦⦂⟧⧵] | "⧵" [otc⧵]'
        return gbnf.rules(root="(char | entity-1)*", **levels, label=label, char=char)

    def official(self, completion: str, labels: Sequence[str]) -> Marked:
        """As the scripts read bracketed completions; the paper does not have this format."""
        return marked_by_closings(completion, _EVENTS)


_EVENTS = re.compile(r"(?P<open>⟦)|⦂\s*(?P<label>[^⟧]+)⟧")

FORMAT = Inserted()
