"""Changes of a labelled text that leave its entities what they are: other names, other case, other spaces."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from random import Random

from genner_cli.types import Entity

PUNCTUATION = re.compile(r"(?<=\w)(?=[,.;:!?)\"](?:\s|$))|(?<=[(\"])(?=\w)")


def edited(text: str, entities: Sequence[Entity], changes: Sequence[tuple[int, int, str]]) -> tuple[str, list[Entity]]:
    """The text with other words in places that don't overlap, in order, and the entities where they are then.

    A change begins and ends at an entity's boundary or on the same side of it.
    """
    pieces, at = [], 0
    for start, end, other in changes:
        pieces += [text[at:start], other]
        at = end
    whole = "".join(pieces) + text[at:]
    found = []
    for entity in entities:
        start = entity.start + sum(_growth(change) for change in changes if change[1] <= entity.start)
        end = entity.end + sum(_growth(c) for c in changes if c[1] <= entity.end and c[0] < entity.end)
        found.append(Entity(start, end, entity.label, whole[start:end]))
    return whole, found


def _growth(change: tuple[int, int, str]) -> int:
    return len(change[2]) - (change[1] - change[0])


def swapped(
    text: str,
    entities: Sequence[Entity],
    titles: Mapping[str, Sequence[str]],
    names: Mapping[str, Sequence[str] | None],
    random: Random,
) -> tuple[str, list[Entity]]:
    """Some capitalised mentions replaced by titles of the same family (`silver.py`), where entities do not nest."""
    changes, last = [], 0
    for entity in sorted(entities, key=lambda e: e.start):
        family = (names.get(entity.label) or [""])[0]
        if entity.start < last:
            return text, list(entities)
        last = entity.end
        if family in titles and entity.text[0].isupper() and random.random() < 0.5:
            changes.append((entity.start, entity.end, random.choice(titles[family])))
    return edited(text, entities, changes)


def recased(text: str, entities: Sequence[Entity]) -> str:
    """A lower-cased text with capitals at its beginning and at the words of its entities."""
    marked = {0}
    for entity in entities:
        marked |= {entity.start + word.start() for word in re.finditer(r"\w+", entity.text) if len(word.group()) > 2}
        marked.add(entity.start)
    return "".join(char.upper() if at in marked and len(char.upper()) == 1 else char for at, char in enumerate(text))


def noisy(
    text: str, entities: Sequence[Entity], random: Random, *, lowered: float, spaced: float
) -> tuple[str, list[Entity]]:
    """Some texts all in lower case, some with spaces around their punctuation."""
    if random.random() < lowered and len(text.lower()) == len(text):
        text = text.lower()
        entities = [Entity(e.start, e.end, e.label, text[e.start : e.end]) for e in entities]
    if random.random() < spaced:
        spaces = [(m.start(), m.start(), " ") for m in PUNCTUATION.finditer(text)]
        inside = {at for e in entities for at in range(e.start + 1, e.end)}
        text, entities = edited(text, entities, [space for space in spaces if space[0] not in inside])
    return text, list(entities)
