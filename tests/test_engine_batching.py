"""Batching, caching and making room change speed, never output."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import pytest
from asking import assert_same_texts, default_labels, instructions_of, news, request, run
from conftest import ONE_THREAD

from genner_cli import extraction, hub
from genner_cli.engine.drafting import StepCosts
from genner_cli.engine.engine import Engine
from genner_cli.engine.model import Model
from genner_cli.generation import Completion, EngineOptions, Request
from genner_cli.tasks import Task
from genner_cli.types import Document, Entity

TOLERANCE = {"bundled": 0.01, "random": 0.05}
"""By how much a score may differ between batches: a product of several probabilities under that noise."""

SENTENCES = 32


class Outcome:
    """The entities and the completion of each document of a run, by its text."""

    def __init__(self, model: Model, texts: Sequence[str], options: EngineOptions) -> None:
        self.name = "bundled" if model.path == hub.BUNDLED else "random"
        instructions = instructions_of(model)
        task = Task(tuple(default_labels(model)), instructions.prompt, instructions.format)
        completions: dict[int, Completion] = {}

        def generate(requests: Iterable[Request]) -> Iterator[tuple[int, Completion]]:
            for number, completion in engine.generate(requests):
                completions[number] = completion
                yield number, completion

        with Engine(model, options) as engine:
            results = list(extraction.extract(map(Document, texts), task, generate))
        assert [result.error for result in results] == [None] * len(texts)
        self.entities = {text: result.entities for text, result in zip(texts, results, strict=True)}
        self.completions = {text: completions[number] for number, text in enumerate(texts)}


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcome]:
    """What sixteen slots gave for each model, by its path."""
    return {}


@pytest.fixture
def sixteen(model: Model, outcomes: dict[str, Outcome]) -> Outcome:
    """The sentences of the example stories through sixteen slots, in order."""
    key = str(model.path)
    if key not in outcomes:
        outcomes[key] = Outcome(model, news()[:SENTENCES], replace(ONE_THREAD, slots=16))
    return outcomes[key]


def assert_alike(some: Outcome, others: Outcome) -> None:
    """The same entities and scores for each document, but for choices closer than the noise."""
    assert some.entities.keys() == others.entities.keys()
    assert_same_texts(some.completions.values(), [others.completions[text] for text in some.completions])
    for text, entities in some.entities.items():
        if entities == others.entities[text]:
            assert scores(entities) == pytest.approx(scores(others.entities[text]), abs=TOLERANCE[some.name])


def scores(entities: Iterable[Entity]) -> list[float]:
    found = [entity.score for entity in entities if entity.score is not None]
    assert all(0 <= score <= 1 for score in found)
    return found


def test_every_entity_stands_in_its_text_and_there_are_some(sixteen: Outcome) -> None:
    for text, entities in sixteen.entities.items():
        assert all(text[entity.start : entity.end] == entity.text for entity in entities)
        assert len(scores(entities)) == len(entities)
    assert sum(map(len, sixteen.entities.values())) > 5


def test_one_slot_and_sixteen_slots_give_the_same_entities(model: Model, sixteen: Outcome) -> None:
    assert_alike(sixteen, Outcome(model, list(sixteen.entities), replace(ONE_THREAD, slots=1)))


def test_input_order_and_shuffled_order_give_the_same_entities(model: Model, sixteen: Outcome) -> None:
    shuffled = random.Random(3).sample(list(sixteen.entities), SENTENCES)
    assert_alike(sixteen, Outcome(model, shuffled, replace(ONE_THREAD, slots=16)))


def test_a_small_batch_and_a_small_context_give_the_same_entities(model: Model, sixteen: Outcome) -> None:
    small = replace(ONE_THREAD, slots=16, batch_tokens=32, context=512)
    assert_alike(sixteen, Outcome(model, list(sixteen.entities), small))


@pytest.fixture
def evictions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one each time a slot has to make room; ends a run that makes room for ever."""
    found: list[int] = []
    make_room = Engine._make_room

    def counted(engine: Engine, *args: object) -> object:
        found.append(1)
        assert len(found) < 500, "slots make room for each other without end"
        return make_room(engine, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Engine, "_make_room", counted)
    return found


@pytest.mark.parametrize("context", [256, 384])
def test_slots_that_make_room_give_the_same_output(
    random_model: Model, evictions: list[int], context: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random weights write far more than expected in this format, so the context runs full again and again."""
    monkeypatch.setattr(StepCosts, "slot_pays", lambda *_: True)
    requests = [request(random_model, text, format="xml", depth=4) for text in news(30, 70)[:14]]
    roomy = run(random_model, requests, replace(ONE_THREAD, context=4096))
    assert not evictions
    tight = run(random_model, requests, replace(ONE_THREAD, context=context, slots=16))
    assert evictions
    assert [completion.error for completion in tight] == [None] * len(requests)
    assert_same_texts(roomy, tight)
