"""Extraction around an injected engine: order, failures, scores, and long documents put together again."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import pytest
from fake_engine import FakeEngine, Handler, completion, text_of

from genner_cli.extraction import WAITING_DOCUMENTS, DocumentOrFailure, extract, score
from genner_cli.formats import FORMATS, output_format
from genner_cli.generation import Completion, Request
from genner_cli.prompting import GENERAL_PROMPT
from genner_cli.running.task import unknown_labels
from genner_cli.tasks import Task
from genner_cli.types import Calibration, Document, Entity, Extraction, FailedDocument, Knot, Label, Range, ScoreMap

TASK = Task((Label("PER"), Label("ORG")), GENERAL_PROMPT, "xml")
NAME = re.compile(r"Zoë\d+ Żebra")


def named(text: str) -> list[Entity]:
    """Every planted name of a text, in order."""
    return [Entity(found.start(), found.end(), "PER", found[0]) for found in NAME.finditer(text)]


def marking(task: Task = TASK) -> Handler:
    """A handler that knows all planted names."""
    return lambda request: (
        output_format(task.format).render(text_of(request), named(text_of(request)), task.names).completion
    )


def run(documents: list[DocumentOrFailure], task: Task = TASK, handler: Handler | None = None) -> list[Extraction]:
    return list(extract(documents, task, FakeEngine(handler or marking(task)).generate))


def texts(count: int) -> list[DocumentOrFailure]:
    return [Document(f"Here is Zoë{number} Żebra, again.", source=f"line {number}") for number in range(count)]


@pytest.mark.parametrize("slots", [1, 2, 7, 100])
@pytest.mark.parametrize("seed", range(3))
def test_output_order_is_input_order_however_completions_finish(slots: int, seed: int) -> None:
    documents = texts(30)
    engine = FakeEngine(marking(), slots=slots, seed=seed)
    results = list(extract(documents, TASK, engine.generate))
    assert [result.document for result in results] == documents
    assert [result.entities[0].text for result in results] == [f"Zoë{number} Żebra" for number in range(30)]


@pytest.mark.parametrize("format", FORMATS)
def test_entities_come_back_from_every_format(format: str) -> None:
    (result,) = run([Document("Zoë1 Żebra met Zoë2 Żebra.")], replace(TASK, format=format))
    assert result.error is None
    assert list(result.entities) == named("Zoë1 Żebra met Zoë2 Żebra.")
    assert len(result.completions) == 1


def test_documents_that_were_not_read_and_blank_ones_take_their_place_without_a_request() -> None:
    failed = FailedDocument("in.jsonl:2: not JSON", "in.jsonl:2", fields={"x": 1})
    blank = Document(" \n\t ")
    documents = [failed, *texts(2), blank, failed, *texts(1), blank]
    engine = FakeEngine(marking())
    results = list(extract(documents, TASK, engine.generate))
    assert [result.document for result in results] == documents
    assert [result.error for result in results if result.document is failed] == ["in.jsonl:2: not JSON"] * 2
    assert all(result == Extraction(blank) for result in results if result.document is blank)
    assert len(engine.requests) == 3


def test_no_documents_give_no_extractions() -> None:
    assert run([]) == []


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("kind", ["failed", "blank"])
def test_a_long_run_without_requests_is_handed_out_as_it_comes(first: int, kind: str) -> None:
    """Else a file of broken lines would be held in memory as a whole, behind one document or none."""
    drawn = given_out = most = 0
    one = FailedDocument("broken", "f:1") if kind == "failed" else Document("  ")

    def documents() -> Iterator[DocumentOrFailure]:
        nonlocal drawn, most
        for document in [*texts(first), *([one] * 5000), *texts(1)]:
            drawn += 1
            most = max(most, drawn - given_out)
            yield document

    for _ in extract(documents(), TASK, FakeEngine(marking()).generate):
        given_out += 1
    assert given_out == first + 5001
    assert most <= WAITING_DOCUMENTS


def test_documents_are_read_only_as_they_are_needed() -> None:
    drawn = given_out = 0

    def documents() -> Iterator[DocumentOrFailure]:
        nonlocal drawn
        for document in texts(50):
            drawn += 1
            assert drawn - given_out <= 5
            yield document

    for _ in extract(documents(), TASK, FakeEngine(marking(), slots=1).generate):
        given_out += 1
    assert given_out == 50


def test_a_request_holds_prompt_grammar_lock_and_constraint() -> None:
    engine = FakeEngine(marking())
    list(extract([Document("a b")], replace(TASK, depth=2), engine.generate))
    (request,) = engine.requests
    assert request.prefix == GENERAL_PROMPT.prefix(TASK.labels)
    assert request.rest == GENERAL_PROMPT.rest("a b")
    assert request.grammar == FORMATS["xml"].grammar(["PER", "ORG"], depth=2)
    assert request.allowance > 2 * len("a b")
    assert request.constraint is TASK.constraint


def failing_at(word: str, answer: Completion | str) -> Handler:
    return lambda request: answer if word in text_of(request) else marking()(request)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Completion("", error="the text needs up to 9 tokens"), "needs up to 9 tokens"),
        ("no such text", "leaves the text"),
        (completion("Here is <PER>"), "before the text does"),
        ("", "before the text does"),
    ],
)
def test_a_bad_completion_fails_its_document_with_its_source_and_no_other(
    answer: Completion | str, message: str
) -> None:
    results = run(texts(6), handler=failing_at("Zoë2", answer))
    assert [bool(result.error) for result in results] == [number == 2 for number in range(6)]
    assert results[2].error is not None
    assert results[2].error.startswith("line 2: ")
    assert message in results[2].error
    assert results[2].entities == ()


def test_one_bad_chunk_fails_the_whole_document_and_keeps_all_completions() -> None:
    long = " ".join(f"Sentence {number} has Zoë{number} Żebra in it." for number in range(8))
    task = replace(TASK, chunk_bytes=100)
    results = run([Document(long), *texts(1)], task, failing_at("Zoë5", "nonsense"))
    assert results[0].error
    assert results[0].entities == ()
    assert len(results[0].completions) > 2
    assert "nonsense" in results[0].completions
    assert results[1].entities


@pytest.mark.parametrize(("least", "kept"), [(0.0, 3), (0.25, 2), (0.5, 1), (0.51, 0)])
def test_entities_below_the_least_score_are_left_out(least: float, kept: int) -> None:
    """Scores are the product over the tokens of an entity's rendering: one byte each but for a few."""
    written = "<PER>a</PER> <PER>b</PER> <PER>c</PER>"
    chances = {0: 0.5, 13: 0.25, 26: 0.125}
    logs = tuple(math.log(chances.get(number, 1.0)) for number in range(len(written)))
    answer = Completion(written, tuple(range(1, len(written) + 1)), logs)
    (result,) = run([Document("a b c")], replace(TASK, min_score=least), lambda request: answer)
    assert len(result.entities) == kept


