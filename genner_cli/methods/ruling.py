"""What votes come to: how candidates are judged, as one value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from genner_cli.methods.candidates import (
    BEST,
    BOUNDARY,
    LABEL,
    OVERLAP,
    VALID,
    Candidate,
    bounded,
    labelled,
    resolved,
    selected,
    valid,
)
from genner_cli.types import LabelTree


class Labelled(Protocol):
    """An entity, or a candidate."""

    @property
    def label(self) -> str: ...


L = TypeVar("L", bound=Labelled)


@dataclass(frozen=True, slots=True)
class Ruling:
    """`thresholds`: by voter, the log-odds above which its answer is yes; 0 without one. `tree`: the labels to choose
    from, or where they `limit` what is judged, those of it; `beam`: ways down it that are followed. `sources`: the two
    answers to choose between, and `whole`: as wholes. `flat`: overlaps of valid candidates are resolved without being
    asked about.
    """

    thresholds: Mapping[str, float] = field(default_factory=dict)
    tree: LabelTree = field(default_factory=LabelTree)
    beam: int = 1
    sources: tuple[str, ...] = ()
    whole: bool = False
    flat: bool = False
    limit: bool = False

    def concerned(self, items: Iterable[L]) -> list[L]:
        """Those that are judged: all, or those with labels of the tree."""
        return [each for each in items if not self.limit or self.tree.find(each.label) is not None]

    @property
    def names(self) -> dict[str, str]:
        """What the labels that are judged are called, by what they may be called in outputs."""
        return self.tree.names() if self.limit else {}

    def settings(self, ask: str) -> dict[str, Any]:
        """What answers and decisions of this kind depend on, as JSON values."""
        limit = {"labels that are judged": self.tree.value()} if self.limit else {}
        if ask == VALID:
            return {"thresholds": dict(self.thresholds), "flat": self.flat, **limit}
        if ask == LABEL:
            return {"labels to choose from": self.tree.value(), "beam": self.beam}
        return {"whole": self.whole, **limit} if ask == BEST else limit

    def decide(self, ask: str, candidates: Sequence[Candidate]) -> list[Candidate]:
        """What remains of the candidates, and as what, after the votes on one question."""
        if ask == BEST:
            return selected(candidates, self.sources, whole=self.whole)
        decisions = {VALID: valid, LABEL: labelled, BOUNDARY: bounded, OVERLAP: resolved}
        decided = decisions[ask](candidates)
        return resolved(decided) if ask == VALID and self.flat else decided
