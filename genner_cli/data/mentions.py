"""Documents with entities -> distinct mentions by label, counted. Knows nothing of files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from genner_cli.data.contexts import context, squeezed
from genner_cli.types import Document, Entity

CHARACTERS_EACH = 400
"""What a mention takes in memory beside its text and contexts, roughly, in characters."""


class Key(NamedTuple):
    """What makes entities the same mention: the label, and the text with single spaces, perhaps in folded case."""

    label: str
    text: str


@dataclass(slots=True)
class Tally:
    """Counts of one mention. `documents`: those that have it; `scores`: the sum over the `scored` entities that have
    one. `contexts`: the first ones, each with the id of its document. `spellings`: how often each one occurs."""

    count: int = 0
    documents: int = 0
    scored: int = 0
    scores: float = 0.0
    contexts: list[tuple[str | None, str]] = field(default_factory=list)
    spellings: Counter[str] = field(default_factory=Counter)

    def add(self, other: Tally, contexts: int) -> None:
        """Takes in what was counted of the same mention in later documents, up to this number of contexts."""
        self.count += other.count
        self.documents += other.documents
        self.scored += other.scored
        self.scores += other.scores
        self.spellings.update(other.spellings)
        known = {text for _, text in self.contexts}
        self.contexts += [each for each in other.contexts if each[1] not in known]
        del self.contexts[contexts:]

    def value(self, key: Key) -> dict[str, Any]:
        """As a JSON value, the mention as it is most often spelled; `spellings` only where there are several."""
        spellings = dict(sorted(self.spellings.items(), key=lambda pair: (-pair[1], pair[0])))
        mean = {"score": round(self.scores / self.scored, 4)} if self.scored else {}
        contexts = [({} if id is None else {"id": id}) | {"context": text} for id, text in self.contexts]
        return {
            "label": key.label,
            "text": next(iter(spellings)),
            "count": self.count,
            "documents": self.documents,
            **mean,
            **({"spellings": spellings} if len(spellings) > 1 else {}),
            "contexts": contexts,
        }


class Mentions:
    """Tallies of the documents noted so far. `fold_case`: spellings that differ in case alone are one mention.

    `characters`: about what they take in memory, to be looked at by whoever must bound it.
    """

    def __init__(self, *, fold_case: bool = False, contexts: int = 3) -> None:
        self.tallies: dict[Key, Tally] = {}
        self.characters = 0
        self._fold_case = fold_case
        self._contexts = contexts

    def note(self, document: Document, entities: Iterable[Entity]) -> None:
        """Counts the entities of a document."""
        seen: set[Key] = set()
        for entity in entities:
            spelling = squeezed(entity.text)
            key = Key(entity.label, spelling.casefold() if self._fold_case else spelling)
            tally = self.tallies.get(key)
            if tally is None:
                tally = self.tallies[key] = Tally()
                self.characters += CHARACTERS_EACH + 2 * len(spelling)
            tally.count += 1
            tally.documents += key not in seen
            tally.spellings[spelling] += 1
            if entity.score is not None:
                tally.scored += 1
                tally.scores += entity.score
            if len(tally.contexts) < self._contexts:
                self._add_context(tally, document, entity)
            seen.add(key)

    def _add_context(self, tally: Tally, document: Document, entity: Entity) -> None:
        found = context(document.text, entity.start, entity.end)
        if all(found != text for _, text in tally.contexts):
            tally.contexts.append((document.id, found))
            self.characters += len(found)

    def clear(self) -> None:
        """Forgets all of them."""
        self.tallies.clear()
        self.characters = 0
