"""doccano's JSON Lines for sequence labelling: {"id": 1, "text": "...", "label": [[0, 3, "PER"]]}.

Also its form with relations: "entities": [{"id": 1, "label": "PER", "start_offset": 0, "end_offset": 3}]. Its offsets
count UTF-16 units, unless its project counts grapheme clusters (github.com/doccano/doccano/issues/2290), which is
not read here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from genner_cli.data.offsets import Offsets, Unit
from genner_cli.errors import DataError
from genner_cli.files.forms.lines import failing_as_record, json_objects, write_json
from genner_cli.files.forms.options import FormOptions, Lost, lose_scores, place
from genner_cli.files.reading import Record, document_of
from genner_cli.types import Document, FailedDocument

SUFFIXES: tuple[str, ...] = ()
UNIT = Unit.UTF16

_LABELLED = ("label", "labels", "entities")
_LOST = ("relations", "Comments", "comments")


@failing_as_record
def read(path: str, options: FormOptions, lost: Lost) -> Iterator[Record]:
    """One record for each object; its other keys are fields."""
    for source, value in json_objects(path):
        for name in _LOST:
            if value.get(name):
                lost(f"fields {name!r}", source)
        fields = {key: item for key, item in value.items() if key not in (*_LABELLED, *_LOST)}
        given: Any = next((value[key] for key in _LABELLED if value.get(key) is not None), [])
        try:
            record = {**fields, "entities": [_entity(item, source) for item in given]}
        except DataError as error:
            yield FailedDocument(str(error), source)
            continue
        yield document_of(record, source, text_field=options.text_field, id_field=options.id_field, dropped=())


def _entity(value: Any, source: str) -> dict[str, Any]:
    if isinstance(value, list) and len(value) == 3:
        return {"start": value[0], "end": value[1], "label": value[2]}
    if isinstance(value, dict) and value.keys() >= {"start_offset", "end_offset", "label"}:
        return {"start": value["start_offset"], "end": value["end_offset"], "label": value["label"]}
    raise DataError(f'{source}: {value!r} is no label; doccano writes [0, 3, "PER"]')


def write(documents: Iterable[Document], path: str, options: FormOptions, lost: Lost) -> None:
    """JSON Lines to import as sequence labelling; the other fields become the example's metadata."""
    write_json((_value(document, options, lost) for document in documents), path)


def _value(document: Document, options: FormOptions, lost: Lost) -> dict[str, Any]:
    lose_scores(document, lost)
    for name in (*_LABELLED, *_LOST):
        if name in document.fields:
            lost(f"fields {name!r}, a name of doccano's", place(document))
    offsets = Offsets(document.text, options.offsets or UNIT)
    fields = {name: value for name, value in document.fields.items() if name not in (*_LABELLED, *_LOST)}
    labels = [[offsets.of(e.start), offsets.of(e.end), e.label] for e in document.entities]
    return {options.text_field: document.text, **fields, "label": labels}
