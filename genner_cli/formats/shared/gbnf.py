"""Writing GBNF (llama.cpp `grammars/README.md`). Knows nothing of any output format."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise


def literal(text: str) -> str:
    """A GBNF string that matches exactly this text."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def one_of(texts: Iterable[str]) -> str:
    """A GBNF alternative of literals."""
    return " | ".join(literal(text) for text in texts)


def any_but(chars: Iterable[str]) -> str:
    """A GBNF class of every other character, as ranges: llama.cpp refuses the first bytes of a character for `[^...]`
    where those of an excluded one are the same."""
    codes = sorted({0, *map(ord, chars), 0x110000})
    ranges = (f"\\U{low + 1:08X}-\\U{high - 1:08X}" for low, high in pairwise(codes) if low + 1 < high)
    return f"[{''.join(ranges)}]"


def rules(**bodies: str) -> str:
    """A grammar of these rules, one a line; underscores in names become dashes."""
    return "".join(f"{name.replace('_', '-')} ::= {body}\n" for name, body in bodies.items())
