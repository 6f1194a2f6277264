"""The engine: slots and context are shared and given back, and a failure stays with its request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest
from asking import assert_same_texts, default_labels, in_order, news, request, run
from conftest import ONE_THREAD
from random_model import write_random_model

from genner_cli.engine.decoder import Grammar
from genner_cli.engine.engine import Engine
from genner_cli.engine.model import Model
from genner_cli.errors import UsageError
from genner_cli.generation import EngineOptions, Request

CRAMPED = replace(ONE_THREAD, context=256)


def test_a_document_that_cannot_fit_is_an_error_with_a_remedy_and_the_others_go_on(random_model: Model) -> None:
    short, long = news(30, 45)[:4], " ".join(news()[:12])
    texts = [short[0], long, *short[1:], long]
    tight = run(random_model, [request(random_model, text) for text in texts], CRAMPED)
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
        statistics = engine.statistics
    done = sum(completion.prompt_tokens + len(completion.ends) - 1 for completion in completions)
    done += statistics.drafted - statistics.accepted
    assert done - statistics.forced <= statistics.decoded <= done, "forced tokens at the end need not be decoded"
    for asked, completion in zip(requests, completions, strict=True):
        assert completion.prompt_tokens == len(random_model.prompt(asked.rest))


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
        run(random_model, [request(random_model, "x", labels=[label])], CRAMPED)


def test_an_engine_may_be_closed_twice(random_model: Model) -> None:
    with Engine(random_model, ONE_THREAD) as engine:
        engine.close()


def test_every_grammar_that_is_cloned_is_freed(random_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a document does not fit."""
    made: Counter[str] = Counter()
    clone, free = Grammar.clone, Grammar.free
    monkeypatch.setattr(Grammar, "clone", lambda grammar: made.update(["cloned"]) or clone(grammar))
    monkeypatch.setattr(Grammar, "free", lambda grammar: made.update(["freed"]) or free(grammar))
    texts = [news()[0], " ".join(news()[:12])]
    errors = [c.error for c in run(random_model, [request(random_model, t) for t in texts], CRAMPED)]
    assert [bool(error) for error in errors] == [False, True]
    assert made["cloned"] == 2
    assert made["freed"] == made["cloned"] + 1, "and the one they were cloned from"


@pytest.mark.parametrize("wrong", [{"slots": 0}, {"slots": 256}, {"batch_tokens": 0}, {"context": -1}])
def test_options_that_make_no_engine_are_a_usage_error(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=r"255 slots .*2147483647"):
        EngineOptions(**wrong)


def test_a_batch_without_a_token_for_each_slot_and_the_prefix_is_a_usage_error(random_model: Model) -> None:
    """llama.cpp would end the process."""
    with pytest.raises(UsageError, match="larger --batch-tokens"):
        EngineOptions(slots=4, batch_tokens=4)
    assert run(random_model, [request(random_model, "x")], replace(ONE_THREAD, slots=4, batch_tokens=5))[0].text


def test_a_batch_larger_than_the_context_is_cut(random_model: Model) -> None:
    with Engine(random_model, replace(ONE_THREAD, context=48, batch_tokens=1024)) as engine:
        assert engine._context.capacity == 48


def test_one_run_at_a_time_and_another_when_it_is_closed(random_model: Model) -> None:
    requests = [request(random_model, text) for text in news()[:4]]
    with Engine(random_model, ONE_THREAD) as engine:
        first = engine.generate(requests)
        next(first)
        with pytest.raises(UsageError, match="still at work"):
            next(engine.generate(requests))
        first.close()
        assert len(in_order(engine.generate(requests))) == 4
