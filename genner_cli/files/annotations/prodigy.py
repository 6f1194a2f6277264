"""Prodigy's JSON Lines for named entities: `text`, `tokens`, `spans` and an `answer`.

    {"text": "Ann slept.", "tokens": [{"text": "Ann", "start": 0, "end": 3, "id": 0, "ws": true}, ...],
     "spans": [{"start": 0, "end": 3, "token_start": 0, "token_end": 0, "label": "PER"}], "answer": "accept"}

Offsets count code points; `token_end` is the span's last token. Keys that begin with _ are Prodigy's own, and are
left out. (prodi.gy/docs/api-interfaces)
"""

from __future__ import annotations

from typing import Any

from genner_cli.files.annotations import AnnotationOptions, Dropped
from genner_cli.files.annotations._objects import Json, JsonObjects, score_of
from genner_cli.files.tagging import spacy_tokens
from genner_cli.types import Document

_SPAN_KEYS = ("start", "end", "label", "text", "score", "token_start", "token_end")


class Prodigy(JsonObjects):
    own = ("tokens", "spans", "answer")

    def record(self, value: Json, source: str, options: AnnotationOptions, dropped: Dropped) -> Json | None:
        """Of a task that was accepted, or never asked."""
        if value.get("answer", "accept") != "accept":
            dropped(f"tasks with the answer {value['answer']!r}", source)
            return None
        if value.get("_view_id") == "ner":  # of ner.teach, which asks about one span at a time
            dropped("answers about one span, read as the whole text's", source)
        fields = {key: item for key, item in self.others(value).items() if not key.startswith("_")}
        spans = [_entity(span, source, dropped) for span in value.get("spans") or []]
        tokens = _tokens(value.get("tokens"))
        return {**fields, **({"tokens": tokens} if tokens else {}), "entities": spans}

    def value(self, document: Document, options: AnnotationOptions, dropped: Dropped) -> Json:
        """A task that `prodigy db-in` takes; tokens are divided where an entity begins or ends within."""
        text = document.text
        offsets = self.offsets(text, options)
        tokens = spacy_tokens(document, dropped)
        first = {token.start: number for number, token in enumerate(tokens)}
        last = {token.end: number for number, token in enumerate(tokens)}
        task: Json = {options.text_field: text, **self.others(document.fields)}
        task["tokens"] = [
            {"text": text[start:end], "start": offsets.of(start), "end": offsets.of(end), "id": number, "ws": ws}
            for number, (start, end, ws) in enumerate(tokens)
        ]
        task["spans"] = [
            {
                "start": offsets.of(entity.start),
                "end": offsets.of(entity.end),
                "token_start": first[entity.start],
                "token_end": last[entity.end],
                "label": entity.label,
                **score_of(entity),
            }
            for entity in document.entities
        ]
        return task | {"answer": "accept"}


def _entity(span: Any, source: str, dropped: Dropped) -> Any:
    if not isinstance(span, dict):
        return span
    for key in span.keys() - set(_SPAN_KEYS):
        dropped(f"fields {key!r} of spans", source)
    return {key: span[key] for key in _SPAN_KEYS[:5] if key in span}


def _tokens(tokens: Any) -> list[list[int]] | None:
    """The ranges of the tokens that are more than white space; None where they are not given so."""
    try:
        return [[token["start"], token["end"]] for token in tokens or [] if token["text"].strip()]
    except (TypeError, KeyError, AttributeError):
        return None


FORMAT = Prodigy()
