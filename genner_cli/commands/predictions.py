"""Predictions: read one by one, or made by a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from genner_cli.commands.terminal import document_bar, status_line
from genner_cli.plurals import counted
from genner_cli.types import FailedDocument

if TYPE_CHECKING:
    from genner_cli.running.backend import Opened
    from genner_cli.running.spec import RunSpec
    from genner_cli.types import Document, Extraction

EVERY = 1000


class Reading:
    """The extractions of files, and what they were so far: counts, and what is wrong with those that cannot be read.

    `failed`: documents that the extraction failed for, which their records say.
    """

    def __init__(self, paths: Sequence[str], text_field: str, id_field: str, *, limit: int | None = None) -> None:
        self.fields = {"text_field": text_field, "id_field": id_field}
        self._paths, self._limit = paths, limit
        self.records = self.entities = self.failed = 0
        self.problems: list[str] = []

    def __iter__(self) -> Iterator[Extraction]:
        from genner_cli.files.predictions import read_predictions

        with status_line("reading") as say:
            for extraction in islice(read_predictions(self._paths, **self.fields), self._limit):
                self.records += 1
                self.failed += extraction.error is not None
                self.entities += len(extraction.entities)
                if isinstance(extraction.document, FailedDocument) and extraction.error is None:
                    self.problems.append(extraction.document.message)
                if self.records % EVERY == 0:
                    say(f"reading: {counted(self.records, 'record')}")
                yield extraction


def extracted(opened: Opened, documents: Sequence[Document], spec: RunSpec) -> list[Extraction]:
    """What a model finds in the documents, with the hints of the run; a bar on stderr meanwhile."""
    from genner_cli.files.hints import hinted
    from genner_cli.running.backend import extractions

    asked = hinted(documents, spec.hints, text_field=spec.text_field, id_field=spec.id_field)
    with document_bar(len(documents)) as counted:
        return list(counted(extractions(opened, asked, own_labels=spec.labels_field is not None)))
