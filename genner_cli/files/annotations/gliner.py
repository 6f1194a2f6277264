"""GLiNER's JSON: training data of tokens, and what its models predict.

    {"tokenized_text": ["Ann", "slept", "."], "ner": [[0, 0, "person"]]}
    {"text": "Ann slept.", "entities": [{"start": 0, "end": 3, "text": "Ann", "label": "person", "score": 0.98}]}

The second is `model.predict_entities(text, labels)` beside its text. In the first, the last token is included; a field
"text" gives the white space between the tokens, else `detokenize` makes it. (github.com/urchade/GLiNER)
"""

from __future__ import annotations

from typing import Any

from genner_cli.data.characters import is_space
from genner_cli.data.tokens import detokenize
from genner_cli.errors import DataError
from genner_cli.files.annotations import AnnotationOptions, Dropped
from genner_cli.files.annotations._objects import Json, JsonObjects
from genner_cli.files.tagging import spacy_tokens
from genner_cli.types import Document, Range

_TOKENS, _SPANS = "tokenized_text", "ner"


class Gliner(JsonObjects):
    converts_offsets = True  # places of training data follow from tokens, and those of predictions are Python's
    own = (_TOKENS, _SPANS, "tokens")

    def record(self, value: Json, source: str, options: AnnotationOptions, dropped: Dropped) -> Json:
        """Of training data, or of predictions, which are records already."""
        words = value.get(_TOKENS)
        if _TOKENS not in value:
            return value
        if not isinstance(words, list) or not all(isinstance(word, str) and word.strip() for word in words):
            raise DataError(f'{source}: field "{_TOKENS}" is not a list of tokens, like ["Ann", "slept"]; correct it')
        text, ranges = _placed(words, value.get(options.text_field), source)
        spans = value.get(_SPANS)
        if not isinstance(spans, list):
            raise DataError(
                f'{source}: field "{_SPANS}" is not a list of entities, like [[0, 1, "person"]]; correct it'
            )
        entities = [_entity(span, ranges, source) for span in spans]
        tokens = [list(range) for range in ranges]
        return {**self.others(value), options.text_field: text, "tokens": tokens, "entities": entities}

    def value(self, document: Document, options: AnnotationOptions, dropped: Dropped) -> Json:
        """Training data with the text and fields; tokens are divided where an entity begins or ends within."""
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
        spans = [[first[entity.start], last[entity.end], entity.label] for entity in document.entities]
        words = [text[token.start : token.end] for token in tokens]
        return {**self.others(document.fields), options.text_field: text, _TOKENS: words, _SPANS: spans}


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


def _entity(span: Any, ranges: list[Range], source: str) -> Json:
    if not isinstance(span, list) or len(span) < 3 or not all(type(number) is int for number in span[:2]):
        raise DataError(f'{source}: {span!r} is not an entity; GLiNER writes [0, 1, "person"]')
    first, last, label = span[:3]
    if not 0 <= first <= last < len(ranges):
        raise DataError(f"{source}: {span!r} is not a range of its {len(ranges)} tokens; numbers begin with 0")
    return {"start": ranges[first].start, "end": ranges[last].end, "label": label}


FORMAT = Gliner()
