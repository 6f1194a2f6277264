"""What the inline formats share: the source text repeated, with markup around its entities.

`bracketed`, `xml` and `inserted` give the markup; here are the canonical form and the parsers. Canonical:
markup opens right before the mention (before one leading space if `space_inside`) and closes right after it; spans
never cross; of equal spans the label that sorts first is outermost; every character that markup needs is escaped
wherever it stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from genner_cli.errors import DataError
from genner_cli.formats import Claim, Marked, OutputFormat, Rendering, select
from genner_cli.formats.shared import gbnf
from genner_cli.formats.shared.inline_lock import InlineLock
from genner_cli.formats.shared.markup import Markup
from genner_cli.types import Entity, Range, canonical_order

_MAX_READINGS = 20_000  # partial ones, of a completion in which markup and text look alike


class InlineFormat(Markup, OutputFormat):
    """An inline format; subclasses give its markup."""

    @cached_property
    def scan(self) -> re.Pattern[str]:
        """The parts of a completion: the groups `open`, `close`, `label`, `chars`, `escaped`."""
        opening, before, after = map(re.escape, (self.open, *self.close))
        plain = "[^" + "".join(map(re.escape, self.escapes)) + "]"
        escaped = "|".join(map(re.escape, self.escapes.values()))
        close = f"(?P<close>{before}(?P<label>{plain}+){after})"
        chars = f"(?:(?!{before}){plain})+"
        return re.compile(f"(?P<open>{opening})|{close}|(?P<escaped>{escaped})|(?P<chars>{chars})", re.DOTALL)

    @cached_property
    def _unescape(self) -> dict[str, str]:
        return {escaped: char for char, escaped in self.escapes.items()}

    def render(self, text: str, entities: Sequence[Entity], labels: Sequence[str], *, depth: int = 1) -> Rendering:
        kept, left_out = select(text, entities, labels, depth)
        return Rendering("".join(self._pieces(text, kept)), left_out)

    def _pieces(self, text: str, entities: Sequence[Entity]) -> Iterator[str]:
        """The text with markup around entities that nest, in canonical order."""
        at = 0
        around: list[Entity] = []
        for entity in [*entities, None]:
            while around and (entity is None or around[-1].end <= entity.start):
                yield self.escape(text[at : around[-1].end])
                at = max(at, around[-1].end)
                yield from self.closing(around.pop().label)
            if entity:
                space = self.space_inside and text.endswith(" ", 0, entity.start)
                yield self.escape(text[at : entity.start - space])
                at = max(at, entity.start - space)
                yield self.opening(entity.label)
                around.append(entity)
        yield self.escape(text[at:])

    def grammar(self, labels: Sequence[str], *, depth: int = 1) -> str:
        opening, before, after = map(gbnf.literal, (self.open, *self.close))
        levels = {
            f"entity_{level}": f"{opening} {inner(level, depth)} {before} label {after}"
            for level in range(1, depth + 1)
        }
        return gbnf.rules(root="(char | entity-1)*", **levels, label=gbnf.one_of(labels), char=self.char)

    def lock(self, text: str, labels: Sequence[str], *, depth: int = 1, whole_words: bool = False) -> InlineLock:
        return InlineLock(
            format=self,
            text=text,
            labels=tuple(labels),
            depth=depth,
            units=tuple(self.escapes.get(char, char).encode() for char in text),
            offsets=tuple(range(len(text) + 1)),
            closings={label: ("".join(self.closing(label)).encode(),) for label in labels},
            whole_words=whole_words,
        )

    def parse(self, completion: str, text: str) -> list[Entity]:
        entities: list[Entity] = []
        frames: list[tuple[int, str, int, list[Range]]] = []
        at = 0
        for match in self._scan(completion):
            if match["open"] is not None:
                space = self.space_inside and text.startswith(" ", at)
                frames.append((at + space, match["label"] or "", match.start(), []))
            elif match["close"] is not None:
                if not frames:
                    raise DataError(f"the completion closes an entity that is not open, at character {match.start()}")
                entities.append(_close(frames, match, at, text))
            else:
                chars = match["chars"] or self._unescape[match["escaped"]]
                if not text.startswith(chars, at):
                    same = next(n for n in range(len(chars)) if not text.startswith(chars[: n + 1], at))
                    raise DataError(f"the completion leaves the text at character {match.start() + same}")
                at += len(chars)
        if frames or at != len(text):
            raise DataError("the completion ends before the text does")
        return sorted(entities, key=canonical_order)

    def _scan(self, completion: str) -> Iterator[re.Match[str]]:
        at = 0
        while at < len(completion):
            match = self.scan.match(completion, at)
            if match is None:
                raise DataError(f"the completion has broken markup at character {at}")
            yield match
            at = match.end()

    def parse_loosely(self, completion: str, text: str, labels: Sequence[str]) -> list[Entity]:
        """Searches: markup and text may look alike, and what makes the rest come out right is meant."""
        marks = self._marks(labels)
        waiting = [_Reading(0, 0, (), ())]
        seen: set[tuple[object, ...]] = set()
        while waiting and len(seen) < _MAX_READINGS:
            reading = waiting.pop()
            if reading[:3] in seen:
                continue
            seen.add(reading[:3])
            written, copied, around, _ = reading
            if written == len(completion) and copied == len(text) and not around:
                return sorted(reading.entities(text), key=canonical_order)
            if copied < len(text) and completion.startswith(text[copied], written):
                waiting.append(reading._replace(written=written + 1, copied=copied + 1))
            waiting += [self._after(reading, mark, text) for mark in marks if reading.allows(mark, completion)]
        raise DataError("the completion is not the text with markup")

    def _marks(self, labels: Sequence[str]) -> list[_Mark]:
        closings = [_Mark("".join(self.closing(label)), False, label) for label in labels]
        if self.label_first:
            return [_Mark(self.opening(label), True, label) for label in labels] + closings
        return [_Mark(self.opening(""), True, None), *closings]

    def _after(self, reading: _Reading, mark: _Mark, text: str) -> _Reading:
        written, copied, around, closed = reading
        if mark.opens:
            start = copied + (self.space_inside and text.startswith(" ", copied))
            return _Reading(written + len(mark.text), copied, (*around, (start, mark.label)), closed)
        entity = (around[-1][0], copied, mark.label)
        return _Reading(written + len(mark.text), copied, around[:-1], (entity, closed))

    def claims(self, completion: str) -> Iterator[Claim]:
        frames: list[list[str]] = []
        at = 0
        while at < len(completion):
            match = self.scan.match(completion, at)
            if match is None or match["chars"] is not None or match["escaped"] is not None:
                chars = completion[at] if match is None else match["chars"] or self._unescape[match["escaped"]]
                for frame in frames:
                    frame.append(chars)
            elif match["open"] is not None:
                frames.append([])
            elif frames:
                yield Claim("".join(frames.pop()).removeprefix(" " if self.space_inside else ""))
            at = match.end() if match else at + 1

    def official(self, completion: str, labels: Sequence[str]) -> Marked:
        """A closing ends the innermost open entity; spaces before it are not part of the text."""
        completion = completion.strip()
        text, at = "", 0
        opened: list[int] = []
        spans: list[tuple[Any, ...]] = []
        for event in self._events.finditer(completion):
            copied = completion[at : event.start()]
            at = event.end()
            text += copied if event["open"] else copied.rstrip()
            if event["open"]:
                opened.append(len(text))
            elif opened and (start := opened.pop()) < len(text) and (label := " ".join(event["label"].split())):
                spans.append((label, start, len(text)))
        return Marked(text + completion[at:], spans)

    @cached_property
    def _events(self) -> re.Pattern[str]:
        """The openings and closings that the paper's scripts see."""
        opening, before, after = map(re.escape, (self.open, self.close[0].strip(), self.close[1]))
        return re.compile(rf"(?P<open>{opening})|{before}\s*(?P<label>[^{after}]+){after}")


