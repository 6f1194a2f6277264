"""Offsets that others count in other units <-> offsets in code points."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from itertools import accumulate

from genner_cli.errors import DataError


class Unit(StrEnum):
    """What an offset counts: characters, UTF-16 units or UTF-8 bytes; with `crlf`, each line end \\r\\n as one."""

    CODEPOINT = "codepoint"
    UTF16 = "utf16"
    BYTE = "byte"
    CODEPOINT_CRLF = "codepoint-crlf"
    UTF16_CRLF = "utf16-crlf"

    @property
    def crlf(self) -> Unit:
        """The same unit with each \\r\\n as one, if there is one."""
        return {Unit.CODEPOINT: Unit.CODEPOINT_CRLF, Unit.UTF16: Unit.UTF16_CRLF}.get(self, self)

    @property
    def merges_line_ends(self) -> bool:
        """Whether \\r\\n counts as one."""
        return self in (Unit.CODEPOINT_CRLF, Unit.UTF16_CRLF)


class Offsets:
    """The offsets of one text, from code points into another unit and back."""

    def __init__(self, text: str, unit: Unit) -> None:
        self._unit = unit
        self._boundaries: list[int] | None = None
        if _differs(text, unit):
            self._boundaries = [0, *accumulate(_widths(text, unit))]
            self._places: dict[int, int] = {}
            for place, boundary in enumerate(self._boundaries):
                self._places.setdefault(boundary, place)  # of \r\n as one, the place before it

    def of(self, place: int) -> int:
        """The offset, in the other unit, of this place in the text."""
        return place if self._boundaries is None else self._boundaries[place]

    def place(self, offset: int) -> int:
        """The place in code points. Raises DataError where the offset is inside a character or outside the text."""
        if self._boundaries is None:
            return offset
        if offset not in self._places:
            raise DataError(f"offset {offset} is not a boundary of characters counted as {self._unit}; check --offsets")
        return self._places[offset]


def _differs(text: str, unit: Unit) -> bool:
    """Whether the two units count this text differently."""
    if unit.merges_line_ends and "\r\n" in text:
        return True
    if unit in (Unit.CODEPOINT, Unit.CODEPOINT_CRLF) or text.isascii():
        return False
    return unit is Unit.BYTE or max(text) > "\uffff"


def _widths(text: str, unit: Unit) -> Iterator[int]:
    """What each character counts; the first of a \\r\\n that counts as one has nothing."""
    for char, after in zip(text, [*text[1:], ""], strict=True):
        if unit.merges_line_ends and char == "\r" and after == "\n":
            yield 0
        elif unit is Unit.BYTE:
            yield len(char.encode())
        else:
            yield 1 + (char > "\uffff" and unit in (Unit.UTF16, Unit.UTF16_CRLF))
