"""An extraction, alone or with its gold document -> a document as it is shown. Knows nothing of how it is shown."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from genner_cli.types import Document, Entity, Extraction


@dataclass(frozen=True, slots=True)
class Viewed:
    """A document as it is shown. `gold` is None where there is none to compare with; `error` says why it failed."""

    text: str
    id: str | None = None
    predicted: tuple[Entity, ...] = ()
    gold: tuple[Entity, ...] | None = None
    error: str | None = None
    source: str = ""
    fields: dict[str, Any] = field(default_factory=dict)


def alone(extraction: Extraction) -> Viewed:
    """The document without gold; each entity once."""
    document = extraction.document
    text, message = (document.text, None) if isinstance(document, Document) else ("", document.message)
    return Viewed(
        text=text,
        id=document.id,
        predicted=tuple(dict.fromkeys(extraction.entities)),
        error=extraction.error or message,
        source=document.source,
        fields=document.fields,
    )


def with_gold(gold: Document, extraction: Extraction) -> Viewed:
    """The document beside its gold entities; a failed one takes its text from gold, and misses all."""
    return replace(alone(extraction), text=gold.text, gold=tuple(dict.fromkeys(gold.entities)))
