"""Which labelled documents of a pool are nearest to a text, by vectors: of sentences, of entities, or of spans.

By sentence: kNN of GPT-NER (Wang et al. 2023, arXiv 2304.10428, section 3.2). By entity: the same for each entity that
was found in the text, with an equal share for each. By span: the one-sided similarity of EL4NER (arXiv 2505.23038).
Similarities are computed by functions that are given. Knows nothing of vectors, files and models.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest

from genner_cli.demonstrations import Query, Way, twins
from genner_cli.types import Document, Passage, Range

ABSENT = float("-inf")
"""The similarity to a document that has nothing to compare."""
Similarities = Callable[[Passage], Sequence[Sequence[float]]]
"""For each span of a passage, or the whole text: its greatest cosine similarity to a vector of each document."""
PROPER = 4.0
"""The weight of a span of capitalised words; the third-party code of EL4NER gives it to proper nouns."""


def ordered(similarities: Sequence[float]) -> list[int]:
    """The documents that have a similarity, the nearest first; equally near ones in the order of the pool."""
    there = (number for number, value in enumerate(similarities) if value > ABSENT)
    return sorted(there, key=lambda number: -similarities[number])


def by_entity(similarities: Sequence[Sequence[float]]) -> list[int]:
    """The nearest document of each entity in turn, then the second nearest of each ...: among the first k documents
    each entity has its share of k, and none stands there twice."""
    rounds = zip_longest(*map(ordered, similarities))
    return list(dict.fromkeys(number for each in rounds for number in each if number is not None))


def span_similarity(weights: Sequence[float], best: Sequence[float]) -> float:
    """sum_i w_i max_j cos(s_i, c_j) / sum_i w_i, where `best[i]` is the maximum for span i of the text.

    One-sided on purpose: spans of the document that are like none of the text cost nothing.
    """
    return sum(weight * value for weight, value in zip(weights, best, strict=True)) / sum(weights)


def by_span(weights: Sequence[float], similarities: Sequence[Sequence[float]]) -> list[int]:
    """The documents by `span_similarity`, the nearest first."""
    return ordered([span_similarity(weights, best) for best in zip(*similarities, strict=True)])


def span_weight(mention: str, *, cased: bool) -> float:
    """From 1 to `PROPER` by the share of capitalised words, in place of parts of speech; 1 where case says nothing."""
    words = mention.split()
    share = sum(word[0].isupper() for word in words) / max(1, len(words))
    return 1 + (PROPER - 1) * share if cased else 1.0


def is_cased(pool: Sequence[Document]) -> bool:
    """Whether any mention of the pool is capitalised."""
    return any(entity.text[:1].isupper() for document in pool for entity in document.entities)


class Ranking:
    """Ranks the documents of a pool for a text.

    `sentences`, `mentions`: similarities to the texts of the pool, and to the entities in them.
    """

    def __init__(self, pool: Sequence[Document], sentences: Similarities, mentions: Similarities) -> None:
        self._twins = twins(pool)
        self._cased = is_cased(pool)
        self._sentences = sentences
        self._mentions = mentions

    def nearest(self, way: Way, query: Query, most: int) -> list[int]:
        """The numbers of at most `most` documents, the nearest first; never the document of the query itself.

        Those nearest by sentence follow where entities or spans name too few, and are all where there are none.
        """
        found = self._by_mention(way, query) if way is not Way.SENTENCE and query.entities else []
        others = self._twins.of(query)
        found = [number for number in found if number not in others]
        if len(found) < most:
            near = ordered(self._sentences(Passage(query.text))[0])
            found = list(dict.fromkeys([*found, *(number for number in near if number not in others)]))
        return found[:most]

    def _by_mention(self, way: Way, query: Query) -> list[int]:
        spans = tuple(dict.fromkeys(Range(entity.start, entity.end) for entity in query.entities))
        similarities = self._mentions(Passage(query.text, spans))
        if way is Way.ENTITY:
            return by_entity(similarities)
        weights = [span_weight(query.text[span.start : span.end], cased=self._cased) for span in spans]
        return by_span(weights, similarities)
