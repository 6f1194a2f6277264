"""Prodigy's JSON Lines for named entities: `text`, `tokens`, `spans` and an `answer`.

    {"text": "Ann slept.", "tokens": [{"text": "Ann", "start": 0, "end": 3, "id": 0, "ws": true}, ...],
     "spans": [{"start": 0, "end": 3, "token_start": 0, "token_end": 0, "label": "PER"}], "answer": "accept"}

Offsets count code points; `token_end` is the span's last token. Keys that begin with _ are Prodigy's own, and are
left out. (prodi.gy/docs/api-interfaces)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from genner_cli.data.offsets import Offsets, Unit
from genner_cli.files.forms.lines import failing_as_record, json_objects, write_json
from genner_cli.files.forms.options import FormOptions, Lost
from genner_cli.files.forms.spacy_tokens import spacy_tokens
from genner_cli.files.reading import Record, document_of
from genner_cli.types import Document

SUFFIXES: tuple[str, ...] = ()
UNIT = Unit.CODEPOINT

_OWN = ("tokens", "spans", "answer")
_SPAN_KEYS = ("start", "end", "label", "text", "score", "token_start", "token_end")


@failing_as_record
def read(path: str, options: FormOptions, lost: Lost) -> Iterator[Record]:
    """One record for each task that was accepted, or never asked; its other keys are fields."""
    for source, task in json_objects(path):
        if task.get("answer", "accept") != "accept":
            lost(f"tasks with the answer {task['answer']!r}", source)
            continue
        fields = {key: value for key, value in task.items() if key not in _OWN and not key.startswith("_")}
        spans = [_entity(span, source, lost) for span in task.get("spans") or []]
        tokens = _tokens(task.get("tokens"))
        record = {**fields, **({"tokens": tokens} if tokens else {}), "entities": spans}
        yield document_of(record, source, text_field=options.text_field, id_field=options.id_field, dropped=())


def _entity(span: Any, source: str, lost: Lost) -> Any:
    if not isinstance(span, dict):
        return span
    for key in span.keys() - set(_SPAN_KEYS):
        lost(f"fields {key!r} of spans", source)
    return {key: span[key] for key in _SPAN_KEYS[:5] if key in span}


def _tokens(tokens: Any) -> list[list[int]] | None:
    """The ranges of the tokens that are more than white space; None where they are not given so."""
    try:
        return [[token["start"], token["end"]] for token in tokens or [] if token["text"].strip()]
    except (TypeError, KeyError, AttributeError):
        return None


def write(documents: Iterable[Document], path: str, options: FormOptions, lost: Lost) -> None:
    """Tasks that `prodigy db-in` takes; tokens are divided where an entity begins or ends within."""
    write_json((_task(document, options, lost) for document in documents), path)


def _task(document: Document, options: FormOptions, lost: Lost) -> dict[str, Any]:
    text = document.text
    offsets = Offsets(text, options.offsets or UNIT)
    tokens = spacy_tokens(document, lost)
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
