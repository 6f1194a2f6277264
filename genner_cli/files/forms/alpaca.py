"""alpaca: the paper's instruction data, a list of {"instruction", "input", "output"} (see `genner_cli.instructing`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from genner_cli import instructing
from genner_cli.data.offsets import Unit
from genner_cli.errors import DataError, UsageError
from genner_cli.files.forms.lines import failing_as_record, json_objects, write_json
from genner_cli.files.forms.options import FormOptions, Lost, lose_fields, lose_scores, shown
from genner_cli.files.reading import Record, document_of
from genner_cli.types import Document, FailedDocument, Label

SUFFIXES: tuple[str, ...] = ()
UNIT = Unit.CODEPOINT

_KEYS = ("instruction", "input", "output")


@failing_as_record
def read(path: str, options: FormOptions, lost: Lost) -> Iterator[Record]:
    """One record for each object; its text is the input, and other keys than the three are fields."""
    for source, value in json_objects(path):
        missing = [key for key in _KEYS if not isinstance(value.get(key), str)]
        try:
            if missing:
                raise DataError(f"no {' and no '.join(missing)}; an object has the strings {', '.join(_KEYS)}")
            found = instructing.entities_of(value["input"], value["output"], value["instruction"], options.format)
        except DataError as error:
            yield FailedDocument(f"{source}: {error}", source)
            continue
        entities = [{"start": entity.start, "end": entity.end, "label": entity.label} for entity in found]
        fields = {key: item for key, item in value.items() if key not in _KEYS}
        record = {options.text_field: value["input"], **fields, "entities": entities}
        yield document_of(record, source, text_field=options.text_field, id_field=options.id_field, dropped=())


def write(documents: Iterable[Document], path: str, options: FormOptions, lost: Lost) -> None:
    """One object for each document. The label set is that of `options`, else all labels that occur, by name."""
    every = list(documents)
    format = options.format or "bracketed"
    labels = options.labels or _occurring(every)
    if not labels:
        raise UsageError("no entity and no label set; say what to extract with --types or --labels")
    asked = instructing.instruction(format, labels)
    write_json((_value(document, asked, labels, format, lost) for document in every), path)


def _occurring(documents: Sequence[Document]) -> tuple[Label, ...]:
    return tuple(map(Label, sorted({entity.label for document in documents for entity in document.entities})))


def _value(document: Document, asked: str, labels: Sequence[Label], format: str, lost: Lost) -> dict[str, Any]:
    lose_fields(document, (), lost)
    lose_scores(document, lost)
    output, left_out = instructing.completed(document.text, document.entities, labels, format)
    for entity, reason in left_out:
        lost("entities that the output format cannot carry", f"{shown(document, entity)}: {reason}")
    return {"instruction": asked, "input": document.text, "output": output}
