"""Text that is collected from markup: runs of text, and the breaks between them."""

from __future__ import annotations

import re

SPACE, LINE, PARAGRAPH = " ", "\n", "\n\n"
_ORDER = ("", SPACE, LINE, PARAGRAPH)
_WHITE = re.compile(r"[ \t\n\r\f]+")


def names(text: str) -> frozenset[str]:
    """The names of elements, which stand with spaces between them."""
    return frozenset(text.split())


class Flow:
    """Runs of white space count as one space; of several breaks in a row the strongest stands, none at the ends."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._pending = ""

    def add(self, text: str) -> None:
        """A run of text, which continues the one before it."""
        squeezed = _WHITE.sub(" ", text)
        if squeezed.startswith(" "):
            self.break_with(SPACE)
        self._add(squeezed.strip(" "))
        if squeezed.endswith(" "):
            self.break_with(SPACE)

    def add_lines(self, text: str) -> None:
        """Text whose white space counts, as in <pre>; a line without letters is a break."""
        for number, line in enumerate(text.split("\n")):
            if number:
                self.break_with(LINE)
            self._add(line.rstrip() if line.strip() else "")

    def break_with(self, separator: str) -> None:
        """What follows is not on one line with what came before; one of the constants of this module."""
        self._pending = max(self._pending, separator, key=_ORDER.index)

    def _add(self, text: str) -> None:
        if text:
            self._parts += [self._pending if self._parts else "", text]
            self._pending = ""

    def text(self) -> str:
        """All of it."""
        return "".join(self._parts)
