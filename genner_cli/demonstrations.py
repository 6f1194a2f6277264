"""Which answered texts a model is shown before it is asked: the same before all texts, or the nearest to each.

Takes labelled documents, rendered by an output format; gives the pieces of a prompt. Knows nothing of tokenizers and
files.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from hashlib import blake2b
from heapq import nsmallest
from itertools import chain
from random import Random
from typing import Any, NamedTuple

from genner_cli.formats import output_format
from genner_cli.merging import merge
from genner_cli.prompting import Demonstration, Prompt, hint_lines
from genner_cli.types import Document, Entity, Label, Piece

_WORD = re.compile(r"\w+")
_MENTIONS = ("some {}", "another {}")
_TEXT = "After two days of heavy rain the river Elbe flooded Dresden in August 2002, and soldiers built a dam."
_THINGS = {
    "two days": "duration",
    "heavy rain": "weather",
    "Elbe": "river",
    "Dresden": "city",
    "August 2002": "date",
    "soldiers": "profession",
    "dam": "structure",
}
Pieces = tuple[Piece, ...]


class Way(StrEnum):
    """How demonstrations are chosen for a text: by shared words; or by vectors of texts, of entities, or of spans."""

    WORDS = "words"
    SENTENCE = "sentence"
    ENTITY = "entity"
    SPAN = "span"


class Query(NamedTuple):
    """A text that demonstrations are chosen for: a chunk of a document, with entities in it, as far as any are known.

    `entities` have offsets into the text.
    """

    document: str
    text: str
    entities: tuple[Entity, ...] = ()


Rank = Callable[[Way, Query], Sequence[int]]
"""The numbers of documents of a pool, the nearest to a query first, without its twins."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """Labelled documents -> demonstrations, in a format, with the entities of these labels; without labels, of all that
    are free (`formats.OutputFormat.free_labels`)."""

    format: str
    labels: tuple[str, ...]
    depth: int = 1

    def of(self, document: Document) -> Demonstration | None:
        """The document with its answer; None where the format cannot carry all its entities of the labels."""
        asked = merge((one for one in document.entities if not self.labels or one.label in self.labels), self.depth)
        rendering = output_format(self.format).render(document.text, asked, self.labels, depth=self.depth)
        hints = "" if document.hints is None else hint_lines(document.hints, self.labels)
        return None if rendering.left_out else Demonstration(document.text, rendering.completion, hints)

    def invented(self) -> Demonstration:
        """A short text made of the names of the first labels, with its answer; without labels, one of many things."""
        if not self.labels:
            return self._of_many_things()
        text = "There is "
        entities: list[Entity] = []
        for label, mention in zip(self.labels, _MENTIONS, strict=False):
            text += " and " if entities else ""
            start, name = len(text), mention.format(label)
            text += name
            entities.append(Entity(start, len(text), label, name))
        text += "."
        rendering = output_format(self.format).render(text, entities, self.labels, depth=self.depth)
        return Demonstration(text, rendering.completion)

    def _of_many_things(self) -> Demonstration:
        places = ((mention, label, _TEXT.index(mention)) for mention, label in _THINGS.items())
        entities = [Entity(start, start + len(mention), label, mention) for mention, label, start in places]
        return Demonstration(_TEXT, output_format(self.format).render(_TEXT, entities, ()).completion)


@dataclass(frozen=True)
class Demonstrations:
    """What a model is shown in one pass. `prompts[n]`: the literal parts with n demonstrations.

    `fixed`: shown before every text; `invented`: shown where nothing else is. `nearest`: chosen anew for each text, and
    what is fixed only fills the places that are left.
    """

    prompts: tuple[Prompt, ...]
    invented: Demonstration
    fixed: tuple[Demonstration, ...] = ()
    nearest: Nearest | None = None

    def pieces(self, labels: Sequence[Label], query: Query) -> tuple[Pieces, Pieces, Prompt]:
        """What stands before the text of a query: the prefix that all texts share, and the demonstrations for this one
        alone; with the prompt that has a turn for each. The query itself is never shown as a demonstration."""
        others = [each for each in self.fixed if _key(each.text) not in query_keys(query)]
        shown = self.nearest.chosen(query, others) if self.nearest else others
        shown = shown or [self.invented]
        prompt = self.prompts[len(shown)]
        prefix, demonstrations = prompt.prefix(labels), prompt.shown(shown)
        return (prefix, demonstrations, prompt) if self.nearest else (prefix + demonstrations, (), prompt)

    def content(self) -> list[Any]:
        """What a resumed run compares, as JSON values: the literal parts, and a hash of all that may be shown."""
        literal = [
            [prompt.before_labels, prompt.before_text, prompt.after_text, *map(list, prompt.turns)]
            for prompt in self.prompts[1:]
        ]
        shown = repr((self.fixed or self.invented, self.nearest)).encode()
        return [literal, blake2b(shown, digest_size=16).hexdigest()]


@dataclass(frozen=True)
class Nearest:
    """Documents to choose from, by the words that they share with a text or by what `rank` says.

    `shots`: how many are shown at most; `budget`: the UTF-8 bytes that they and their answers may have together.
    `rank`: who compares vectors; not needed for words, and set where the model is open.
    """

    pool: tuple[Document, ...]
    rendered: Rendered
    shots: int
    budget: int
    way: Way = Way.WORDS
    rank: Rank | None = field(default=None, compare=False, repr=False)

    def chosen(self, query: Query, others: Sequence[Demonstration] = ()) -> list[Demonstration]:
        """The nearest to a text, the nearest last; `others` stand before them, where there are not enough.

        What does not fit into that which the nearer ones leave of the budget is passed over, and so is a text that
        stands in the pool a second time.
        """
        near = map(self.rendered.of, (self.pool[number] for number in self._ranked(query)))
        return _fitting(chain(filter(None, near), others), self.shots, self.budget)[::-1]

    def _ranked(self, query: Query) -> Sequence[int]:
        """The documents, the nearest first, without twins of the query."""
        if self.way is Way.WORDS:
            return self._by_words.ranked(query, 2 * self.shots)
        assert self.rank, "vectors are compared where the model is open"
        return self.rank(self.way, query)

    @cached_property
    def _by_words(self) -> ByWords:
        return ByWords(self.pool)


@dataclass(frozen=True)
class ByWords:
    """Documents, ranked by the words that they share with a text."""

    documents: tuple[Document, ...]

    def ranked(self, query: Query, most: int) -> list[int]:
        """The numbers of at most this many documents, the nearest first, without twins of the query.

        By the weight of the shared words, inverse document frequencies, over the square root of the document's own
        weight. Equally near ones stand in the order of the pool; what shares no word is not near.
        """
        holders, weights, norms = self._index
        scores: dict[int, float] = defaultdict(float)
        for word in sorted(set(words(query.text)) & weights.keys()):
            for number in holders[word]:
                scores[number] += weights[word] / norms[number]
        same = self._twins.of(query)
        candidates = (number for number in scores if number not in same)
        return nsmallest(most, candidates, key=lambda number: (-scores[number], number))

    @cached_property
    def _twins(self) -> Twins:
        return twins(self.documents)

    @cached_property
    def _index(self) -> tuple[dict[str, list[int]], dict[str, float], list[float]]:
        """The documents that have a word, the weight of a word, the norm of a document."""
        bags = [set(words(each.text)) for each in self.documents]
        holders: dict[str, list[int]] = defaultdict(list)
        for number, bag in enumerate(bags):
            for word in bag:
                holders[word].append(number)
        weights = {word: math.log(1 + len(self.documents) / len(held)) for word, held in holders.items()}
        norms = [math.sqrt(math.fsum(weights[word] for word in bag)) or 1.0 for bag in bags]
        return holders, weights, norms


def words(text: str) -> list[str]:
    """The words of a text, case folded."""
    return _WORD.findall(text.casefold())


def covering(pool: Sequence[Document], count: int, labels: Iterable[str], *, seed: int = 0) -> list[Document]:
    """`count` documents, or all there are, that show as many of the labels as there are, and one without entities;
    without labels, of those that the documents have.

    Each next document is the one with the labels that were shown least, then the shortest; among equals the order is
    drawn with the seed. The one without entities comes last but one, so that it is not what is copied first. Others
    without come at the beginning, and only where too few have entities.
    """
    wanted = set(labels) or {entity.label for document in pool for entity in document.entities}
    order = list(pool)
    Random(seed).shuffle(order)
    order.sort(key=lambda document: len(document.text))
    labelled = [document for document in order if _labels_of(document, wanted)]
    without = [document for document in order if not _labels_of(document, wanted)]
    one = without[: min(count, 1)] if count > 1 or not labelled else []
    chosen: list[Document] = []
    shown: Counter[str] = Counter()
    while labelled and len(chosen) < count - len(one):
        best = max(labelled, key=lambda document: sum(1 / (1 + shown[label]) for label in _labels_of(document, wanted)))
        labelled.remove(best)
        chosen.append(best)
        shown.update(_labels_of(best, wanted))
    more = without[len(one) : count - len(chosen)]
    return more + chosen[:-1] + one + chosen[-1:]


def _labels_of(document: Document, labels: set[str]) -> set[str]:
    return {entity.label for entity in document.entities} & labels


def _key(text: str) -> str:
    """The same for texts that differ in white space only."""
    return " ".join(text.split())


def query_keys(query: Query) -> set[str]:
    """The keys of texts that must not be shown for a query: its own and its document's."""
    return {_key(query.document), _key(query.text)}


class Twins(NamedTuple):
    """The numbers of the documents with each key."""

    by_key: dict[str, list[int]]

    def of(self, query: Query) -> set[int]:
        """The documents that are the query's text, or its document, but for white space."""
        return {number for key in query_keys(query) for number in self.by_key.get(key, ())}


def twins(pool: Sequence[Document]) -> Twins:
    """Of a pool."""
    by_key: dict[str, list[int]] = defaultdict(list)
    for number, document in enumerate(pool):
        by_key[_key(document.text)].append(number)
    return Twins(dict(by_key))


def _fitting(ordered: Iterable[Demonstration], count: int, budget: int) -> list[Demonstration]:
    """The first of them, each text once and at most `count`, that fit into the budget together."""
    chosen: dict[str, Demonstration] = {}
    for each in ordered:
        if len(chosen) == count:
            break
        if each.size <= budget and _key(each.text) not in chosen:
            chosen[_key(each.text)] = each
            budget -= each.size
    return list(chosen.values())
