"""engine.scoring: log-probabilities of whole answers, as transformers' full softmax gives them, in any batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from asking import default_labels, instructions_of, news
from conftest import ONE_THREAD

from convert.gguf_to_hf import gguf_to_hf
from convert.hf_to_gguf import hf_to_gguf
from genner_cli import hub
from genner_cli.engine.engine import Engine
from genner_cli.engine.model import Model
from genner_cli.errors import UsageError
from genner_cli.generation import Answer, EngineOptions, Question
from genner_cli.types import Piece

OPTIONS = ("yes", "no", "yes, it is", "no!", "Zoë", "", "yes")


def questions(model: Model, count: int, options: tuple[str, ...] = OPTIONS) -> list[Question]:
    """The same prefix before sentences of different lengths."""
    prompt = instructions_of(model).prompt
    prefix = prompt.prefix(default_labels(model))
    shown = tuple((Piece(option),) for option in options)
    return [Question(prefix, prompt.rest(text), shown) for text in news()[:count]]


def answers(model: Model, asked: Sequence[Question], options: EngineOptions) -> list[Answer]:
    with Engine(model, options) as engine:
        found = dict(engine.score(asked))
    assert sorted(found) == list(range(len(asked)))
    return [found[number] for number in range(len(asked))]


def test_they_are_the_sums_of_transformers_full_softmax(bundled: Model, tmp_path: Path) -> None:
    """In F32, since llama.cpp rounds the inputs of products with quantized weights."""
    from transformers import AutoModelForCausalLM

    folder = gguf_to_hf(hub.BUNDLED, tmp_path / "folder")
    reference = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    asked = questions(bundled, 5)
    with Model(hf_to_gguf(folder, tmp_path / "f32.gguf"), gpu_layers=0) as model:
        found = answers(model, asked, replace(ONE_THREAD, slots=3, flash_attention=False))
    for question, answer in zip(asked, found, strict=True):
        prompt = bundled.prefix_ids(question.prefix) + bundled.prompt(question.rest)
        assert answer.prompt_tokens == len(bundled.prompt(question.rest))
        for option, found in zip(question.options, answer.log_probabilities, strict=True):
            ids = bundled.prompt(option)
            with torch.inference_mode():
                logs = torch.log_softmax(reference(torch.tensor([prompt + ids])).logits[0].double(), -1)
            steps = sum(float(logs[len(prompt) - 1 + at, id]) for at, id in enumerate(ids))
            expected = steps + float(torch.logsumexp(logs[-1, bundled.end_ids], 0))
            assert found == pytest.approx(expected, rel=2e-4, abs=1e-3)  # keys and values are kept in F16


def test_side_by_side_is_alone_to_the_bit(bundled: Model) -> None:
    asked = questions(bundled, 24)
    alone = answers(bundled, asked, replace(ONE_THREAD, slots=1))
    assert answers(bundled, asked, replace(ONE_THREAD, slots=16)) == alone
    assert answers(bundled, asked[::-1], replace(ONE_THREAD, slots=5))[::-1] == alone
    narrow = replace(ONE_THREAD, slots=8, context=400)
    assert answers(bundled, asked, narrow) == alone


def test_an_option_counts_with_its_end(bundled: Model) -> None:
    """The probabilities of a trie's texts add up to less than 1, though one begins another."""
    [answer] = answers(bundled, questions(bundled, 1, ("yes", "yes, it is", "yes, it is not", "")), ONE_THREAD)
    assert 0 < sum(map(math.exp, answer.log_probabilities)) < 1
    by_option = dict(
        zip(OPTIONS, answers(bundled, questions(bundled, 1), ONE_THREAD)[0].log_probabilities, strict=True)
    )
    assert by_option["yes"] == answer.log_probabilities[0]


def test_options_that_are_not_whole_are_beginnings(bundled: Model) -> None:
    """Their log-probabilities are those of the whole ones without the end: the sum over one token and all that follows
    is the token's; and one that begins another is at least as probable."""
    [asked] = questions(bundled, 1, ("yes", "yes, it is", "", "no"))
    [answer] = answers(bundled, [replace(asked, whole=False)], ONE_THREAD)
    yes, longer, nothing, no = answer.log_probabilities
    assert nothing == 0.0
    assert longer < yes < 0
    assert no < 0
    [whole] = answers(bundled, [asked], ONE_THREAD)
    assert all(one < other for one, other in zip(whole.log_probabilities, answer.log_probabilities, strict=True))
    one_token = [replace(asked, options=((Piece("yes"),),), whole=False)]
    assert answers(bundled, one_token, ONE_THREAD)[0].log_probabilities == (yes,)


def test_an_option_may_have_markup(bundled: Model) -> None:
    [asked] = questions(bundled, 1)
    mark = next(iter(bundled.vocabulary.added)).decode()
    options = ((Piece(mark, literal=True),), (Piece(mark),))
    [answer] = answers(bundled, [replace(asked, options=options, whole=False)], ONE_THREAD)
    assert answer.log_probabilities[0] != answer.log_probabilities[1]


def test_prefixes_that_change_and_questions_that_cannot_be_asked(bundled: Model) -> None:
    first, second = questions(bundled, 2)
    other = replace(second, prefix=(*second.prefix[:1], *first.prefix[1:], *first.prefix[1:]))
    far_too_long = replace(first, rest=tuple(piece for _ in range(200) for piece in first.rest))
    found = answers(
        bundled, [first, far_too_long, replace(first, rest=()), other, first], replace(ONE_THREAD, context=1000)
    )
    assert found[0] == found[4]
    assert found[3].error is None
    assert "--context" in str(found[1].error)
    assert found[2].error == "the question is empty"


def test_the_engine_goes_on_with_either_kind_of_run(bundled: Model) -> None:
    asked = questions(bundled, 3)
    with Engine(bundled, ONE_THREAD) as engine:
        first = dict(engine.score(asked))
        running = engine.score(asked)
        next(running)
        with pytest.raises(UsageError, match="still at work"):
            next(engine.score(asked))
        running.close()
        assert dict(engine.score(asked)) == first
