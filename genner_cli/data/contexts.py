"""A mention -> the words around it, on one line. Knows nothing of files."""

from __future__ import annotations

WIDTH = 40
"""Characters of a context on either side of its mention."""


def context(text: str, start: int, end: int, width: int = WIDTH) -> str:
    """The mention `text[start:end]` with up to `width` characters before and after it, cut at white space where there
    is some; runs of white space are one space, and `…` stands where text was left out."""
    before, after = text[max(0, start - width) : start], text[end : end + width]
    if start > width:
        before = f"…{_behind_space(before)}"
    if end + width < len(text):
        after = f"{_behind_space(after[::-1])[::-1]}…"
    return squeezed(f"{before}{text[start:end]}{after}")


def squeezed(text: str) -> str:
    """Each run of white space as one space, none at the ends."""
    return " ".join(text.split())


def _behind_space(text: str) -> str:
    """Without a word that may have been cut at its start, but for a text without white space."""
    return next((text[at + 1 :] for at, character in enumerate(text) if character.isspace()), text)
