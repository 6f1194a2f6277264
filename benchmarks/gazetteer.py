"""A list of mentions: labelled documents in, entities of other documents out.

What was mentioned in training is found again: the longest mention first, from left to right, on word boundaries, with
the label that it had most often. Mentions that were entities in fewer than half of their occurrences are left out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from tagging import words

from genner_cli.types import Document, Entity, Range

Mention = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Gazetteer:
    """Mentions, as their words, with their labels."""

    labels: dict[Mention, str]
    longest: int

    def predict(self, text: str) -> list[Entity]:
        """The entities of a text."""
        found = _matches(text, self.labels, self.longest)
        return [Entity(start, end, self.labels[spelt], text[start:end]) for spelt, (start, end) in found]


def learn(documents: Sequence[Document]) -> Gazetteer:
    """The mentions of documents whose entities do not overlap."""
    labels: defaultdict[Mention, Counter[str]] = defaultdict(Counter)
    for document in documents:
        for entity in document.entities:
            labels[_spelt(entity.text, words(entity.text))][entity.label] += 1
    longest = max(map(len, labels), default=0)
    seen = Counter(spelt for d in documents for spelt, _ in _matches(d.text, labels, longest))
    kept = {
        spelt: min(counts, key=lambda label: (-counts[label], label))
        for spelt, counts in labels.items()
        if spelt and 2 * counts.total() >= seen[spelt]
    }
    return Gazetteer(kept, max(map(len, kept), default=0))


def _matches(text: str, mentions: Collection[Mention], longest: int) -> Iterator[tuple[Mention, Range]]:
    """Mentions in a text, the longest at each place, none within another."""
    places = words(text)
    spelt = _spelt(text, places)
    at = 0
    while at < len(spelt):
        sizes = range(min(longest, len(spelt) - at), 0, -1)
        size = next((size for size in sizes if spelt[at : at + size] in mentions), 0)
        if size:
            yield spelt[at : at + size], Range(places[at].start, places[at + size - 1].end)
        at += size or 1


def _spelt(text: str, places: Sequence[Range]) -> Mention:
    return tuple(text[start:end] for start, end in places)
