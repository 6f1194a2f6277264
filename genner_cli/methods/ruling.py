"""What votes come to: how candidates are judged, as one value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

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


@dataclass(frozen=True, slots=True)
class Ruling:
    """`thresholds`: by voter, the log-odds above which its answer is yes; 0 without one. `tree`: the labels to choose
    from; `beam`: ways down it that are followed. `sources`: the two answers to choose between, and `whole`: as wholes.
    `flat`: overlaps of valid candidates are resolved without being asked about.
    """

    thresholds: Mapping[str, float] = field(default_factory=dict)
    tree: LabelTree = field(default_factory=LabelTree)
    beam: int = 1
    sources: tuple[str, ...] = ()
    whole: bool = False
    flat: bool = False

    def settings(self, ask: str) -> dict[str, Any]:
        """What answers and decisions of this kind depend on, as JSON values."""
        if ask == VALID:
            return {"thresholds": dict(self.thresholds), "flat": self.flat}
        if ask == LABEL:
            return {"labels to choose from": self.tree.value(), "beam": self.beam}
        return {"whole": self.whole} if ask == BEST else {}

    def decide(self, ask: str, candidates: Sequence[Candidate]) -> list[Candidate]:
        """What remains of the candidates, and as what, after the votes on one question."""
        if ask == BEST:
            return selected(candidates, self.sources, whole=self.whole)
        decisions = {VALID: valid, LABEL: labelled, BOUNDARY: bounded, OVERLAP: resolved}
        decided = decisions[ask](candidates)
        return resolved(decided) if ask == VALID and self.flat else decided
