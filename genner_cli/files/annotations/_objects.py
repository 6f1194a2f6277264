"""What annotation formats made of JSON objects have in common: one object for each document, in a list or on lines.

A format says what an object is as a record, and a document as an object.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

from genner_cli.errors import DataError
from genner_cli.files.annotations import AnnotationFormat, AnnotationOptions, Dropped
from genner_cli.files.records import Record
from genner_cli.files.streams import json_objects
from genner_cli.files.writing import write_json
from genner_cli.types import Document, Entity, FailedDocument

Json = dict[str, Any]


class JsonObjects(AnnotationFormat):
    own: ClassVar[tuple[str, ...]] = ()
    """The keys of an object that the format gives a meaning; the others are fields."""

    @abstractmethod
    def record(self, value: Json, source: str, options: AnnotationOptions, dropped: Dropped) -> Json | None:
        """The record of an object that stands at `source`, or None for an object that is not a document.

        Raises DataError, with the place, for an object that is not one of this format.
        """

    @abstractmethod
    def value(self, document: Document, options: AnnotationOptions, dropped: Dropped) -> Json:
        """The object of a document."""

    def records(self, path: str, options: AnnotationOptions, dropped: Dropped) -> Iterator[Record]:
        """One record for each object that is a document."""
        for source, value in json_objects(path, dropped):
            try:
                record = self.record(value, source, options, dropped)
            except DataError as error:
                yield FailedDocument(str(error), source)
                continue
            if record is not None:
                yield options.document(record, source)

    def write(self, documents: Iterable[Document], path: str, options: AnnotationOptions, dropped: Dropped) -> None:
        """One object for each document: a list in a .json file, lines in others."""
        write_json((self.value(document, options, dropped) for document in documents), path)

    def others(self, keys: Mapping[str, Any]) -> Json:
        """What stands under keys that are not the format's own."""
        return {key: value for key, value in keys.items() if key not in self.own}


def score_of(entity: Entity) -> dict[str, float]:
    """The key of an entity's score, where it has one."""
    return {} if entity.score is None else {"score": entity.score}
