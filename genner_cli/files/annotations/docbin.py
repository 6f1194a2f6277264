"""spaCy's DocBin (.spacy), for `spacy train`. Needs the extra `spacy`.

Entities side by side stand in `doc.ents`; where some nest or cross, all of them stand in `doc.spans["sc"]` as well,
where spaCy's span categorizer looks for them. Scores and other fields are kept as JSON in `doc.user_data["genner"]`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import orjson

from genner_cli.errors import DataError, UsageError
from genner_cli.files.annotations import AnnotationFormat, AnnotationOptions, Dropped
from genner_cli.files.records import Record
from genner_cli.files.streams import content
from genner_cli.files.tagging import spacy_tokens
from genner_cli.files.writing import Writer
from genner_cli.types import Document, Entity

if TYPE_CHECKING:
    from spacy.tokens import Doc

_SPANS = "sc"
_KEPT = "genner"
_ATTRIBUTES = {
    "TAG": "tags",
    "POS": "parts of speech",
    "MORPH": "morphology",
    "LEMMA": "lemmas",
    "DEP": "dependencies",
    "SENT_START": "sentences",
}
"""spaCy's attributes of tokens, and what they are called here."""


class DocBin(AnnotationFormat):
    suffixes = (".spacy",)

    def records(self, path: str, options: AnnotationOptions, dropped: Dropped) -> Iterator[Record]:
        """One record for each Doc."""
        spacy = _spacy()
        data = content(path)
        try:
            docs = list(spacy.tokens.DocBin().from_bytes(data).get_docs(spacy.vocab.Vocab()))
        except Exception as error:  # zlib, msgpack and spaCy raise many kinds for other bytes
            raise DataError(f"{path}: not a DocBin ({error}); write it with DocBin.to_disk") from error
        for number, doc in enumerate(docs):
            source = f"{path}[{number}]"
            kept = _kept(doc)
            record = {options.text_field: doc.text, **kept["fields"], "entities": _entities(doc, kept["scores"])}
            record["tokens"] = [[token.idx, token.idx + len(token)] for token in doc if not token.text.isspace()]
            for what in _not_carried(doc):
                dropped(what, source)
            yield options.document(record, source)

    def write(self, documents: Iterable[Document], path: str, options: AnnotationOptions, dropped: Dropped) -> None:
        """All documents in one DocBin; tokens are divided where an entity begins or ends within."""
        spacy = _spacy()
        vocab = spacy.vocab.Vocab()
        with Writer(path, suffixes=("",)) as writer:
            docs = (_doc(spacy, vocab, document, options, dropped) for document in documents)
            writer.write(spacy.tokens.DocBin(store_user_data=True, docs=docs).to_bytes())


def _spacy() -> Any:
    try:
        import spacy
    except ImportError as error:
        raise UsageError("DocBin files need spaCy; install it with: pip install 'genner[spacy]'") from error
    return spacy


def _kept(doc: Doc) -> dict[str, Any]:
    """What `write` kept beside spaCy's own; nothing in other tools' files."""
    try:
        kept = orjson.loads(doc.user_data.get(_KEPT, "{}"))
        return {"fields": dict(kept["fields"]), "scores": {tuple(key): score for *key, score in kept["scores"]}}
    except (orjson.JSONDecodeError, TypeError, ValueError, KeyError):
        return {"fields": {}, "scores": {}}


def _entities(doc: Doc, scores: dict[tuple[int, int, str], float]) -> list[dict[str, Any]]:
    spans = {(span.start_char, span.end_char, span.label_) for span in (*doc.ents, *doc.spans.get(_SPANS, ()))}
    return [
        {"start": start, "end": end, "label": label, "score": scores.get((start, end, label))}
        for start, end, label in sorted(spans)
    ]


def _not_carried(doc: Doc) -> Iterator[str]:
    """What a Doc holds besides text, tokens and labelled spans."""
    yield from (f"spans {key!r}" for key in doc.spans if key != _SPANS)
    spans = (*doc.ents, *doc.spans.get(_SPANS, ()))
    yield from ("knowledge base ids" for span in spans if span.kb_id_)
    yield from ("span ids" for span in spans if span.id_ or span.ent_id_)
    yield from (f"category {name!r}" for name in doc.cats)
    yield from (_ATTRIBUTES[name] for name in _ATTRIBUTES if doc.has_annotation(name))
    if any(key != _KEPT for key in doc.user_data):
        yield "user data"


def _doc(spacy: Any, vocab: Any, document: Document, options: AnnotationOptions, dropped: Dropped) -> Doc:
    tokens = spacy_tokens(document, dropped)
    words = [document.text[start:end] for start, end, _ in tokens]
    doc: Doc = spacy.tokens.Doc(vocab, words=words, spaces=[ws for *_, ws in tokens])
    first = {token.start: number for number, token in enumerate(tokens)}
    end = {token.end: number + 1 for number, token in enumerate(tokens)}
    spans = [spacy.tokens.Span(doc, first[e.start], end[e.end], label=e.label) for e in document.entities]
    flat = list(_flat(document.entities))
    doc.ents = tuple(spans[number] for number in flat)
    if len(flat) < len(spans):
        doc.spans[_SPANS] = spans
    fields = {name: value for name, value in document.fields.items() if name != "tokens"}
    scores = [[e.start, e.end, e.label, e.score] for e in document.entities if e.score is not None]
    doc.user_data[_KEPT] = orjson.dumps({"fields": fields, "scores": scores}).decode()
    return doc


def _flat(entities: Iterable[Entity]) -> Iterator[int]:
    """The numbers of the entities that overlap none before them; the longer of two comes first."""
    reach = 0
    for number, entity in enumerate(entities):
        if entity.start >= reach:
            reach = entity.end
            yield number


FORMAT = DocBin()
