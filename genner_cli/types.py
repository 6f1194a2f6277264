"""Every value that two files exchange. Knows nothing about files, models or formats."""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

from genner_cli.errors import UsageError

FORBIDDEN_IN_LABELS = frozenset('[]|<>&"\\⟦⦂⟧⧵')


class Range(NamedTuple):
    """A half-open range of code points."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Label:
    """An entity type: the name that stands in the output, and an optional definition."""

    name: str
    definition: str = ""

    def __post_init__(self) -> None:
        bad = sorted(set(self.name) & FORBIDDEN_IN_LABELS)
        if bad:
            raise UsageError(
                f"label {self.name!r} contains {' '.join(bad)}; output formats use these as markup, rename it"
                " (in data: genner data relabel)"
            )
        if not self.name or self.name != self.name.strip() or self.name.startswith("/"):
            raise UsageError(
                f"label {self.name!r} is empty, starts with '/' or has outer spaces; rename it (in data: genner data"
                " relabel)"
            )
        if has_control(self.name + self.definition):
            raise UsageError(f"label {self.name!r} or its definition contains a control character; remove it")


@dataclass(frozen=True, slots=True)
class LabelNode:
    """A label of a tree, with those below it. `aliases`: other names for it; `stop`: it may be the most precise label
    that is known, although there are others below it."""

    label: Label
    children: tuple[LabelNode, ...] = ()
    aliases: tuple[str, ...] = ()
    stop: bool = False


@dataclass(frozen=True)  # no slots: _meanings is kept in the instance
class LabelTree:
    """Labels with labels below them. A node is known by its path, `location/city`, for a name may stand in several
    places. Raises UsageError for a name with a `/`, and for one that comes twice below the same node."""

    nodes: tuple[LabelNode, ...] = ()

    def __post_init__(self) -> None:
        counts = Counter(self.path(nodes) for nodes in self.walk())
        twice = next((path for path, count in counts.items() if count > 1), None)
        if twice:
            raise UsageError(f"label {twice!r} comes twice; remove one")
        wrong = next((nodes[-1].label.name for nodes in self.walk() if self.SEPARATOR in nodes[-1].label.name), None)
        if wrong and self.nested:
            raise UsageError(f"label {wrong!r} has a {self.SEPARATOR}, which separates the labels of a path; rename it")

    SEPARATOR: ClassVar[str] = "/"

    @classmethod
    def flat(cls, labels: Iterable[Label]) -> LabelTree:
        """A tree of one level."""
        return cls(tuple(map(LabelNode, labels)))

    def walk(self) -> Iterator[tuple[LabelNode, ...]]:
        """The nodes, each with those above it, from the top; a node before those below it."""
        waiting: list[tuple[LabelNode, ...]] = [(node,) for node in reversed(self.nodes)]
        while waiting:
            nodes = waiting.pop()
            yield nodes
            waiting += [(*nodes, child) for child in reversed(nodes[-1].children)]

    def path(self, nodes: Sequence[LabelNode]) -> str:
        """The names of nodes, from the top."""
        return self.SEPARATOR.join(node.label.name for node in nodes)

    @property
    def nested(self) -> bool:
        """Whether any label has others below it."""
        return any(node.children for node in self.nodes)

    def find(self, name: str) -> str | None:
        """The path of the label that a path, or else a name or an alias, means; None where none or several are."""
        return self._meanings.get(name)

    @cached_property
    def _meanings(self) -> dict[str, str]:
        """The path of the label that each alias, name and path means, without those that mean several."""
        every = [(self.path(nodes), nodes[-1]) for nodes in self.walk()]
        found: dict[str, list[str]] = {}
        for names in (
            [(alias, path) for path, node in every for alias in node.aliases],
            [(node.label.name, path) for path, node in every],
            [(path, path) for path, _ in every],
        ):
            meant: dict[str, list[str]] = {}
            for name, path in names:
                meant.setdefault(name, []).append(path)
            found |= meant
        return {name: paths[0] for name, paths in found.items() if len(paths) == 1}

    def names(self) -> dict[str, str]:
        """By each path, name and alias that means one label, the name by which this is asked for."""
        asked = self.labels()
        return {name: asked[path].name for name, path in self._meanings.items()}

    def labels(self) -> dict[str, Label]:
        """By path, in order, each label as it is asked for: called by its path where its name is not unique."""
        every = list(self.walk())
        counts = Counter(nodes[-1].label.name for nodes in every)
        return {
            self.path(nodes): nodes[-1].label
            if counts[nodes[-1].label.name] == 1
            else replace(nodes[-1].label, name=self.path(nodes))
            for nodes in every
        }

    def leaves(self) -> tuple[Label, ...]:
        """The labels without others below them, as they are asked for."""
        asked = self.labels()
        return tuple(asked[self.path(nodes)] for nodes in self.walk() if not nodes[-1].children)

    def value(self) -> list[list[str | bool]]:
        """Path, definition, `stop` and aliases of each label, in order, as a JSON value."""
        every = ((self.path(nodes), nodes[-1]) for nodes in self.walk())
        return [[path, node.label.definition, node.stop, *node.aliases] for path, node in every]


def has_control(text: str) -> bool:
    """Whether a control character, or half a surrogate pair, stands in a text."""
    return any(unicodedata.category(char) in ("Cc", "Cs") for char in text)


@dataclass(frozen=True, slots=True)
class Entity:
    """A located mention: `text[start:end]` of its document, in code points.

    `score` is in [0, 1] (see `extraction.score`). `rendering` says which ranges of the completion the
    entity was decided in, without those of entities inside it. `source`: what found it, None for the model. These
    three take no part in equality.
    """

    start: int
    end: int
    label: str
    text: str
    score: float | None = field(default=None, compare=False)
    rendering: tuple[Range, ...] = field(default=(), compare=False, repr=False)
    source: str | None = field(default=None, compare=False)


def canonical_order(entity: Entity) -> tuple[int, int, str]:
    """The order of entities everywhere: by start, the longer first, then by label."""
    return (entity.start, -entity.end, entity.label)


@dataclass(frozen=True, slots=True)
class Pattern:
    """What mentions of a label look like: a regular expression, a check that they pass (`expressions.checks`), or both;
    or `words`, of which each is one wherever it stands. `region`: a country, for telephone numbers.

    `source` names file and line for messages.
    """

    label: str
    expression: str | None = None
    check: str | None = None
    words: tuple[str, ...] = ()
    ignore_case: bool = False
    region: str | None = None
    source: str = field(default="", compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Patterns:
    """`allowed`: mentions that are never entities, whoever finds them."""

    patterns: tuple[Pattern, ...]
    allowed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Document:
    """One input record. `source` names file and line for messages; `fields` are carried through. `labels`: those that
    it asks for itself; None for those of the run. `hints`: entities that something else has found; None where nothing
    has looked."""

    text: str
    id: str | None = None
    entities: tuple[Entity, ...] = ()
    fields: dict[str, Any] = field(default_factory=dict)
    source: str = ""
    labels: tuple[Label, ...] | None = None
    hints: tuple[Entity, ...] | None = None


@dataclass(frozen=True, slots=True)
class FailedDocument:
    """A record that could not be read: what it would have been, and why not."""

    message: str
    source: str
    id: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a document: `text` stands at `start` in it.

    Entities that begin in `[own_start, own_end)` (offsets into the document) are this chunk's to
    report; the rest of its text is context shared with its neighbours.
    """

    text: str
    start: int
    own_start: int
    own_end: int


