"""Which answered texts a model is shown before it is asked: the same before all texts, or the nearest to each.

Takes labelled documents, rendered by an output format; gives the pieces of a prompt. Knows nothing of tokenizers and
files.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from heapq import nsmallest
from itertools import chain
from random import Random
from typing import Any

from genner_cli.formats import output_format
from genner_cli.merging import merge
from genner_cli.prompting import Demonstration, Prompt
from genner_cli.types import Document, Entity, Label, Piece

_WORD = re.compile(r"\w+")
_MENTIONS = ("some {}", "another {}")
Pieces = tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Rendered:
    """Labelled documents -> demonstrations, in a format, with the entities of these labels."""

    format: str
    labels: tuple[str, ...]
    depth: int = 1

    def of(self, document: Document) -> Demonstration | None:
        """The document with its answer; None where the format cannot carry all its entities of the labels."""
        asked = merge((entity for entity in document.entities if entity.label in self.labels), self.depth)
        rendering = output_format(self.format).render(document.text, asked, self.labels, depth=self.depth)
        return None if rendering.left_out else Demonstration(document.text, rendering.completion)

    def invented(self) -> Demonstration:
        """A short text made of the names of the first labels, with its answer."""
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

    def pieces(self, labels: Sequence[Label], document: str, text: str) -> tuple[Pieces, Pieces]:
        """Prefix and rest of the prompt for a text of a document; neither of them is shown as a demonstration."""
        others = [each for each in self.fixed if _other(each.text, document, text)]
        shown = self.nearest.chosen(document, text, others) if self.nearest else others
        shown = shown or [self.invented]
        prompt = self.prompts[len(shown)]
        prefix, demonstrations, rest = prompt.prefix(labels), prompt.shown(shown), prompt.rest(text)
        return (prefix, demonstrations + rest) if self.nearest else (prefix + demonstrations, rest)

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
    """Documents to choose from by the words that they share with a text, weighted by inverse document frequency.

    `shots`: how many are shown at most; `budget`: the UTF-8 bytes that they and their answers may have together.
    """

    pool: tuple[Document, ...]
    rendered: Rendered
    shots: int
    budget: int

    def chosen(self, document: str, text: str, others: Sequence[Demonstration] = ()) -> list[Demonstration]:
        """The nearest to a text, the nearest last; `others` stand before them, where there are not enough.

        Nearness is the weight of the shared words over the square root of the document's own weight. Equally near ones
        stand in the order of the pool; what shares no word is not near. What does not fit into that which the nearer
        ones leave of the budget is passed over.
        """
        near = map(self.rendered.of, (self.pool[number] for number in self._ranked(document, text)))
        return _fitting(chain(filter(None, near), others), self.shots, self.budget)[::-1]

    def _ranked(self, document: str, text: str) -> list[int]:
        holders, weights, norms = self._index
        scores: dict[int, float] = defaultdict(float)
        for word in sorted(set(words(text)) & weights.keys()):
            for number in holders[word]:
                scores[number] += weights[word] / norms[number]
        candidates = (number for number in scores if _other(self.pool[number].text, document, text))
        return nsmallest(2 * self.shots, candidates, key=lambda number: (-scores[number], number))

    @cached_property
    def _index(self) -> tuple[dict[str, list[int]], dict[str, float], list[float]]:
        """The documents that have a word, the weight of a word, the norm of a document."""
        bags = [set(words(each.text)) for each in self.pool]
        holders: dict[str, list[int]] = defaultdict(list)
        for number, bag in enumerate(bags):
            for word in bag:
                holders[word].append(number)
        weights = {word: math.log(1 + len(self.pool) / len(held)) for word, held in holders.items()}
        norms = [math.sqrt(math.fsum(weights[word] for word in bag)) or 1.0 for bag in bags]
        return holders, weights, norms


def words(text: str) -> list[str]:
    """The words of a text, case folded."""
    return _WORD.findall(text.casefold())


def covering(pool: Sequence[Document], count: int, labels: Iterable[str], *, seed: int = 0) -> list[Document]:
    """At most `count` documents that show as many of the labels as there are, and one without entities.

    Each next document is the one with the labels that were shown least, then the shortest; among equals the order is
    drawn with the seed. The one without entities comes last but one, so that it is not what is copied first.
    """
    wanted = set(labels)
    order = list(pool)
    Random(seed).shuffle(order)
    order.sort(key=lambda document: len(document.text))
    labelled = [document for document in order if _labels_of(document, wanted)]
    without = [document for document in order if not _labels_of(document, wanted)]
    without = without[:1] if count > 1 or not labelled else []
    chosen: list[Document] = []
    shown: Counter[str] = Counter()
    while labelled and len(chosen) < count - len(without):
        best = max(labelled, key=lambda document: sum(1 / (1 + shown[label]) for label in _labels_of(document, wanted)))
        labelled.remove(best)
        chosen.append(best)
        shown.update(_labels_of(best, wanted))
    return chosen[:-1] + without + chosen[-1:]


def _labels_of(document: Document, labels: set[str]) -> set[str]:
    return {entity.label for entity in document.entities} & labels


def _other(shown: str, *texts: str) -> bool:
    """Whether a text is none of the others, whatever their white space."""
    return all(shown.split() != text.split() for text in texts)


def _fitting(ordered: Iterable[Demonstration], count: int, budget: int) -> list[Demonstration]:
    """The first of them, each once and at most `count`, that fit into the budget together."""
    chosen: list[Demonstration] = []
    for each in ordered:
        if len(chosen) == count:
            break
        if each.size <= budget and each not in chosen:
            chosen.append(each)
            budget -= each.size
    return chosen
