"""Inserted (ours): `⟦John Smith⦂PER⟧ reported from⟦ New York⦂LOC⟧.`, markup between unchanged tokens.

The three marks are user-defined tokens of the model. An opening stands before the blank of its mention,
where byte-level tokenizers cut, so the source keeps its canonical tokens and only those are legal, plus
marks: most positions have one legal token. Canonical: see `inline`. A mark in the source is written as `⧵`
(U+29F5) and a letter, `⧵` itself twice.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from genner_cli.formats import gbnf, inline
from genner_cli.formats.carriable import Rendering
from genner_cli.types import Entity

OPEN, COLON, CLOSE = MARKS = ("⟦", "⦂", "⟧")


def _opening(label: str) -> str:
    return OPEN


def _closing(label: str) -> tuple[str, ...]:
    return (COLON, label, CLOSE)


STYLE = inline.Style(
    opening=_opening,
    closing=_closing,
    label_first=False,
    escapes={OPEN: "⧵o", COLON: "⧵t", CLOSE: "⧵c", "⧵": "⧵⧵"},
    scan=re.compile(r"(?P<open>⟦)|(?P<close>⦂(?P<label>[^⟦⦂⟧⧵]+)⟧)|(?P<escaped>⧵[otc⧵])|(?P<char>[^⟦⦂⟧⧵])", re.DOTALL),
    blank_inside=True,
    markup=frozenset(mark.encode() for mark in MARKS),
)


def render(text: str, entities: Sequence[Entity], labels: Sequence[str], *, depth: int = 1) -> Rendering:
    """The completion that says these entities, and what it cannot say."""
    return inline.render(STYLE, text, entities, labels, depth)


def grammar(labels: Sequence[str], *, depth: int = 1) -> str:
    """The GBNF of all completions with these labels."""
    levels = {
        f"entity_{level}": '"⟦" (char' + (f" | entity-{level + 1}" if level < depth else "") + ')+ "⦂" label "⟧"'
        for level in range(1, depth + 1)
    }
    return gbnf.rules(root="(char | entity-1)*", **levels, label=gbnf.one_of(labels), char='[^⟦⦂⟧⧵] | "⧵" [otc⧵]')


def lock(text: str, labels: Sequence[str], *, depth: int = 1) -> inline.InlineLock:
    """What may be written for this text (`locking.Lock`)."""
    return inline.lock(STYLE, text, labels, depth)


def parse(completion: str, text: str) -> list[Entity]:
    """The entities of a completion; raises DataError if it is not this text with markup."""
    return inline.parse(STYLE, completion, text)
