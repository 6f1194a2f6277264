"""Offset JSON: `[{"text": "John Smith", "label": "PER", "start": 0, "end": 10}]` (paper, output formats).

Canonical: items by position; offsets in code points, end exclusive. Under the lock a start is a place
where the mention stands, and the end follows from it.
"""

from __future__ import annotations

from collections.abc import Mapping

from genner_cli.formats import Claim
from genner_cli.formats.shared.boundaries import Mentions
from genner_cli.formats.shared.numbered import NumberedFormat


class Offset(NumberedFormat):
    """An item has its start and end in the text."""

    task = (
        "List the named entities of the text as a JSON list of objects with the mention as text, its label, and its"
        " start and end in characters, the end one behind the last."
    )
    keys = ("start", "end")

    def numbers(self, mentions: Mentions, mention: str, start: int) -> dict[str, int]:
        return {"start": start, "end": start + len(mention)}

    def start(self, mentions: Mentions, mention: str, numbers: Mapping[str, int]) -> int:
        return numbers["start"] if numbers["end"] - numbers["start"] == len(mention) else -1

    def claim(self, mention: str, numbers: Mapping[str, int]) -> Claim:
        return Claim(mention, start=numbers["start"], end=numbers["end"])


FORMAT = Offset()