class Piece(NamedTuple):
    """A part of a prompt. Control tokens are read in literal pieces only, never in plain ones."""

    text: str
    literal: bool = False


class Passage(NamedTuple):
    """A text, and ranges of it that are meant; None for the whole text."""

    text: str
    spans: tuple[Range, ...] | None = None


class Reason(StrEnum):
    """Why a document failed: it could not be read, the engine could not answer, its answer is not of the format, or a
    pattern took too long."""

    INPUT = "input"
    ENGINE = "engine"
    COMPLETION = "completion"
    PATTERN = "pattern"


@dataclass(frozen=True, slots=True)
class Extraction:
    """What became of one document: its entities, or the message of its error and the kind of it.

    `completions`: one for each chunk, and where labels take several passes, all of the first pass before the next.
    """

    document: Document | FailedDocument
    entities: tuple[Entity, ...] = ()
    error: str | None = None
    completions: tuple[str, ...] = ()
    reason: Reason | None = field(default=None, compare=False)
    chunks: int = field(default=0, compare=False)


class Knot(NamedTuple):
    """A point of a score map."""

    score: float
    probability: float


@dataclass(frozen=True, slots=True)
class ScoreMap:
    """A monotone map from a score to the probability of being right: straight between its knots, level beyond."""

    knots: tuple[Knot, ...]

    def __call__(self, score: float) -> float:
        at = bisect_right(self.knots, score, key=lambda knot: knot.score)
        if at in (0, len(self.knots)):
            return self.knots[min(at, len(self.knots) - 1)].probability
        (low, first), (high, last) = self.knots[at - 1 : at + 1]
        return first + (last - first) * (score - low) / (high - low)


@dataclass(frozen=True, slots=True)
class Calibration:
    """`thresholds`: for each label the lowest score, before it is mapped, of entities that are kept. `labels`: it holds
    where no others are asked for, since scores fall with the number of labels in a prompt; empty for any."""

    map: ScoreMap
    thresholds: Mapping[str, float] = field(default_factory=dict)
    labels: tuple[str, ...] = ()

    def holds_for(self, names: Iterable[str]) -> bool:
        """Whether it may be applied where these labels are asked for."""
        return not self.others(names)

    def others(self, names: Iterable[str]) -> list[str]:
        """Those of these labels that it does not hold for."""
        return [name for name in names if name not in self.labels] if self.labels else []

    def applied(self, entities: Iterable[Entity]) -> Iterator[Entity]:
        """The entities that are kept, with their mapped scores; those without a score stay as they are."""
        for entity in entities:
            if entity.score is None:
                yield entity
            elif entity.score >= self.thresholds.get(entity.label, 0.0):
                yield replace(entity, score=self.map(entity.score))
