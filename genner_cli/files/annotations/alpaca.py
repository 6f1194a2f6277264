"""alpaca: the paper's instruction data, a list of {"instruction", "input", "output"} (see `genner_cli.instructing`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from genner_cli import instructing
from genner_cli.errors import DataError, UsageError
from genner_cli.files.annotations import AnnotationFormat, AnnotationOptions, Dropped, shown
from genner_cli.files.records import Record
from genner_cli.files.streams import json_objects
from genner_cli.files.writing import write_json
from genner_cli.types import Document, FailedDocument, Label

_KEYS = ("instruction", "input", "output")


class Alpaca(AnnotationFormat):
    def records(self, path: str, options: AnnotationOptions, dropped: Dropped) -> Iterator[Record]:
        """One record for each object; its text is the input, and other keys than the three are fields."""
        for source, value in json_objects(path, dropped):
            missing = [key for key in _KEYS if not isinstance(value.get(key), str)]
            try:
                if missing:
                    raise DataError(f"no {' and no '.join(missing)}; an object has the strings {', '.join(_KEYS)}")
                marked = instructing.entities_of(value["input"], value["output"], value["instruction"], options.format)
            except DataError as error:
                yield FailedDocument(f"{source}: {error}", source)
                continue
            entities = [{"start": entity.start, "end": entity.end, "label": entity.label} for entity in marked]
            fields = {key: item for key, item in value.items() if key not in _KEYS}
            record = {options.text_field: value["input"], **fields, "entities": entities}
            yield options.document(record, source)

    def write(self, documents: Iterable[Document], path: str, options: AnnotationOptions, dropped: Dropped) -> None:
        """One object for each document. The label set is that of `options`, else all labels that occur, by name."""
        every = list(documents)
        format = options.format or "bracketed"
        labels = options.labels or _occurring(every)
        if not labels:
            raise UsageError("no entity and no label set; say what to extract with --types or --labels")
        asked = instructing.instruction(format, labels)
        write_json((_value(document, asked, labels, format, dropped) for document in every), path)


def _occurring(documents: Sequence[Document]) -> tuple[Label, ...]:
    return tuple(map(Label, sorted({entity.label for document in documents for entity in document.entities})))


def _value(document: Document, asked: str, labels: Sequence[Label], format: str, dropped: Dropped) -> dict[str, Any]:
    dropped.drop_fields(document, ())
    dropped.drop_scores(document)
    output, left_out = instructing.completed(document.text, document.entities, labels, format)
    for entity, reason in left_out:
        dropped("entities that the output format cannot carry", f"{shown(document, entity)}: {reason}")
    return {"instruction": asked, "input": document.text, "output": output}


FORMAT = Alpaca()
