"""What became of the documents of a run, counted. Takes extractions; knows nothing of files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

from genner_cli.plurals import counted
from genner_cli.types import Document, Extraction, Reason


class Outcome(NamedTuple):
    """What is counted of one document. `characters`: of its text, 0 if none was read; `reason`: why it failed."""

    characters: int
    chunks: int
    entities: int
    reason: Reason | None


def outcome_of(extraction: Extraction) -> Outcome:
    """What is counted of an extraction."""
    document = extraction.document
    characters = len(document.text) if isinstance(document, Document) else 0
    failed = extraction.error is not None
    return Outcome(
        characters,
        extraction.chunks,
        0 if failed else len(extraction.entities),
        (extraction.reason or Reason.INPUT) if failed else None,
    )


@dataclass(slots=True)
class Ledger:
    """Sums over outcomes. Characters not read are those of failed documents; where no text was read, nobody knows."""

    documents: int = 0
    entities: int = 0
    chunks: int = 0
    characters_read: int = 0
    characters_not_read: int = 0
    reasons: Counter[Reason] = field(default_factory=Counter)

    @classmethod
    def of(cls, outcomes: Iterable[Outcome]) -> Self:
        """The ledger of these."""
        ledger = cls()
        for outcome in outcomes:
            ledger.note(outcome)
        return ledger

    @property
    def failed(self) -> int:
        """Documents that failed."""
        return self.reasons.total()

    def note(self, outcome: Outcome) -> None:
        """Counts one document."""
        self.documents += 1
        self.entities += outcome.entities
        self.chunks += outcome.chunks
        if outcome.reason is None:
            self.characters_read += outcome.characters
        else:
            self.characters_not_read += outcome.characters
            self.reasons[outcome.reason] += 1

    def value(self) -> dict[str, Any]:
        """As a JSON value."""
        return {
            "documents": self.documents,
            "done": self.documents - self.failed,
            "failed": {reason.value: self.reasons[reason] for reason in Reason},
            "entities": self.entities,
            "chunks": self.chunks,
            "characters_read": self.characters_read,
            "characters_not_read": self.characters_not_read,
        }

    def text(self) -> str:
        """The start of a line for people: `3 documents, 1 entity, 1 failed (1 input)`."""
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(self.reasons.items()))
        failed = f"{self.failed:,} failed" + (f" ({reasons})" if reasons else "")
        return f"{counted(self.documents, 'document')}, {counted(self.entities, 'entity')}, {failed}"
