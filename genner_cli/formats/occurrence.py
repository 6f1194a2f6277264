"""Occurrence JSON: `[{"text": "John Smith", "label": "PER", "occurrence_index": 1}]` (paper, output formats).

Canonical: items by position; the index counts the occurrences of that text between word boundaries, from 1.
"""

from __future__ import annotations

from collections.abc import Mapping

from genner_cli.formats import Claim
from genner_cli.formats.shared.boundaries import Mentions
from genner_cli.formats.shared.numbered import NumberedFormat

_KEY = "occurrence_index"


class Occurrence(NumberedFormat):
    """An item is the k-th occurrence of its text."""

    task = (
        "List the named entities of the text as a JSON list of objects with the mention as text, its label, and an"
        " occurrence_index: 1 where the mention first stands in the text, 2 for the second time, and so on."
    )
    keys = (_KEY,)

    def numbers(self, mentions: Mentions, mention: str, start: int) -> dict[str, int]:
        places = mentions.occurrences(mention)
        return {_KEY: places.index(start) + 1 if start in places else len(mentions.text)}

    def start(self, mentions: Mentions, mention: str, numbers: Mapping[str, int]) -> int:
        places = mentions.occurrences(mention)
        return places[numbers[_KEY] - 1] if 1 <= numbers[_KEY] <= len(places) else -1

    def claim(self, mention: str, numbers: Mapping[str, int]) -> Claim:
        return Claim(mention, occurrence=numbers[_KEY])


FORMAT = Occurrence()
