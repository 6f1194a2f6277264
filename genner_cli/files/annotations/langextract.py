"""langextract's JSON Lines of annotated documents (`langextract.io.save_annotated_documents`).

    {"document_id": "7", "text": "Ann slept.", "extractions": [{"extraction_class": "person", "extraction_text": "Ann",
      "char_interval": {"start_pos": 0, "end_pos": 3}, "alignment_status": "match_exact", "attributes": {}}]}

Offsets count code points. An extraction that langextract did not find in the text has no interval and is dropped; where
it found other words than the extraction's (`match_fuzzy`), the entity is what the text has.
(github.com/google/langextract)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from genner_cli.errors import DataError
from genner_cli.files.annotations import AnnotationOptions, Dropped
from genner_cli.files.annotations._objects import Json, JsonObjects
from genner_cli.types import Document

_CARRIED = ("extraction_class", "extraction_text", "char_interval", "alignment_status")
_NUMBERS = ("extraction_index", "group_index", "token_interval")


class LangExtract(JsonObjects):
    own = ("extractions", "document_id")

    def record(self, value: Json, source: str, options: AnnotationOptions, dropped: Dropped) -> Json:
        """Of an annotated document."""
        known = {} if value.get("document_id") is None else {options.id_field: value["document_id"]}
        entities = list(_entities(value.get("extractions"), source, dropped))
        return {**known, **self.others(value), "entities": entities}

    def value(self, document: Document, options: AnnotationOptions, dropped: Dropped) -> Json:
        """What `langextract.io.load_annotated_documents_jsonl` and `langextract.visualize` read."""
        dropped.drop_scores(document)
        offsets = self.offsets(document.text, options)
        fields = self.others(document.fields)
        fields.pop(options.id_field, None)
        extractions = [
            {
                "extraction_class": entity.label,
                "extraction_text": entity.text,
                "char_interval": {"start_pos": offsets.of(entity.start), "end_pos": offsets.of(entity.end)},
                "alignment_status": "match_exact",
                "attributes": {},
            }
            for entity in document.entities
        ]
        known = {"document_id": document.id, options.text_field: document.text}
        return {**fields, **known, "extractions": extractions}


def _entities(given: Any, source: str, dropped: Dropped) -> Iterator[Json]:
    if not isinstance(given, list):
        raise DataError(f'{source}: field "extractions" is not a list; write the file with save_annotated_documents')
    for item in given:
        if not isinstance(item, dict) or "extraction_class" not in item:
            raise DataError(f"{source}: {item!r} is not an extraction; langextract writes extraction_class and others")
        interval = item.get("char_interval") or {}
        start, end = (interval.get(name) for name in ("start_pos", "end_pos")) if isinstance(interval, dict) else (0, 0)
        if start is None or end is None:
            dropped("extractions without a place in the text", f"{source}: {item.get('extraction_text')!r}")
            continue
        for name, value in item.items():
            if value and name not in (*_CARRIED, *_NUMBERS):
                dropped(f"fields {name!r} of extractions", source)
        yield {"start": start, "end": end, "label": item["extraction_class"]}


FORMAT = LangExtract()