def test_a_label_that_was_not_asked_for_is_left_out() -> None:
    handler = lambda request: "<GPE>a</GPE> <PER>b</PER>"  # noqa: E731
    (result,) = run([Document("a b")], handler=handler)
    assert [(e.label, e.text) for e in result.entities] == [("PER", "b")]


def of_pieces(*pieces: tuple[str, float | None]) -> Completion:
    """A completion of these tokens with these probabilities."""
    ends, end = [], 0
    for text, _ in pieces:
        end += len(text.encode())
        ends.append(end)
    logs = tuple(None if chance is None else math.log(chance) for _, chance in pieces)
    return Completion("".join(text for text, _ in pieces), tuple(ends), logs)


NESTED = of_pieces(
    ("É ", 0.9), ("⟦", 0.5), ("⟦", 0.6), ("Zoë", 1.0), ("⦂", 0.7), ("PER", 0.8), ("⟧", 1.0),
    (" Inc", 0.9), ("⦂", 0.4), ("ORG", 0.3), ("⟧", None), (" b", 0.1),
)  # fmt: skip


def test_a_score_is_the_product_over_the_tokens_of_the_rendering_without_those_of_entities_inside() -> None:
    (result,) = run([Document("É Zoë Inc b")], replace(TASK, format="inserted", depth=2), lambda request: NESTED)
    outer, inner = result.entities
    assert (outer.text, inner.text) == ("Zoë Inc", "Zoë")
    assert inner.score == pytest.approx(0.6 * 1.0 * 0.7 * 0.8 * 1.0)
    assert outer.score == pytest.approx(0.5 * 0.9 * 0.4 * 0.3)


def test_a_token_that_reaches_into_a_rendering_counts() -> None:
    """`to [Z` and `] x` are one token each; in other formats tokens need not keep to the markup."""
    crossing = of_pieces(("go ", 0.1), ("to [Z", 0.5), ("oë | PER", 0.5), ("] x", 0.5), (" y", 0.1))
    (result,) = run([Document("go to Zoë x y")], replace(TASK, format="bracketed"), lambda request: crossing)
    assert [entity.score for entity in result.entities] == [pytest.approx(0.125)]


