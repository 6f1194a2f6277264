"""All six formats on real and random weights: every completion parses, every entity stands in its text."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from asking import CORPORA, default_labels, instructions_of, news, request
from conftest import ONE_THREAD
from grammar_engine import Acceptor

from genner_cli import extraction, locking
from genner_cli.engine.engine import Engine
from genner_cli.engine.model import Model
from genner_cli.formats import DEFAULT_DEPTH, FORMATS, output_format
from genner_cli.generation import Constraint
from genner_cli.tasks import Task
from genner_cli.types import Document, Extraction

CONTROL = ("<|end|>", "<|text|>")
TEXTS = [text for texts in CORPORA.values() for text in texts]


@pytest.fixture(scope="module")
def engines() -> Iterator[dict[str, Engine]]:
    """One engine for each model, by its path."""
    found: dict[str, Engine] = {}
    yield found
    for engine in found.values():
        engine.close()


@pytest.fixture
def engine(model: Model, engines: dict[str, Engine]) -> Engine:
    return engines.setdefault(str(model.path), Engine(model, ONE_THREAD))


def task(model: Model, format: str, depth: int = 1, constraint: Constraint = Constraint.SOURCE) -> Task:
    labels = tuple(default_labels(model))
    return Task(labels, instructions_of(model).prompt, format, depth, constraint=constraint)


@pytest.mark.parametrize("depth", [1, DEFAULT_DEPTH], ids=["flat", "nested"])
@pytest.mark.parametrize("format", FORMATS)
def test_every_completion_parses_and_every_entity_stands_in_its_text(
    model: Model, engine: Engine, format: str, depth: int
) -> None:
    documents = [Document(text, source=f"document {number}") for number, text in enumerate(TEXTS)]
    results = list(extraction.extract(documents, task(model, format, depth), engine.generate))
    assert [result.document for result in results] == documents
    for result, text in zip(results, TEXTS, strict=True):
        assert result.error is None
        assert all(text[entity.start : entity.end] == entity.text for entity in result.entities)
        assert all(0 <= entity.score <= 1 for entity in result.entities if entity.score is not None)
        around = [sum(o.start <= e.start and e.end <= o.end for o in result.entities) for e in result.entities]
        assert max(around, default=0) <= depth


def test_every_format_says_something_with_random_weights(random_model: Model) -> None:
    """Else the test above would hold nothing."""
    with Engine(random_model, ONE_THREAD) as engine:
        for format in FORMATS:
            documents = map(Document, [*TEXTS, *news()[:10]])
            results = list(extraction.extract(documents, task(random_model, format, 2), engine.generate))
            assert sum(len(result.entities) for result in results) > 2, format


def test_completions_without_any_allowance_end_and_parse_in_all_formats_at_once(model: Model, engine: Engine) -> None:
    asked = [(text, format) for text in TEXTS for format in FORMATS]
    requests = [request(model, text, format=format, depth=2, allowance=0) for text, format in asked]
    completions = dict(engine.generate(requests))
    for number, (text, format) in enumerate(asked):
        lock = requests[number].lock.segmented(model.pieces)
        assert completions[number].error is None
        assert len(completions[number].ends) <= locking.remaining(lock, locking.begin(lock))
        output_format(format).parse(completions[number].text, text)


def held_to(constraint: Constraint, format: str, model: Model) -> list[Extraction]:
    documents = [Document(text, source=f"document {number}") for number, text in enumerate(["⟦ x", news()[0]])]
    with Engine(model, ONE_THREAD) as engine:
        return list(extraction.extract(documents, task(model, format, 2, constraint), engine.generate))


@pytest.mark.parametrize("format", FORMATS)
def test_with_the_format_alone_the_grammar_holds_and_a_bad_completion_is_an_error_record(
    random_model: Model, format: str
) -> None:
    grammar = output_format(format).grammar([label.name for label in default_labels(random_model)], depth=2)
    for result in held_to(Constraint.FORMAT, format, random_model):
        (completion,) = result.completions
        with Acceptor(grammar) as acceptor:
            assert acceptor.read(completion.encode()) == len(completion.encode())
        assert result.error is None or "the completion" in result.error
        assert not (result.error and result.entities)


@pytest.mark.parametrize("format", ["xml", "offset", "inserted"])
def test_without_a_constraint_a_bad_completion_is_an_error_record(random_model: Model, format: str) -> None:
    for number, result in enumerate(held_to(Constraint.OFF, format, random_model)):
        assert result.error
        assert result.error.startswith(f"document {number}: the completion")
        assert result.completions[0], "it is kept, to be looked at"
        assert not any(control in result.completions[0] for control in CONTROL)
