"""The engine: batching changes speed, never output; slots and context are shared and given back."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import pytest
from asking import default_labels, instructions_of, news, request
from conftest import ONE_THREAD
from random_model import write_random_model

from genner_cli import extraction, hub
from genner_cli.engine.engine import Engine
from genner_cli.engine.model import Model
from genner_cli.errors import UsageError
from genner_cli.extraction import Task
from genner_cli.generation import Completion, EngineOptions, Request
from genner_cli.types import Document, Entity

NOISE = 0.05
"""Logits may differ by so much between batches: log-probabilities measured on one processor differed by up
to 0.003 with the bundled model and 0.024 with random weights. Of two tokens closer than this either may win."""

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

        def generate(requests: Iterable[Request | None]) -> Iterator[tuple[int, Completion]]:
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


def assert_same_texts(some: Iterable[Completion], others: Iterable[Completion]) -> None:
    """The same completions, but for choices closer than the noise, which are rare."""
    different = [(one, other) for one, other in zip(some, others, strict=True) if one.text != other.text]
    for one, other in different:
        assert one.error is other.error is None
        assert min(one.margin, other.margin) < NOISE, f"{one} and {other}"
    assert len(different) <= 2, "far more differs than the noise explains"


def scores(entities: Iterable[Entity]) -> list[float]:
    found = [entity.score for entity in entities if entity.score is not None]
    assert all(0 <= score <= 1 for score in found)
    return found


def run(model: Model, requests: Sequence[Request | None], options: EngineOptions) -> list[Completion]:
    """The completions, in the order of the requests."""
    with Engine(model, options) as engine:
        return in_order(engine.generate(requests))


def in_order(results: Iterable[tuple[int, Completion]]) -> list[Completion]:
    found = dict(results)
    assert sorted(found) == list(range(len(found)))
    return [found[number] for number in sorted(found)]


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
    small = replace(ONE_THREAD, slots=16, batch=32, context=512)
    assert_alike(sixteen, Outcome(model, list(sixteen.entities), small))


@pytest.fixture
def evictions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one each time a slot has to make room; ends a run that makes room for ever."""
    found: list[int] = []
    make_room = Engine._make_room

    def counted(engine: Engine, *args: object) -> None:
        found.append(1)
        assert len(found) < 500, "slots make room for each other without end"
        make_room(engine, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Engine, "_make_room", counted)
    return found


@pytest.mark.parametrize("context", [256, 512])
def test_slots_that_make_room_give_the_same_output(random_model: Model, evictions: list[int], context: int) -> None:
    """Random weights write far more than expected in this format, so the context runs full again and again."""
    requests = [request(random_model, text, format="xml", depth=4) for text in news(30, 70)[:14]]
    roomy = run(random_model, requests, replace(ONE_THREAD, context=4096))
    assert not evictions
    tight = run(random_model, requests, replace(ONE_THREAD, context=context))
    assert evictions
    assert [completion.error for completion in tight] == [None] * len(requests)
    assert_same_texts(roomy, tight)


def test_a_document_that_cannot_fit_is_an_error_with_a_remedy_and_the_others_go_on(random_model: Model) -> None:
    short, long = news(30, 45)[:4], " ".join(news()[:12])
    texts = [short[0], long, *short[1:], long]
    tight = run(random_model, [request(random_model, text) for text in texts], replace(ONE_THREAD, context=256))
    assert [bool(completion.error) for completion in tight] == [text == long for text in texts]
    for completion in (tight[1], tight[-1]):
        assert "larger --context" in (completion.error or "")
        assert completion.text == ""
    roomy = run(random_model, [request(random_model, text) for text in short], ONE_THREAD)
    assert_same_texts(roomy, [completion for completion in tight if not completion.error])


