"""alpaca: the paper's instruction data, a list of {"instruction", "input", "output"} (see `genner_cli.instructing`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from genner_cli import instructing
from genner_cli.errors import DataError, UsageError
from genner_cli.files.annotations import AnnotationOptions, Dropped, shown
from genner_cli.files.annotations._objects import Json, JsonObjects
from genner_cli.types import Document, Label


class Alpaca(JsonObjects):
    own = ("instruction", "input", "output")

    def record(self, value: Json, source: str, options: AnnotationOptions, dropped: Dropped) -> Json:
        """Its text is the input."""
        missing = [key for key in self.own if not isinstance(value.get(key), str)]
        if missing:
            known = ", ".join(self.own)
            raise DataError(f"{source}: no {' and no '.join(missing)}; an object has the strings {known}")
        try:
            marked = instructing.entities_of(value["input"], value["output"], value["instruction"], options.format)
        except DataError as error:
            raise DataError(f"{source}: {error}") from error
        entities = [{"start": entity.start, "end": entity.end, "label": entity.label} for entity in marked]
        return {options.text_field: value["input"], **self.others(value), "entities": entities}

    def write(self, documents: Iterable[Document], path: str, options: AnnotationOptions, dropped: Dropped) -> None:
        """One object for each document. The label set is that of `options`, else all labels that occur, by name."""
        every = list(documents)
        labels = options.labels or _occurring(every)
        if not labels:
            raise UsageError("no entity and no label set; say what to extract with --types or --labels")
        super().write(every, path, replace(options, labels=labels), dropped)

    def value(self, document: Document, options: AnnotationOptions, dropped: Dropped) -> Json:
        """An instruction that asks for the labels of the options, and its answer."""
        dropped.drop_fields(document, ())
        dropped.drop_scores(document)
        labels, format = options.labels or (), options.format or "bracketed"
        output, left_out = instructing.completed(document.text, document.entities, labels, format)
        for entity, reason in left_out:
            dropped("entities that the output format cannot carry", f"{shown(document, entity)}: {reason}")
        return {"instruction": instructing.instruction(format, labels), "input": document.text, "output": output}


def _occurring(documents: Sequence[Document]) -> tuple[Label, ...]:
    return tuple(map(Label, sorted({entity.label for document in documents for entity in document.entities})))


FORMAT = Alpaca()
