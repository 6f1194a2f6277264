"""A text and its entities -> a text in which they are replaced, where what stands now, and a check of all the rest.

Knows nothing of files and of models.
"""

from __future__ import annotations

import hmac
from base64 import b32encode
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import NamedTuple

from genner_cli.errors import UsageError
from genner_cli.types import Entity, Range, canonical_order
from genner_cli.wordlists import WordList, key_of

MASK = "*"
_PSEUDONYM_BYTES = 8
_SPELLING_BYTES = 4
_FEWEST_CHARACTERS = 2
"""A name of fewer letters and digits is not looked for again: an initial stands everywhere."""
_LONGEST_NAME = 200
"""Nor is a longer one, in characters, which is no name: the time of a search grows with it."""


class Operator(StrEnum):
    """What becomes of a mention: its label in brackets, a star for each character, nothing, a pseudonym, or itself."""

    LABEL = "label"
    MASK = "mask"
    DROP = "drop"
    PSEUDONYM = "pseudonym"
    KEEP = "keep"


def operators_of(given: Iterable[str]) -> tuple[dict[str, Operator], Operator]:
    """The operators of labels, and that of all others: `PER=mask`, `drop`. Raises UsageError."""
    operators: dict[str, Operator] = {}
    others: list[Operator] = []
    for each in given:
        label, equals, name = each.rpartition("=")
        if name not in list(Operator):
            raise UsageError(
                f"--operator {each}: {name!r} is not one of {', '.join(Operator)}; write PER=mask, or mask"
            )
        if label in operators or (not equals and others):
            raise UsageError(f"--operator {each}: {label or 'all labels'} had an operator before; remove one")
        if equals:
            operators[label] = Operator(name)
        else:
            others.append(Operator(name))
    return operators, (others or [Operator.LABEL])[0]


class Replacement(NamedTuple):
    """What stands in the place of a mention. A pseudonym is the same however a name is spelled; `spelling` is not."""

    text: str
    spelling: str = ""


@dataclass(frozen=True, slots=True)
class Pseudonyms:
    """Names -> pseudonyms, by a secret key (HMAC-SHA256): alike in all documents, on any machine, in any order."""

    key: bytes

    def of(self, label: str, mention: str) -> Replacement:
        """The pseudonym of a mention. Case, white space, hyphens and line ends make another spelling, not another
        name; the same name under another label is another one."""
        name = key_of(mention, fold=True) or mention
        code = b32encode(self._digest("name", label, name)[:_PSEUDONYM_BYTES]).decode().rstrip("=")
        return Replacement(f"[{label}-{code}]", self._digest("spelling", label, mention)[:_SPELLING_BYTES].hex())

    def _digest(self, *parts: str) -> bytes:
        return hmac.digest(self.key, "\0".join(parts).encode(), "sha256")


@dataclass(frozen=True, slots=True)
class Redaction:
    """`[start, end)` of a text, and the `replacement` that stands in the new text from `at` on (see `replaced`).

    `spelling`: of a pseudonym.
    """

    start: int
    end: int
    label: str
    operator: Operator
    replacement: str
    spelling: str = ""
    at: int = 0


@dataclass(frozen=True, slots=True)
class Redacted:
    """`kept`: entities that were to be kept, with offsets into the redacted `text`; `repeats`: mentions beyond the
    entities."""

    text: str
    redactions: tuple[Redaction, ...]
    kept: tuple[Entity, ...] = ()
    repeats: int = 0


@dataclass(frozen=True, slots=True)
class Redactor:
    """What becomes of the entities: `operators` by label, `other` for all other labels.

    `repeat`: names that are found once are replaced wherever they stand in the document.
    """

    operators: Mapping[str, Operator] = field(default_factory=dict)
    other: Operator = Operator.LABEL
    repeat: bool = False
    pseudonyms: Pseudonyms | None = None

    def operator(self, label: str) -> Operator:
        """That of a label."""
        return self.operators.get(label, self.other)

    def redact(self, text: str, entities: Iterable[Entity]) -> Redacted:
        """The text without its entities.

        Entities that overlap, in whatever way, become one redaction of all that they cover together; its label is that
        of the longest, of equals the first in canonical order. Entities that only touch stay apart.
        Raises AssertionError like `replaced`.
        """
        ordered = sorted(entities, key=canonical_order)
        hidden = [entity for entity in ordered if self.operator(entity.label) is not Operator.KEEP]
        repeats = list(repeated(text, hidden)) if self.repeat else []
        hidden = list(_united(sorted([*hidden, *repeats], key=canonical_order)))
        redacted, redactions = replaced(text, [self._redaction(text, entity) for entity in hidden])
        kept = (entity for entity in ordered if self.operator(entity.label) is Operator.KEEP)
        return Redacted(redacted, redactions, tuple(moved(kept, redacted, redactions)), len(repeats))

    def _redaction(self, text: str, entity: Entity) -> Redaction:
        operator = self.operator(entity.label)
        replacement = self._replacement(text[entity.start : entity.end], entity.label, operator)
        return Redaction(entity.start, entity.end, entity.label, operator, *replacement)

    def _replacement(self, mention: str, label: str, operator: Operator) -> Replacement:
        if operator is Operator.MASK:
            return Replacement("".join(c if c.isspace() else MASK for c in mention))
        if operator is Operator.DROP:
            return Replacement("")
        if operator is Operator.LABEL:
            return Replacement(f"[{label}]")
        assert self.pseudonyms, "pseudonyms need a key"
        return self.pseudonyms.of(label, mention)