def test_a_model_is_not_run_beyond_the_context_it_was_trained_on(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("short") / "short.gguf"
    with Model(write_random_model(path, change={"llama.context_length": 96}), gpu_layers=0) as model:
        short, long = news(30, 40)[0], " ".join(news()[:4])
        first, second = run(model, [request(model, text, allowance=0) for text in (short, long)], ONE_THREAD)
    assert first.error is None
    assert second.error


def test_prefixes_may_change_from_request_to_request(random_model: Model) -> None:
    labels = default_labels(random_model)
    subsets = [labels[:1], labels[:1], labels[1:], labels[:1], labels]
    requests = [request(random_model, news()[0], labels=subset) for subset in subsets]
    together = run(random_model, requests, ONE_THREAD)
    alone = [run(random_model, [asked], ONE_THREAD)[0] for asked in requests]
    assert_same_texts(together, alone)
    assert len({completion.log_probabilities for completion in alone}) > 2, "the labels make no difference"


def test_the_prefix_is_decoded_once_and_each_token_once(random_model: Model) -> None:
    requests = [request(random_model, text) for text in news()[:6]]
    with Engine(random_model, replace(ONE_THREAD, slots=3)) as engine:
        completions = in_order(engine.generate(requests))
        done = sum(completion.prompt_tokens + len(completion.ends) - 1 for completion in completions)
        assert engine.tokens_decoded == done
    for asked, completion in zip(requests, completions, strict=True):
        assert completion.prompt_tokens == len(random_model.prompt(asked.rest))


def test_none_is_answered_before_the_next_request_is_drawn(random_model: Model) -> None:
    asked = request(random_model, "x")
    drawn: list[int] = []

    def requests() -> Iterator[Request | None]:
        for number, one in enumerate([None, asked, None]):
            drawn.append(number)
            yield one

    with Engine(random_model, ONE_THREAD) as engine:
        results = engine.generate(requests())
        assert next(results) == (0, Completion(""))
        assert drawn == [0]
        rest = dict(results)
    assert rest[2] == Completion("")
    assert rest[1].text


def test_a_run_of_none_does_not_keep_the_others_waiting(random_model: Model) -> None:
    """A caller that has nothing to ask for a long time still gets what it has asked before."""

    def requests() -> Iterator[Request | None]:
        yield request(random_model, "x", allowance=0)
        yield from [None] * 500

    with Engine(random_model, ONE_THREAD) as engine:
        numbers = [number for number, _ in engine.generate(requests())]
    assert numbers.index(0) < 100


def test_requests_are_drawn_only_when_a_slot_is_free(random_model: Model) -> None:
    texts, drawn, finished = news()[:9], 0, 0

    def requests() -> Iterator[Request]:
        nonlocal drawn
        for text in texts:
            drawn += 1
            assert drawn - finished <= 3, "drawn without a free slot"
            yield request(random_model, text)

    with Engine(random_model, replace(ONE_THREAD, slots=2)) as engine:
        for _ in engine.generate(requests()):
            finished += 1
    assert drawn == finished == len(texts)


def test_no_requests_give_no_completions(random_model: Model) -> None:
    assert run(random_model, [], ONE_THREAD) == []


def test_an_engine_serves_again_after_a_run_that_was_left_early(random_model: Model) -> None:
    requests = [request(random_model, text) for text in news()[:6]]
    with Engine(random_model, replace(ONE_THREAD, slots=4)) as engine:
        before = in_order(engine.generate(requests))
        left_early = engine.generate(requests)
        next(left_early)
        left_early.close()
        assert_same_texts(before, in_order(engine.generate(requests)))


def test_an_engine_serves_again_after_requests_that_raised(random_model: Model) -> None:
    def failing() -> Iterator[Request]:
        yield requests[0]
        yield requests[1]
        raise RuntimeError("the input broke off")

    requests = [request(random_model, text) for text in news()[:3]]
    with Engine(random_model, ONE_THREAD) as engine:
        before = in_order(engine.generate(requests))
        with pytest.raises(RuntimeError, match="broke off"):
            list(engine.generate(failing()))
        assert_same_texts(before, in_order(engine.generate(requests)))


def test_a_grammar_that_llama_cpp_cannot_read_is_a_usage_error(random_model: Model) -> None:
    good = request(random_model, "x")
    with Engine(random_model, ONE_THREAD) as engine:
        with pytest.raises(UsageError, match="grammar"):
            list(engine.generate([replace(good, grammar="root ::= nothing-of-this-name")]))
        assert in_order(engine.generate([good]))[0].error is None


def test_labels_that_fill_the_context_are_a_usage_error_with_a_remedy(random_model: Model) -> None:
    label = replace(default_labels(random_model)[0], definition="a very long definition " * 100)
    with pytest.raises(UsageError, match="larger --context"):
        run(random_model, [request(random_model, "x", labels=[label])], replace(ONE_THREAD, context=256))


def test_an_engine_may_be_closed_twice(random_model: Model) -> None:
    with Engine(random_model, ONE_THREAD) as engine:
        engine.close()
