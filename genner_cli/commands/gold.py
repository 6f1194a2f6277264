"""Gold data for commands that measure: read whole, and extracted from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from genner_cli.commands.terminal import document_bar
from genner_cli.errors import DataError
from genner_cli.plurals import counted

if TYPE_CHECKING:
    from genner_cli.running.backend import Opened
    from genner_cli.running.spec import RunSpec
    from genner_cli.types import Document, Extraction, Label


def read_gold_files(patterns: Sequence[str], *, text_field: str, id_field: str) -> tuple[Document, ...]:
    """The documents of gold files; raises DataError with every problem if there is one, or if there is no document."""
    from genner_cli.files.gold import read_gold, summarized
    from genner_cli.files.reading import expand

    data = read_gold(expand(patterns), text_field=text_field, id_field=id_field)
    if data.problems:
        count = len(data.problems)
        error = DataError(f"{counted(count, 'problem')} in the gold data; correct or remove these lines")
        for note in summarized(data.problems):
            error.add_note(note)
        raise error
    if not data.documents:
        raise DataError(f"{', '.join(patterns)}: no documents; give labelled JSON Lines")
    return data.documents


def is_nested(documents: Iterable[Document]) -> bool:
    """Whether any gold entity lies in another."""
    return any(
        later.start < entity.end
        for document in documents
        for entity, later in zip(document.entities, document.entities[1:], strict=False)
    )


def labels_in(documents: Iterable[Document]) -> tuple[Label, ...]:
    """The labels of all gold entities, by name."""
    from genner_cli.types import Label

    return tuple(map(Label, sorted({entity.label for document in documents for entity in document.entities})))


def asked_of(spec: RunSpec, documents: Sequence[Document]) -> RunSpec:
    """The run with what it leaves open as the gold data have it: labels, and entities inside entities."""
    from genner_cli.formats import DEFAULT_DEPTH

    depth = spec.depth or (DEFAULT_DEPTH if is_nested(documents) else 1)
    return replace(spec, labels=spec.labels or labels_in(documents) or None, depth=depth)


def with_labels_of_their_own(documents: Iterable[Document], field: str | None) -> tuple[Document, ...]:
    """The documents with the labels that one of their fields asks for. Raises DataError for what cannot be labels."""
    from genner_cli.files.labels import with_own_labels
    from genner_cli.types import FailedDocument

    found = []
    for each in documents:
        asking = with_own_labels(each, field)
        if isinstance(asking, FailedDocument):
            raise DataError(asking.message)
        found.append(asking)
    return tuple(found)


def extracted(opened: Opened, documents: Sequence[Document], spec: RunSpec) -> list[Extraction]:
    """What a model finds in the documents, with the hints of the run; a bar on stderr meanwhile."""
    from genner_cli.files.hints import hinted
    from genner_cli.running.backend import extractions

    asked = hinted(documents, spec.hints, text_field=spec.text_field, id_field=spec.id_field)
    with document_bar(len(documents)) as counted:
        return list(counted(extractions(opened, asked, own_labels=spec.labels_field is not None)))
