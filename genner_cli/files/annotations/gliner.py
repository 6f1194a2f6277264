"""GLiNER's JSON: training data of tokens, and what its models predict.

    {"tokenized_text": ["Ann", "slept", "."], "ner": [[0, 0, "person"]]}
    {"text": "Ann slept.", "entities": [{"start": 0, "end": 3, "text": "Ann", "label": "person", "score": 0.98}]}

The second is `model.predict_entities(text, labels)` beside its text. In the first, the last token is included; a field
"text" gives the white space between the tokens, else `detokenize` makes it. (github.com/urchade/GLiNER)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from genner_cli.data.characters import is_space
from genner_cli.data.tokens import detokenize
from genner_cli.errors import DataError
from genner_cli.files.annotations import AnnotationFormat, AnnotationOptions, Dropped
from genner_cli.files.records import Record
from genner_cli.files.streams import json_objects
from genner_cli.files.tagging import spacy_tokens
from genner_cli.files.writing import write_json
from genner_cli.types import Document, FailedDocument, Range

_TOKENS, _SPANS = "tokenized_text", "ner"
_OWN = (_TOKENS, _SPANS, "tokens")


class Gliner(AnnotationFormat):
    converts_offsets = True  # places of training data follow from tokens, and those of predictions are Python's

    def records(self, path: str, options: AnnotationOptions, dropped: Dropped) -> Iterator[Record]:
        """One record for each object; its other keys are fields."""
        for source, value in json_objects(path, dropped):
            try:
                record = _of_tokens(value, source, options) if _TOKENS in value else value
            except DataError as error:
                yield FailedDocument(str(error), source)
                continue
            yield options.document(record, source)

    def write(self, documents: Iterable[Document], path: str, options: AnnotationOptions, dropped: Dropped) -> None:
        """Training data, with texts and fields; tokens are divided where an entity begins or ends within."""
        write_json((_value(document, options, dropped) for document in documents), path)


def _of_tokens(value: Mapping[str, Any], source: str, options: AnnotationOptions) -> dict[str, Any]:
    words = value[_TOKENS]
    if not isinstance(words, list) or not all(isinstance(word, str) and word.strip() for word in words):
        raise DataError(f'{source}: field "{_TOKENS}" is not a list of tokens, like ["Ann", "slept"]; correct it')
    text, ranges = _placed(words, value.get(options.text_field), source)
    fields = {name: item for name, item in value.items() if name not in _OWN}
    spans = value.get(_SPANS)
    if not isinstance(spans, list):
        raise DataError(f'{source}: field "{_SPANS}" is not a list of entities, like [[0, 1, "person"]]; correct it')
    entities = [_entity(span, ranges, source) for span in spans]
    return {**fields, options.text_field: text, "tokens": [list(range) for range in ranges], "entities": entities}


def _placed(words: list[str], text: Any, source: str) -> tuple[str, list[Range]]:
    """The text of the tokens, and where they stand in it."""
    if not isinstance(text, str):
        return detokenize(words)
    ranges, at = [], 0
    for number, word in enumerate(words):
        at = text.find(word, at)
        if at < 0:
            raise DataError(f"{source}: token {number}, {word!r}, is not in the text; remove the text, or correct it")
        ranges.append(Range(at, at + len(word)))
        at += len(word)
    return text, ranges


def _entity(span: Any, ranges: list[Range], source: str) -> dict[str, Any]:
    if not isinstance(span, list) or len(span) < 3 or not all(type(number) is int for number in span[:2]):
        raise DataError(f'{source}: {span!r} is not an entity; GLiNER writes [0, 1, "person"]')
    first, last, label = span[:3]
    if not 0 <= first <= last < len(ranges):
        raise DataError(f"{source}: {span!r} is not a range of its {len(ranges)} tokens; numbers begin with 0")
    return {"start": ranges[first].start, "end": ranges[last].end, "label": label}


def _value(document: Document, options: AnnotationOptions, dropped: Dropped) -> dict[str, Any]:
    dropped.drop_scores(document)
    text = document.text
    starts, ends = ({getattr(entity, side) for entity in document.entities} for side in ("start", "end"))
    tokens = [
        token
        for token in spacy_tokens(document, dropped)
        if token.start in starts or token.end in ends or not all(map(is_space, text[token.start : token.end]))
    ]
    first = {token.start: number for number, token in enumerate(tokens)}
    last = {token.end: number for number, token in enumerate(tokens)}
    fields = {name: value for name, value in document.fields.items() if name not in _OWN}
    spans = [[first[entity.start], last[entity.end], entity.label] for entity in document.entities]
    words = [text[token.start : token.end] for token in tokens]
    return {**fields, options.text_field: text, _TOKENS: words, _SPANS: spans}


FORMAT = Gliner()
