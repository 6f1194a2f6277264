"""genner as a component of a spaCy pipeline (the entry point `spacy_factories`).

    nlp = spacy.blank("en")
    nlp.add_pipe("genner", config={"types": "PER,ORG", "options": {"min_score": 0.5}})
    doc = nlp("John Smith joined Acme.")
    [(span.text, span.label_, score) for span, score in zip(doc.spans["sc"], doc.spans["sc"].attrs["scores"])]

All entities stand in a span group with their scores; those that do not overlap stand in `doc.ents` as well.
"""

from __future__ import annotations

import os
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from spacy.language import Language
from spacy.pipeline.pipe import Pipe
from spacy.util import filter_spans

from genner_cli.api import Extractor
from genner_cli.errors import DataError

if TYPE_CHECKING:
    from spacy.tokens import Doc, Span


class Genner(Pipe):
    """Puts the entities that a model finds into Docs. The model is opened for the first of them.

    A Doc that fails is a DataError for the error handler of spaCy, whose default raises it.
    """

    def __init__(
        self, name: str, types: str | list[str] | None, options: Mapping[str, Any], spans_key: str, ents: bool
    ) -> None:
        """`types`: labels, None for the model's own; `options`: those of `Extractor` by name; `spans_key`: the name of
        the span group; `ents`: whether to set `doc.ents`. Raises TypeError for an option that there is not."""
        self.name = name
        self._extractor = Extractor(types, **options)
        self._spans_key, self._ents = spans_key, ents
        self._process: int | None = None

    def __call__(self, doc: Doc) -> Doc:
        """The Doc with its entities."""
        return next(self.pipe([doc]), doc)

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 0) -> Iterator[Doc]:
        """The Docs with their entities, in order; as many run side by side as the model has slots."""
        self._open()
        waiting: deque[Doc] = deque()

        def texts() -> Iterator[str]:
            for doc in stream:
                waiting.append(doc)
                if _has_text(doc):
                    yield doc.text

        for record in self._extractor.extract(texts()):
            while not _has_text(waiting[0]):
                yield waiting.popleft()
            doc = waiting.popleft()
            try:
                yield self._annotated(doc, record)
            except DataError as error:
                self.get_error_handler()(self.name, self, [doc], error)
        yield from waiting

    def _open(self) -> None:
        """Opens the model once in each process: what llama.cpp has opened does not survive a fork (`n_process`)."""
        if self._process != os.getpid():
            weakref.finalize(self, self._extractor.__enter__().__exit__, None, None, None)
            self._process = os.getpid()

    def _annotated(self, doc: Doc, record: Mapping[str, Any]) -> Doc:
        if "error" in record:
            raise DataError(record["error"]["message"])
        scores: dict[Span, float | None] = {}
        for entity in record["entities"]:
            scores.setdefault(_span(doc, entity), entity.get("score"))
        doc.spans[self._spans_key] = list(scores)
        doc.spans[self._spans_key].attrs["scores"] = list(scores.values())
        if self._ents:
            found = filter_spans(scores)
            taken = {token.i for span in found for token in span}
            others = [span for span in doc.ents if taken.isdisjoint(range(span.start, span.end))]
            doc.ents = [*found, *others]
        return doc


def _span(doc: Doc, entity: Mapping[str, Any]) -> Span:
    """The tokens of an entity, and of one that ends within a token the whole token."""
    return doc.char_span(entity["start"], entity["end"], label=entity["label"], alignment_mode="expand")


def _has_text(doc: Doc) -> bool:
    return bool(doc.text.strip())


@Language.factory(  # type: ignore[untyped-decorator]
    "genner",
    assigns=["doc.ents", "doc.spans"],
    default_config={"types": None, "options": {}, "spans_key": "sc", "ents": True},
)
def make_component(
    nlp: Language, name: str, types: str | list[str] | None, options: dict[str, Any], spans_key: str, ents: bool
) -> Genner:
    """The component for `nlp.add_pipe("genner", config={...})`; see `Genner` for the config."""
    return Genner(name, types, options, spans_key, ents)
