"""Inserted (ours): `⟦John Smith⦂PER⟧ reported from⟦ New York⦂LOC⟧.`, markup between unchanged tokens.

The three marks are user-defined tokens of the model. An opening stands before the space of its mention,
where byte-level tokenizers cut, so the source keeps its canonical tokens and only those are legal, plus
marks: most positions have one legal token. Canonical: see `inline`. A mark in the source is written as `⧵`
(U+29F5) and a letter, `⧵` itself twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from genner_cli.formats.shared import gbnf
from genner_cli.formats.shared.inline import InlineFormat

OPEN, COLON, CLOSE = MARKS = ("⟦", "⦂", "⟧")


class Inserted(InlineFormat):
    """The label stands in the closing, between two marks. The paper's scripts would read it as bracketed."""

    task = "Copy the text and mark every named entity in it as ⟦mention⦂LABEL⟧."
    open = OPEN
    close = (COLON, CLOSE)
    escapes: ClassVar[Mapping[str, str]] = {OPEN: "⧵o", COLON: "⧵t", CLOSE: "⧵c", "⧵": "⧵⧵"}
    char = f'{gbnf.any_but(escapes)} | "⧵" [otc⧵]'
    space_inside = True
    markup = frozenset(mark.encode() for mark in MARKS)


FORMAT = Inserted()