def test_a_score_stays_between_0_and_1() -> None:
    assert score((), NESTED) == 1.0
    assert score((Range(0, 100),), NESTED) < 1.0
    certain = of_pieces(("ab", None), ("c", 1.0))
    assert score((Range(0, 3),), certain) == 1.0
    hopeless = replace(certain, log_probabilities=(-1e9, None))
    assert score((Range(0, 3),), hopeless) == 0.0


def test_unknown_labels_name_the_nearest_known_ones_first() -> None:
    known = [Label(name) for name in ("PER", "ORG", "LOC", "PRODUCT", "WORK_OF_ART")]
    asked = [Label(name) for name in ("PER", "PERSON", "product", "XYZ")]
    found = unknown_labels(asked, known)
    assert list(found) == ["PERSON", "product", "XYZ"]
    assert found["PERSON"] == ["PER"]
    assert found["product"] == ["PRODUCT"]
    assert found["XYZ"] == []
    assert unknown_labels(asked, []) == {}


def story(sentences: int) -> str:
    """Sentences of 20 to 120 bytes that start and end with a planted name, in paragraphs."""
    parts = []
    for number in range(sentences):
        middle = " ".join(["saw", "the", "东京", "naïve", "café", "🏳️‍🌈"][: 1 + number % 6] * (1 + number % 3))
        parts.append(f"Zoë{number} Żebra {middle} Zoë{number + 1000} Żebra." + ("\n\n" if number % 5 == 4 else " "))
    return "".join(parts)


@pytest.mark.parametrize("overlap", [None, 0, 40, 150, 10_000])
@pytest.mark.parametrize(("size", "format"), [(260, "inserted"), (333, "offset"), (1000, "xml"), (100_000, "xml")])
def test_planted_entities_of_a_long_document_come_out_once_each_at_their_places(
    size: int, overlap: int | None, format: str
) -> None:
    text = story(25)
    task = replace(TASK, chunk_bytes=size, overlap_bytes=overlap, format=format)
    engine = FakeEngine(marking(task), seed=size)
    (result,) = extract([Document(text)], task, engine.generate)
    assert result.error is None
    assert list(result.entities) == named(text)
    assert all(text[entity.start : entity.end] == entity.text for entity in result.entities)
    assert all(len(text_of(request).encode()) <= size for request in engine.requests)
    assert len(engine.requests) == 1 or size < len(text.encode())


def test_neighbouring_chunks_share_what_the_overlap_allows() -> None:
    engine = FakeEngine(marking())
    list(extract([Document(story(20))], replace(TASK, chunk_bytes=600, overlap_bytes=150), engine.generate))
    chunks = [text_of(request) for request in engine.requests]
    assert len(chunks) > 2
    assert all(set(named_texts(one)) & set(named_texts(other)) for one, other in pairwise(chunks))


def named_texts(text: str) -> list[str]:
    return [entity.text for entity in named(text)]


def test_requests_of_one_run_share_their_prefix() -> None:
    engine = FakeEngine(marking())
    list(extract(texts(5), TASK, engine.generate))
    prefixes: set[tuple[object, ...]] = {request.prefix for request in engine.requests}
    assert len(prefixes) == 1
    assert all(isinstance(request, Request) for request in engine.requests)


def test_a_calibration_maps_scores_and_leaves_out_what_is_below_its_labels_threshold() -> None:
    """Each name has one token a byte, each of probability 0.99; a minimum is compared with the mapped score."""
    documents = texts(1)

    def written(request: Request) -> str:
        return output_format(TASK.format).render(text_of(request), named(text_of(request)), TASK.names).completion

    plain, *_ = run(documents, handler=lambda request: completion(written(request), 0.99))
    score_before = plain.entities[0].score
    assert score_before is not None
    halved = ScoreMap((Knot(0.0, 0.0), Knot(1.0, 0.5)))

    def found(thresholds: dict[str, float], min_score: float = 0.0) -> list[float | None]:
        task = replace(TASK, calibration=Calibration(halved, thresholds), min_score=min_score)
        (result,) = run(documents, task, lambda request: completion(written(request), 0.99))
        return [entity.score for entity in result.entities]

    assert found({}) == found({"PER": score_before}) == [pytest.approx(score_before / 2)]
    assert found({"PER": score_before + 0.01}) == []
    assert found({}, min_score=score_before * 0.6) == []
