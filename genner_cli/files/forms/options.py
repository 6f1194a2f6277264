"""What the user can say about a form, and what every form does with documents."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from genner_cli.data.offsets import Unit
from genner_cli.data.tags import Scheme
from genner_cli.types import Document, Entity, Label

Lost = Callable[[str, str], None]
"""Told the kind of what cannot be carried, and an example of it."""


@dataclass(frozen=True, slots=True)
class FormOptions:
    """Each form takes of these what concerns it.

    `offsets`: the unit of the offsets, None for the form's own. `scheme`, `token_column`, `tag_column`: for tags;
    columns by number or name. `whole`: CoNLL's documents, rather than its sentences, are documents. `keep_text`: CoNLL
    files get comment lines with ids and texts. `predictions`: Label Studio gets predictions (None: where there are
    scores). `format` and `labels`: of the alpaca form (None: found out; bracketed, and all that occur).
    """

    text_field: str = "text"
    id_field: str = "id"
    offsets: Unit | None = None
    scheme: Scheme = Scheme.IOB2
    token_column: str | None = None
    tag_column: str | None = None
    whole: bool = False
    keep_text: bool = False
    predictions: bool | None = None
    format: str | None = None
    labels: tuple[Label, ...] | None = None


def place(document: Document) -> str:
    """Where a document stands, for messages."""
    return document.source or document.id or "document"


def shown(document: Document, entity: Entity) -> str:
    """An entity and where it stands, for messages."""
    return f"{place(document)}: {entity.text[:40]!r} ({entity.label}) at {entity.start}:{entity.end}"


def lose_fields(document: Document, carried: Collection[str], lost: Lost) -> None:
    """Tells all fields of the document that are not among the carried ones."""
    for name in document.fields:
        if name not in carried:
            lost(f"fields {name!r}", place(document))


def lose_scores(document: Document, lost: Lost) -> None:
    """Tells the scores of the document's entities."""
    for entity in document.entities:
        if entity.score is not None:
            lost("scores", shown(document, entity))
