"""Bracketed: `[John Smith | PER] reported from [New York | LOC].` (paper, output formats).

Canonical: see `inline`. `[`, `]`, `|` and the backslash of the source are written with a backslash before them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from genner_cli.formats import gbnf, inline
from genner_cli.formats.carriable import Rendering
from genner_cli.types import Entity


def _opening(label: str) -> str:
    return "["


def _closing(label: str) -> tuple[str, ...]:
    return (f" | {label}]",)


STYLE = inline.Style(
    opening=_opening,
    closing=_closing,
    label_first=False,
    escapes={char: "\\" + char for char in "[]|\\"},
    scan=re.compile(
        r"(?P<open>\[)|(?P<close> \| (?P<label>[^\[\]|\\]+)\])|(?P<escaped>\\[\[\]|\\])|(?P<char>[^\[\]|\\])", re.DOTALL
    ),
)


def render(text: str, entities: Sequence[Entity], labels: Sequence[str], *, depth: int = 1) -> Rendering:
    """The completion that says these entities, and what it cannot say."""
    return inline.render(STYLE, text, entities, labels, depth)


def grammar(labels: Sequence[str], *, depth: int = 1) -> str:
    """The GBNF of all completions with these labels."""
    levels = {
        f"entity_{level}": '"[" (char' + (f" | entity-{level + 1}" if level < depth else "") + ')+ " | " label "]"'
        for level in range(1, depth + 1)
    }
    return gbnf.rules(
        root="(char | entity-1)*",
        **levels,
        label=gbnf.one_of(labels),
        char=r'[^\[\]|\\] | "\\" [\[\]|\\]',
    )


def lock(text: str, labels: Sequence[str], *, depth: int = 1) -> inline.InlineLock:
    """What may be written for this text (`locking.Lock`)."""
    return inline.lock(STYLE, text, labels, depth)


def parse(completion: str, text: str) -> list[Entity]:
    """The entities of a completion; raises DataError if it is not this text with markup."""
    return inline.parse(STYLE, completion, text)
