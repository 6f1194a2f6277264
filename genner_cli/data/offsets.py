"""Offsets that others count in UTF-16 units or UTF-8 bytes <-> offsets in code points."""

from __future__ import annotations

from enum import StrEnum
from itertools import accumulate

from genner_cli.errors import DataError


class Unit(StrEnum):
    """What an offset counts."""

    CODEPOINT = "codepoint"
    UTF16 = "utf16"
    BYTE = "byte"


class Offsets:
    """The offsets of one text, from code points into another unit and back."""

    def __init__(self, text: str, unit: Unit) -> None:
        self._unit = unit
        self._boundaries: list[int] | None = None
        if _differs(text, unit):
            self._boundaries = [0, *accumulate(_width(char, unit) for char in text)]
            self._places = {boundary: place for place, boundary in enumerate(self._boundaries)}

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
    if unit is Unit.CODEPOINT or text.isascii():
        return False
    return unit is Unit.BYTE or max(text) > "\uffff"


def _width(char: str, unit: Unit) -> int:
    return len(char.encode()) if unit is Unit.BYTE else 1 + (char > "\uffff")
