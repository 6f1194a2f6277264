"""Prodigy's JSON Lines for named entities: `text`, `tokens`, `spans` and an `answer`.

    {"text": "Ann slept.", "tokens": [{"text": "Ann", "start": 0, "end": 3, "id": 0, "ws": true}, ...],
     "spans": [{"start": 0, "end": 3, "token_start": 0, "token_end": 0, "label": "PER"}], "answer": "accept"}

Offsets count code points; `token_end` is the span's last token. Keys that begin with _ are Prodigy's own, and are
left out. (prodi.gy/docs/api-interfaces)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from genner_cli.files.annotations import AnnotationFormat, AnnotationOptions, Dropped
from genner_cli.files.records import Record
from genner_cli.files.streams import json_objects
from genner_cli.files.tagging import spacy_tokens
from genner_cli.files.writing import write_json
from genner_cli.types import Document

_OWN = ("tokens", "spans", "answer")
_SPAN_KEYS = ("start", "end", "label", "text", "score", "token_start", "token_end")


class Prodigy(AnnotationFormat):
    def records(self, path: str, options: AnnotationOptions, dropped: Dropped) -> Iterator[Record]:
        """One record for each task that was accepted, or never asked; its other keys are fields."""
        for source, task in json_objects(path, dropped):
            if task.get("answer", "accept") != "accept":
                dropped(f"tasks with the answer {task['answer']!r}", source)
                continue
            if task.get("_view_id") == "ner":  # of ner.teach, which asks about one span at a time
                dropped("answers about one span, read as the whole text's", source)
            fields = {key: value for key, value in task.items() if key not in _OWN and not key.startswith("_")}
            spans = [_entity(span, source, dropped) for span in task.get("spans") or []]
            tokens = _tokens(task.get("tokens"))
            record = {**fields, **({"tokens": tokens} if tokens else {}), "entities": spans}
            yield options.document(record, source)

    def write(self, documents: Iterable[Document], path: str, options: AnnotationOptions, dropped: Dropped) -> None:
        """Tasks that `prodigy db-in` takes; tokens are divided where an entity begins or ends within."""
        write_json((_task(document, options, dropped) for document in documents), path)


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


def _task(document: Document, options: AnnotationOptions, dropped: Dropped) -> dict[str, Any]:
    text = document.text
    offsets = FORMAT.offsets(text, options)
    tokens = spacy_tokens(document, dropped)
    first = {token.start: number for number, token in enumerate(tokens)}
    last = {token.end: number for number, token in enumerate(tokens)}
    task: dict[str, Any] = {options.text_field: text}
    task |= {name: value for name, value in document.fields.items() if name not in _OWN}
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
            **({} if entity.score is None else {"score": entity.score}),
        }
        for entity in document.entities
    ]
    return task | {"answer": "accept"}


FORMAT = Prodigy()
