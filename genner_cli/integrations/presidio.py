"""genner as a recognizer of Presidio's analyzer.

from presidio_analyzer import AnalyzerEngine
from genner_cli.integrations.presidio import GennerRecognizer

analyzer = AnalyzerEngine()
analyzer.registry.add_recognizer(GennerRecognizer("PER,ORG,LOC"))
analyzer.analyze("John Smith joined Acme.", language="en")
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any

from presidio_analyzer import AnalysisExplanation, EntityRecognizer, RecognizerResult

from genner_cli.api import Extractor, Types
from genner_cli.errors import DataError

NAMES = {"PER": "PERSON", "ORG": "ORGANIZATION", "LOC": "LOCATION"}
"""What Presidio calls the entities of common labels."""


class GennerRecognizer(EntityRecognizer):  # type: ignore[misc]  # Presidio is not typed here
    """Recognizes the entities of a model that is opened at once and kept; threads take turns."""

    def __init__(
        self,
        types: Types | None = None,
        *,
        names: Mapping[str, str] = NAMES,
        supported_language: str = "en",
        name: str = "GennerRecognizer",
        **options: Any,
    ) -> None:
        """`types`: labels, None for the model's own; `names`: what they are called in Presidio, where that is not the
        label itself; `options`: those of `Extractor` by name. Raises TypeError for an option that there is not;
        ModelError and UsageError with a remedy.
        """
        self._extractor = Extractor(types, **options).__enter__()
        weakref.finalize(self, self._extractor.__exit__, None, None, None)
        self._names = {label.name: names.get(label.name, label.name) for label in self._extractor.labels}
        self._turn = Lock()
        super().__init__(
            supported_entities=list(dict.fromkeys(self._names.values())),
            supported_language=supported_language,
            name=name,
        )

    def load(self) -> None:
        """Nothing: the model is open already."""

    def analyze(self, text: str, entities: Sequence[str], nlp_artifacts: Any = None) -> list[RecognizerResult]:
        """The results for a text, of the entities asked for (all for none). Raises DataError where a text fails."""
        if not text.strip():
            return []
        with self._turn:
            (record,) = self._extractor.extract([text])
        if "error" in record:
            raise DataError(record["error"]["message"])
        results = map(self._result, record["entities"])
        return [result for result in results if not entities or result.entity_type in entities]

    def _result(self, entity: Mapping[str, Any]) -> RecognizerResult:
        score = entity.get("score", self.MAX_SCORE)
        return RecognizerResult(
            self._names[entity["label"]],
            entity["start"],
            entity["end"],
            score,
            AnalysisExplanation(self.name, score, textual_explanation=f"label {entity['label']}"),
            {
                RecognizerResult.RECOGNIZER_NAME_KEY: self.name,
                RecognizerResult.RECOGNIZER_IDENTIFIER_KEY: self.id,
            },
        )
