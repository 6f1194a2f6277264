"""Files of documents without labels: each module of this package is a kind of them, known by its suffixes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from genner_cli.errors import DataError
from genner_cli.files import kind
from genner_cli.files.annotations import AnnotationOptions
from genner_cli.files.records import Record, document_of, text_parts, too_long
from genner_cli.files.streams import (
    id_of,
    length_of,
    lfs_pointer,
    opened,
    read_at_most,
    readable,
    refuse_cut,
    shown_name,
)
from genner_cli.registry import Registry
from genner_cli.types import FailedDocument


class DocumentFormat(ABC):
    """How documents are kept in files."""

    suffixes: ClassVar[tuple[str, ...]]

    @abstractmethod
    def read(self, path: str, options: AnnotationOptions, limit: int) -> Iterator[tuple[Record, int]]:
        """Each record of a file, and the place in the file up to which it was read by then (0: not known).

        `limit`: bytes of the longest document. Raises ReadError where a disk or a server fails; bad data is given.
        """


class WholeFile(DocumentFormat):
    """A file is one document, or a few; its text is made of all bytes of the file, and the record has it."""

    def read(self, path: str, options: AnnotationOptions, limit: int) -> Iterator[tuple[Record, int]]:
        """The id of a document is that of its file (`streams.id_of`)."""
        name = shown_name(path)
        document_id = id_of(path)
        try:
            with readable(name), opened(path) as (raw, stream):
                length_before = length_of(raw)
                content = read_at_most(stream, limit + 1)
                refuse_cut(raw, length_before)
            if len(content) > limit:
                yield too_long(name, "the text is too long", limit, document_id), 0
                return
            if problem := lfs_pointer(content):
                raise DataError(f"{name}: {problem}")
            records = list(self.records(content, name))
        except DataError as error:
            yield FailedDocument(str(error), name, document_id), 0
            return
        for number, record in enumerate(records, 1):
            own_id = document_id if len(records) == 1 else f"{document_id}#{number}"
            yield replace(_document(record, name, options), id=own_id), 0

    @abstractmethod
    def records(self, content: bytes, name: str) -> Iterator[Mapping[str, Any]]:
        """The field `text` of each document, and others. `name`: of the file, for messages. Raises DataError."""


def _document(record: Mapping[str, Any], name: str, options: AnnotationOptions) -> Record:
    """The text is called as the options say, unless they say that it is another field, or is made of several."""
    text_field = options.text_field
    if text_field not in record and not any(part in record for part in text_parts(text_field)):
        record = {text_field: record["text"], **{key: value for key, value in record.items() if key != "text"}}
    return document_of(record, name, text_field=text_field, id_field=options.id_field, dropped=options.without)


_OFFICE = (".docx", ".odt", ".rtf", ".epub")
TEXT_MAKERS = {".pdf": "pdftotext -enc UTF-8"} | dict.fromkeys(_OFFICE, "pandoc --to plain --wrap none")
"""What makes texts of files of these kinds, which genner does not read."""

DOCUMENT_FORMATS: Registry[DocumentFormat] = Registry(__name__, __path__)


def document_format(path: str) -> DocumentFormat | None:
    """The kind of a file of documents, by its suffix; None for one that is not known."""
    suffix = kind(path)
    return next((each for each in DOCUMENT_FORMATS.values() if suffix in each.suffixes), None)
