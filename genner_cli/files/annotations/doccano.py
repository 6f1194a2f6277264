"""doccano's JSON Lines for sequence labelling: {"id": 1, "text": "...", "label": [[0, 3, "PER"]]}.

Also the shapes of its other exports and versions: the labels as "labels", "annotations" or, with relations, "entities":
[{"id": 1, "label": "PER", "start_offset": 0, "end_offset": 3}]; the text as "data". Its offsets count UTF-16 units,
unless the project counts grapheme clusters (github.com/doccano/doccano/issues/2290), which is not read here.
"""

from __future__ import annotations

from typing import Any

from genner_cli.data.offsets import Unit
from genner_cli.errors import DataError
from genner_cli.files.annotations import AnnotationOptions, Dropped, place
from genner_cli.files.annotations._objects import Json, JsonObjects
from genner_cli.types import Document

_LABELLED = ("label", "labels", "entities", "annotations")
_DROPPED = ("relations", "Comments", "comments")


class Doccano(JsonObjects):
    unit = Unit.UTF16
    own = (*_LABELLED, *_DROPPED)

    def record(self, value: Json, source: str, options: AnnotationOptions, dropped: Dropped) -> Json:
        """Of an example in any of the shapes."""
        for name in _DROPPED:
            if value.get(name):
                dropped(f"fields {name!r}", source)
        fields = self.others(value)
        if options.text_field not in fields and isinstance(fields.get("data"), str):
            fields[options.text_field] = fields.pop("data")
        given = [value[key] for key in _LABELLED if value.get(key)]
        if not any(key in value for key in _LABELLED):
            dropped(f"labels, for there is none of {', '.join(_LABELLED)}", source)
        for _ in given[1:]:
            dropped("labels in a second field", source)
        return {**fields, "entities": [_entity(item, source) for item in (given[0] if given else ())]}

    def value(self, document: Document, options: AnnotationOptions, dropped: Dropped) -> Json:
        """An example to import as sequence labelling; the other fields become its metadata."""
        dropped.drop_scores(document)
        for name in self.own:
            if name in document.fields:
                dropped(f"fields {name!r}, a name of doccano's", place(document))
        offsets = self.offsets(document.text, options)
        labels = [[offsets.of(e.start), offsets.of(e.end), e.label] for e in document.entities]
        return {options.text_field: document.text, **self.others(document.fields), "label": labels}


def _entity(value: Any, source: str) -> Json:
    if isinstance(value, list) and len(value) == 3:
        entity = dict(zip(("start", "end", "label"), value, strict=True))
    elif isinstance(value, dict) and value.keys() >= {"start_offset", "end_offset", "label"}:
        entity = {"start": value["start_offset"], "end": value["end_offset"], "label": value["label"]}
    else:
        raise DataError(f'{source}: {value!r} is not a label; doccano writes [0, 3, "PER"]')
    if isinstance(entity["label"], int):
        raise DataError(
            f"{source}: its labels are ids ({entity['label']}), not names; export again, as JSONL with text labels"
        )
    return entity


FORMAT = Doccano()
