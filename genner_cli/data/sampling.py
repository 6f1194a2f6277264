"""Extractions -> which documents to annotate next: the least certain ones, or any, from all labels alike.

Takes extractions one by one and keeps places and scores alone, so that memory grows with the sample and the labels, not
with the documents.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b
from typing import NamedTuple

from genner_cli.plurals import counted
from genner_cli.types import Document, Entity, Extraction

_DIGEST_BYTES = 16


class SampleOrder(StrEnum):
    """Documents with the lowest score first, or in an order that chance and the seed give."""

    SCORE = "score"
    RANDOM = "random"


class Place(NamedTuple):
    """A document: its rank among those of a label, its number in the input from 0, its text's hash, and its lowest
    rank."""

    rank: float
    number: int
    digest: bytes
    lowest: float


@dataclass
class _Best:
    """The documents of one label that rank lowest, at most `most` of them, none twice."""

    most: int
    heap: list[tuple[float, int, Place]] = field(default_factory=list)
    digests: set[bytes] = field(default_factory=set)

    def add(self, place: Place) -> None:
        if place.digest in self.digests:
            return
        item = (-place.rank, -place.number, place)
        if len(self.heap) < self.most:
            heapq.heappush(self.heap, item)
        elif item > self.heap[0]:
            self.digests.discard(heapq.heappushpop(self.heap, item)[2].digest)
        else:
            return
        self.digests.add(place.digest)

    def ordered(self) -> list[Place]:
        """From the lowest rank on."""
        return sorted(place for _, _, place in self.heap)


@dataclass
class Sampler:
    """Chooses `count` documents; `seed`: of all that chance decides.

    Of what was noted: `failed` documents, and `unscored` ones, whose entities have no score.
    """

    count: int
    order: SampleOrder = SampleOrder.SCORE
    seed: int = 0
    documents: int = 0
    failed: int = 0
    unscored: int = 0

    def __post_init__(self) -> None:
        self._salt = blake2b(str(self.seed).encode(), digest_size=blake2b.SALT_SIZE).digest()
        self._labels: dict[str, _Best] = {}
        self._others = _Best(self.count)

    @property
    def scored(self) -> bool:
        """Whether any document could be ranked."""
        return bool(self._labels)

    def note(self, extraction: Extraction) -> None:
        """Draws a document, which may be one of the sample; those that failed are only counted."""
        number = self.documents
        self.documents += 1
        document = extraction.document
        if extraction.error is not None or not isinstance(document, Document):
            self.failed += 1
            return
        digest = self._digest(document.text)
        ranks = self._ranks(extraction.entities, digest)
        self.unscored += bool(extraction.entities) and not ranks
        for label, rank in ranks.items():
            place = Place(rank, number, digest, min(ranks.values()))
            self._labels.setdefault(label, _Best(self.count)).add(place)
        if not ranks:
            chance = self._chance(digest)
            self._others.add(Place(chance, number, digest, chance))

    def _ranks(self, entities: Sequence[Entity], digest: bytes) -> dict[str, float]:
        """By label, the lowest score of its entities; or chance."""
        if self.order is SampleOrder.RANDOM:
            return {entity.label: self._chance(digest) for entity in entities}
        ranks: dict[str, float] = {}
        for entity in entities:
            if entity.score is not None:
                ranks[entity.label] = min(entity.score, ranks.get(entity.label, 1.0))
        return ranks

    def _digest(self, text: str) -> bytes:
        return blake2b(text.encode(), digest_size=_DIGEST_BYTES, salt=self._salt).digest()

    @staticmethod
    def _chance(digest: bytes) -> float:
        """A number from 0 to 1 that the text and the seed give."""
        return int.from_bytes(digest[:6], "big") / 2**48

    def warnings(self) -> Iterator[str]:
        """What was left out, or chosen by chance."""
        if self.failed:
            yield f"{counted(self.failed, 'document')} with an error left out; see genner extract --retry-errors"
        if self.unscored and self.order is SampleOrder.SCORE:
            yield f"{counted(self.unscored, 'document')} with entities that all lack a score, chosen by chance"

    def lines(self, documents: Sequence[Document]) -> Iterator[str]:
        """How many documents the sample has, and how many with each label."""
        yield f"{len(documents):,} of {counted(self.documents, 'document')}"
        for label in sorted({entity.label for document in documents for entity in document.entities}):
            holding = sum(any(entity.label == label for entity in document.entities) for document in documents)
            yield f"{label}: {counted(holding, 'document')}"

    def chosen(self) -> list[Place]:
        """The sample, lowest rank first: each label in turn gives its next document until there are enough.

        Without enough documents with entities, others follow, by chance. A text is there once.
        """
        places: dict[bytes, Place] = {}
        _take(places, [self._labels[label].ordered() for label in sorted(self._labels)], self.count)
        ranked = sorted(places.values(), key=lambda place: (place.lowest, place.number))
        _take(places, [self._others.ordered()], self.count)
        return [*ranked, *list(places.values())[len(ranked) :]]


def _take(places: dict[bytes, Place], strata: Iterable[list[Place]], count: int) -> None:
    """Adds places from each stratum in turn, until there are `count` or none is left."""
    queues = [iter(stratum) for stratum in strata]
    while queues and len(places) < count:
        for queue in list(queues):
            if len(places) >= count:
                return
            place = next((each for each in queue if each.digest not in places), None)
            if place is None:
                queues.remove(queue)
            else:
                places[place.digest] = place