def repeated(text: str, entities: Sequence[Entity]) -> Iterator[Entity]:
    """Further mentions of the entities' names in their text: other occurrences, also in capitals, hyphenated or over
    a line end, each with the label of the first entity of that name.

    Entities are in canonical order. A mention in small letters is not one of a name with capitals ("may", "May").
    """
    names = [entity for entity in entities if _is_name(entity.text)]
    words = WordList((entity.text for entity in names), fold=True)
    labels: dict[str, str] = {}
    small: set[str] = set()
    for entity in names:
        key = words.key(entity.text)
        labels.setdefault(key, entity.label)
        if not _has_capitals(entity.text):
            small.add(key)
    covered = [Range(entity.start, entity.end) for entity in _united(entities)]
    for start, end, key in words.find(text):
        before = bisect_right(covered, start, key=lambda each: each.start) - 1
        inside = before >= 0 and end <= covered[before].end
        if not inside and (key in small or _has_capitals(text[start:end])):
            yield Entity(start, end, labels[key], text[start:end])


def _is_name(mention: str) -> bool:
    """Whether a mention is looked for again."""
    return len(mention) <= _LONGEST_NAME and sum(map(str.isalnum, mention)) >= _FEWEST_CHARACTERS


def _has_capitals(text: str) -> bool:
    return text != text.lower()


def _united(entities: Iterable[Entity]) -> Iterator[Entity]:
    """Entities in canonical order; those that overlap as one, with the label of the longest."""
    together: Entity | None = None
    longest = 0
    for entity in entities:
        if together is None or entity.start >= together.end:
            if together:
                yield together
            together, longest = entity, entity.end - entity.start
            continue
        label = entity.label if entity.end - entity.start > longest else together.label
        longest = max(longest, entity.end - entity.start)
        together = replace(together, end=max(together.end, entity.end), label=label)
    if together:
        yield together


def replaced(text: str, redactions: Iterable[Redaction]) -> tuple[str, tuple[Redaction, ...]]:
    """The text with the replacements, and the redactions with their places in it. They are sorted, without overlaps.

    Raises AssertionError where `check` fails, which would be a bug.
    """
    placed: list[Redaction] = []
    pieces: list[str] = []
    read = length = 0
    for each in redactions:
        pieces += [text[read : each.start], each.replacement]
        length += each.start - read
        placed.append(replace(each, at=length))
        length += len(each.replacement)
        read = each.end
    new = "".join([*pieces, text[read:]])
    check(text, new, placed)
    return new, tuple(placed)


def check(text: str, new: str, redactions: Sequence[Redaction]) -> None:
    """Raises AssertionError unless the two texts are alike, character for character, outside the redactions, and each
    redaction has its replacement at its place."""
    places = [(each.at, each.at + len(each.replacement)) for each in redactions]
    if _outside(text, [(each.start, each.end) for each in redactions]) != _outside(new, places):
        raise AssertionError("the text has changed outside its entities")
    if any(new[start:end] != each.replacement for each, (start, end) in zip(redactions, places, strict=True)):
        raise AssertionError("an entity's replacement is not at its place")


def _outside(text: str, ranges: Sequence[tuple[int, int]]) -> list[str]:
    """What stands before, between and after ranges, which are sorted and do not overlap."""
    starts = [0, *(end for _, end in ranges)]
    ends = [*(start for start, _ in ranges), len(text)]
    return [text[start:end] for start, end in zip(starts, ends, strict=True)]


def moved(entities: Iterable[Entity], new: str, redactions: Sequence[Redaction]) -> Iterator[Entity]:
    """Entities with their places in the new text; those that a redaction covers or cuts are gone."""
    starts = [each.start for each in redactions]
    for entity in entities:
        first = bisect_right(starts, entity.start) - 1
        if first >= 0 and entity.end <= redactions[first].end:
            continue
        start, end = (_moved_offset(offset, starts, redactions) for offset in (entity.start, entity.end))
        if start is not None and end is not None and start < end:
            yield replace(entity, start=start, end=end, text=new[start:end])


def _moved_offset(offset: int, starts: Sequence[int], redactions: Sequence[Redaction]) -> int | None:
    """Where an offset is in the new text, None for one within a redaction; `starts`: of the redactions."""
    number = bisect_right(starts, offset) - 1
    if number < 0:
        return offset
    last = redactions[number]
    if offset >= last.end:
        return offset - last.end + last.at + len(last.replacement)
    return last.at if offset == last.start else None
