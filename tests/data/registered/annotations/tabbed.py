"""An annotation format in one file: one line per document with the text and its entities, both as JSON, and a tab."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from genner_cli.errors import DataError
from genner_cli.files.annotations import AnnotationFormat, AnnotationOptions, Dropped
from genner_cli.files.records import Record
from genner_cli.files.streams import text_lines
from genner_cli.files.writing import Writer
from genner_cli.types import Document


class Tabbed(AnnotationFormat):
    """Carries neither fields nor scores."""

    suffixes = (".tabbed",)
    is_input = True

    def records(self, path: str, options: AnnotationOptions, dropped: Dropped) -> Iterator[Record]:
        for number, line in text_lines(path):
            source = f"{path}:{number}"
            try:
                text, entities = map(json.loads, line.split("\t"))
            except ValueError as error:
                raise DataError(f"{source}: is not a text and entities ({error}); correct the line") from error
            spans = [{"start": start, "end": end, "label": label} for start, end, label in entities]
            yield options.document({options.text_field: text, "entities": spans}, source)

    def write(self, documents: Iterable[Document], path: str, options: AnnotationOptions, dropped: Dropped) -> None:
        with Writer(path, suffixes=("",)) as writer:
            for document in documents:
                dropped.drop_fields(document, ())
                dropped.drop_scores(document)
                offsets = self.offsets(document.text, options)
                spans = [[offsets.of(e.start), offsets.of(e.end), e.label] for e in document.entities]
                writer.write(f"{json.dumps(document.text)}\t{json.dumps(spans)}\n".encode())


FORMAT = Tabbed()
