"""genner inside spaCy and Presidio: their results are the records of `extract`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from genner_cli import extract
from genner_cli.errors import DataError, UsageError

TEXTS = [
    "Ann of Acme met Bob in Rome.",
    "",
    " \n",
    "Eve left Emca for Oslo.",
    "Otto of Acme flew to New York on Monday.",
]
TYPES = "PER,ORG,LOC"


@pytest.fixture
def options(random_path: Path) -> dict[str, Any]:
    return {"model": str(random_path), "slots": 2, "threads": 1, "gpu_layers": 0, "whole_words": True}


@pytest.fixture
def expected(options: dict[str, Any]) -> dict[str, list[tuple[int, int, str, float]]]:
    """What a model of random weights finds, by text."""
    records = extract([text for text in TEXTS if text.strip()], types=TYPES, **options)
    found = {
        record["text"]: [(e["start"], e["end"], e["label"], e["score"]) for e in record["entities"]]
        for record in records
    }
    assert all(found.values())
    return found


def ends_quietly(code: str, options: dict[str, Any]) -> bool:
    """Whether an interpreter that has run this code closes the model before it ends."""
    command = [sys.executable, "-c", f"options = {options!r}\n{code}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode == 0 and "Exception ignored" not in done.stderr


class TestSpacy:
    @pytest.fixture
    def nlp(self, options: dict[str, Any]) -> Any:
        nlp = pytest.importorskip("spacy").blank("en")
        nlp.add_pipe("genner", config={"types": TYPES, "options": options})
        return nlp

    @staticmethod
    def spans(doc: Any) -> list[tuple[int, int, str, float]]:
        group = doc.spans["sc"]
        scores = group.attrs["scores"]
        return [(s.start_char, s.end_char, s.label_, round(score, 4)) for s, score in zip(group, scores, strict=True)]

    def test_docs_come_in_order_with_the_entities_of_extract(self, nlp: Any, expected: dict[str, Any]) -> None:
        docs = list(nlp.pipe(TEXTS, batch_size=2))
        assert [doc.text for doc in docs] == TEXTS
        for doc in docs:
            assert self.spans(doc) == expected[doc.text] if doc.text.strip() else not doc.spans
            flat = [(span.start_char, span.end_char, span.label_) for span in doc.ents]
            assert flat == [(start, end, label) for start, end, label, _ in expected.get(doc.text, [])]
        assert self.spans(nlp(TEXTS[0])) == expected[TEXTS[0]]

    def test_a_saved_pipeline_finds_the_same(self, nlp: Any, expected: dict[str, Any], tmp_path: Path) -> None:
        import spacy

        nlp.to_disk(tmp_path / "pipeline")
        doc = spacy.load(tmp_path / "pipeline")(TEXTS[0])
        copy = spacy.tokens.Doc(nlp.vocab).from_bytes(doc.to_bytes())
        assert self.spans(copy) == expected[TEXTS[0]]

    def test_several_processes_give_the_same(self, nlp: Any, expected: dict[str, Any]) -> None:
        nlp(TEXTS[0])  # the model is open before the processes are made
        docs = list(nlp.pipe([TEXTS[0], TEXTS[3]], n_process=2, batch_size=1))
        assert [self.spans(doc) for doc in docs] == [expected[TEXTS[0]], expected[TEXTS[3]]]

    def test_entities_of_other_components_are_kept_beside(self, options: dict[str, Any]) -> None:
        nlp = pytest.importorskip("spacy").blank("en")
        ruler = nlp.add_pipe("entity_ruler")
        ruler.add_patterns([{"label": "RULE", "pattern": word} for word in ("Rome", ".")])
        nlp.add_pipe("genner", config={"types": TYPES, "options": options, "spans_key": "found"})
        doc = nlp(TEXTS[0])
        found = {token.i for span in doc.spans["found"] for token in span}
        ruled = {span.start for span in doc.ents if span.label_ == "RULE"}
        assert ruled == {token.i for token in doc if token.text in ("Rome", ".")} - found

    def test_ents_can_be_left_alone(self, options: dict[str, Any]) -> None:
        nlp = pytest.importorskip("spacy").blank("en")
        nlp.add_pipe("genner", config={"types": TYPES, "options": options, "ents": False})
        doc = nlp(TEXTS[0])
        assert not doc.ents
        assert doc.spans["sc"]

    def test_an_entity_within_a_token_takes_the_token(self, nlp: Any) -> None:
        import spacy

        doc = spacy.tokens.Doc(nlp.vocab, words=["Ann-led", "team"], spaces=[True, False])
        component = nlp.get_pipe("genner")
        record = {"entities": [{"start": 0, "end": 3, "label": "PER", "score": 0.5}]}
        assert [span.text for span in component._annotated(doc, record).ents] == ["Ann-led"]

    def test_a_text_that_fails_goes_to_spacys_error_handler(self, nlp: Any, expected: dict[str, Any]) -> None:
        with pytest.raises(DataError):
            list(nlp.pipe(["Ann\0", TEXTS[0]]))
        failed = []
        nlp.set_error_handler(lambda name, component, docs, error: failed.append((name, docs[0].text, type(error))))
        docs = list(nlp.pipe(["Ann\0", TEXTS[0]]))
        assert [self.spans(doc) for doc in docs] == [expected[TEXTS[0]]]
        assert failed == [("genner", "Ann\0", DataError)]

    def test_the_model_is_closed_before_the_interpreter_ends(self, nlp: Any, options: dict[str, Any]) -> None:
        code = (
            "import spacy; nlp = spacy.blank('en'); nlp.add_pipe('genner', config={'types': 'PER', 'options': options})"
        )
        assert ends_quietly(f"{code}; nlp('Ann met Bob.')", options)

    @pytest.mark.parametrize(
        ("config", "error"), [({"options": {"modl": "x"}}, TypeError), ({"options": {"depth": 0}}, UsageError)]
    )
    def test_a_wrong_option_is_found_when_the_component_is_added(
        self, config: dict[str, Any], error: type[Exception]
    ) -> None:
        nlp = pytest.importorskip("spacy").blank("en")
        with pytest.raises(error):
            nlp.add_pipe("genner", config=config)


class TestPresidio:
    @pytest.fixture
    def analyzer(self, options: dict[str, Any]) -> Iterator[Any]:
        """Presidio's analyzer, on spaCy's tokens alone, with this recognizer and the one for addresses."""
        pytest.importorskip("presidio_analyzer")
        import spacy
        from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
        from presidio_analyzer.nlp_engine import SpacyNlpEngine
        from presidio_analyzer.predefined_recognizers import EmailRecognizer

        from genner_cli.integrations.presidio import GennerRecognizer

        tokens = SpacyNlpEngine()
        tokens.nlp = {"en": spacy.blank("en")}
        registry = RecognizerRegistry(
            [GennerRecognizer(TYPES, **options), EmailRecognizer()], supported_languages=["en"]
        )
        return AnalyzerEngine(registry=registry, nlp_engine=tokens, supported_languages=["en"])

    def test_results_have_presidios_names_and_the_scores_of_extract(
        self, analyzer: Any, expected: dict[str, Any]
    ) -> None:
        from genner_cli.integrations.presidio import NAMES

        text = TEXTS[0]
        results = analyzer.analyze(text, language="en", entities=list(NAMES.values()))
        found = sorted((r.start, r.end, r.entity_type, r.score) for r in results)
        assert found == sorted((start, end, NAMES[label], score) for start, end, label, score in expected[text])
        assert {r.recognition_metadata["recognizer_name"] for r in results} == {"GennerRecognizer"}

    def test_only_what_is_asked_for_is_given(self, analyzer: Any) -> None:
        results = analyzer.analyze(f"{TEXTS[0]} ann@example.com", language="en", entities=["EMAIL_ADDRESS"])
        assert {result.entity_type for result in results} == {"EMAIL_ADDRESS"}
        results = analyzer.analyze(TEXTS[0], language="en", entities=["PERSON"])
        assert {result.entity_type for result in results} <= {"PERSON"}

    def test_labels_without_another_name_keep_theirs(self, options: dict[str, Any]) -> None:
        pytest.importorskip("presidio_analyzer")
        from genner_cli.integrations.presidio import GennerRecognizer

        recognizer = GennerRecognizer("PER,FOOD", names={"PER": "NAME"}, **options)
        assert recognizer.get_supported_entities() == ["NAME", "FOOD"]
        assert {r.entity_type for r in recognizer.analyze(TEXTS[0], [])} <= {"NAME", "FOOD"}

    def test_the_model_is_closed_before_the_interpreter_ends(self, options: dict[str, Any]) -> None:
        pytest.importorskip("presidio_analyzer")
        code = "from genner_cli.integrations.presidio import GennerRecognizer; r = GennerRecognizer('PER', **options)"
        assert ends_quietly(f"{code}; r.analyze('Ann met Bob.', [])", options)

    def test_a_text_that_fails_is_an_error_and_never_free_of_names(self, options: dict[str, Any]) -> None:
        pytest.importorskip("presidio_analyzer")
        from genner_cli.integrations.presidio import GennerRecognizer

        recognizer = GennerRecognizer(TYPES, **options)
        assert recognizer.analyze(" ", []) == []
        with pytest.raises(DataError):
            recognizer.analyze("Ann\0", [])