def inner(level: int, depth: int) -> str:
    """The GBNF of what an entity at this level may hold."""
    return f"(char | entity-{level + 1})+" if level < depth else "char+"


def _close(frames: list[tuple[int, str, int, list[Range]]], match: re.Match[str], end: int, text: str) -> Entity:
    start, label, opened, inner = frames.pop()
    if label and label != match["label"]:
        raise DataError(f"the completion closes {match['label']!r} where {label!r} is open")
    if start >= end:
        raise DataError(f"the completion marks an empty entity at character {match.start()}")
    whole = Range(opened, match.end())
    if frames:
        frames[-1][3].append(whole)
    return Entity(start, end, match["label"], text[start:end], rendering=_without(whole, inner))


def _without(whole: Range, inner: Sequence[Range]) -> tuple[Range, ...]:
    starts = [whole.start, *(part.end for part in inner)]
    ends = [*(part.start for part in inner), whole.end]
    return tuple(Range(start, end) for start, end in zip(starts, ends, strict=True) if start < end)


class _Mark(NamedTuple):
    """A piece of markup: the label of what it opens or closes, None where the other mark has it."""

    text: str
    opens: bool
    label: str | None


class _Reading(NamedTuple):
    """Characters written and copied, the open entities (start, label), and the closed ones, a chain, last first."""

    written: int
    copied: int
    around: tuple[tuple[int, str | None], ...]
    closed: tuple[Any, ...]

    def allows(self, mark: _Mark, completion: str) -> bool:
        if not completion.startswith(mark.text, self.written):
            return False
        if mark.opens:
            return True
        return bool(self.around) and self.around[-1][0] < self.copied and self.around[-1][1] in (None, mark.label)

    def entities(self, text: str) -> Iterator[Entity]:
        closed = self.closed
        while closed:
            (start, end, label), closed = closed
            yield Entity(start, end, label, text[start:end])
