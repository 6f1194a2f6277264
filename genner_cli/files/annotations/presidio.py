"""Presidio's JSON: texts with the results of the analyzer, as the anonymizer takes them; samples of its evaluator.

    {"text": "Ann slept.", "analyzer_results": [{"entity_type": "PERSON", "start": 0, "end": 3, "score": 0.85}]}
    {"full_text": "Ann slept.", "spans": [{"entity_type": "PERSON", "entity_value": "Ann", "start_position": 0, ...}]}

`[result.to_dict() for result in analyzer.analyze(text, "en")]` is what the first holds. Offsets count code points.
(microsoft.github.io/presidio/api-docs, presidio_evaluator's InputSample)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genner_cli.errors import DataError
from genner_cli.files.annotations import AnnotationOptions, Dropped
from genner_cli.files.annotations._objects import Json, JsonObjects, score_of
from genner_cli.types import Document

_RESULTS, _SAMPLE_TEXT, _SAMPLE_SPANS = "analyzer_results", "full_text", "spans"
_OF_RESULT = {"start": "start", "end": "end", "entity_type": "label", "score": "score"}
_OF_SPAN = {"start_position": "start", "end_position": "end", "entity_type": "label", "entity_value": "text"}


class Presidio(JsonObjects):
    own = (_RESULTS,)

    def record(self, value: Json, source: str, options: AnnotationOptions, dropped: Dropped) -> Json:
        """Of a text with its results, or of a sample."""
        sample = _SAMPLE_TEXT in value
        text, spans, keys = (
            (_SAMPLE_TEXT, _SAMPLE_SPANS, _OF_SPAN) if sample else (options.text_field, _RESULTS, _OF_RESULT)
        )
        fields = {name: item for name, item in value.items() if name not in (text, spans, options.text_field)}
        given = value.get(spans)
        if not isinstance(given, list):
            raise DataError(
                f'{source}: field "{spans}" is not a list of results; write [result.to_dict() for result in ...]'
            )
        entities = [_entity(item, keys, source, dropped) for item in given]
        there = {options.text_field: value[text]} if text in value else {}
        return {**fields, **there, "entities": entities}

    def value(self, document: Document, options: AnnotationOptions, dropped: Dropped) -> Json:
        """A text and its results: a request to Presidio's anonymizer, but for its operators."""
        offsets = self.offsets(document.text, options)
        results = [
            {
                "entity_type": entity.label,
                "start": offsets.of(entity.start),
                "end": offsets.of(entity.end),
                **score_of(entity),
            }
            for entity in document.entities
        ]
        return {**self.others(document.fields), options.text_field: document.text, _RESULTS: results}


def _entity(item: Any, keys: Mapping[str, str], source: str, dropped: Dropped) -> Json:
    if not isinstance(item, dict) or "entity_type" not in item:
        raise DataError(f'{source}: {item!r} is not a result; Presidio writes "entity_type", "start" and "end"')
    for name, value in item.items():
        if value is not None and name not in keys:
            dropped(f"fields {name!r} of results", source)
    return {keys[name]: value for name, value in item.items() if name in keys}


FORMAT = Presidio()
