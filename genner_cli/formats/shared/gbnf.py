"""Writing GBNF (llama.cpp `grammars/README.md`). Knows nothing of any output format."""

from __future__ import annotations

from collections.abc import Iterable


def literal(text: str) -> str:
    """A GBNF string that matches exactly this text."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def one_of(texts: Iterable[str]) -> str:
    """A GBNF alternative of literals."""
    return " | ".join(literal(text) for text in texts)


def rules(**bodies: str) -> str:
    """A grammar of these rules, one a line; underscores in names become dashes."""
    return "".join(f"{name.replace('_', '-')} ::= {body}\n" for name, body in bodies.items())
