"""XML: `<PER>John Smith</PER> reported from <LOC>New York</LOC>.` (paper, output formats).

Canonical: see `inline`. `<` and `&` of the source are written `&lt;` and `&amp;`; nothing else is changed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from genner_cli.formats import gbnf, inline
from genner_cli.formats.carriable import Rendering
from genner_cli.types import Entity


def _opening(label: str) -> str:
    return f"<{label}>"


def _closing(label: str) -> tuple[str, ...]:
    return (f"</{label}>",)


STYLE = inline.Style(
    opening=_opening,
    closing=_closing,
    label_first=True,
    escapes={"<": "&lt;", "&": "&amp;"},
    scan=re.compile(
        r"<(?:(?P<close>/)|(?P<open>))(?P<label>[^<>&/][^<>&]*)>|(?P<escaped>&lt;|&amp;)|(?P<char>[^<&])", re.DOTALL
    ),
)


def render(text: str, entities: Sequence[Entity], labels: Sequence[str], *, depth: int = 1) -> Rendering:
    """The completion that says these entities, and what it cannot say."""
    return inline.render(STYLE, text, entities, labels, depth)


def grammar(labels: Sequence[str], *, depth: int = 1) -> str:
    """The GBNF of all completions with these labels."""
    levels = {}
    for level in range(1, depth + 1):
        inner = f"(char | entity-{level + 1})+" if level < depth else "char+"
        levels[f"inner_{level}"] = inner
        levels[f"entity_{level}"] = " | ".join(
            f"{gbnf.literal(f'<{label}>')} inner-{level} {gbnf.literal(f'</{label}>')}" for label in labels
        )
    return gbnf.rules(root="(char | entity-1)*", **levels, char='[^<&] | "&lt;" | "&amp;"')


def lock(text: str, labels: Sequence[str], *, depth: int = 1) -> inline.InlineLock:
    """What may be written for this text (`locking.Lock`)."""
    return inline.lock(STYLE, text, labels, depth)


def parse(completion: str, text: str) -> list[Entity]:
    """The entities of a completion; raises DataError if it is not this text with markup."""
    return inline.parse(STYLE, completion, text)
