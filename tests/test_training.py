"""Training under the lock: examples, the locked loss, and a loop that resumes."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from genner_cli.errors import DataError
from genner_cli.formats import FORMATS, output_format
from genner_cli.prompting import Prompt
from genner_cli.training.examples import Example, Sample, encode
from genner_cli.training.loop import TrainingOptions, learning_rate_at, train
from genner_cli.training.loss import LENGTH_STEP, Batch, locked_loss, text_loss
from genner_cli.training.tokens import Tokens
from genner_cli.types import Entity, Label

TOKENIZER = Path(__file__).parent.parent / "examples" / "bundled_model" / "tokenizer"
PROMPT = Prompt("<|labels|>", "<|text|>", "<|entities|>")
LABELS = (Label("PER", "named people"), Label("LOC"))
TEXT = "John Smith went to New York, said <|text|> Ann⟦."
SAMPLE = Sample(
    TEXT, (Entity(0, 10, "PER", "John Smith"), Entity(19, 27, "LOC", "New York"), Entity(43, 46, "PER", "Ann")), LABELS
)


@pytest.fixture(scope="module")
def tokens() -> Tokens:
    return Tokens(AutoTokenizer.from_pretrained(TOKENIZER))


def tiny_model(tokens: Tokens) -> LlamaForCausalLM:
    torch.manual_seed(1)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokens.tokenizer),
            hidden_size=32,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            tie_word_embeddings=True,
        )
    )


@pytest.mark.parametrize("depth", [1, 4])
@pytest.mark.parametrize("format", FORMATS)
def test_a_completion_of_any_format_reads_back_as_the_gold_entities(tokens: Tokens, format: str, depth: int) -> None:
    example = encode(SAMPLE, tokens, PROMPT, format, depth)
    pieces = {id: text for text, id in tokens.vocabulary.added.items()}
    written = [tokens.vocabulary.pieces[id] or pieces.get(id, b"") for id in example.ids[example.completion_start :]]
    assert output_format(format).parse(b"".join(written).decode(), TEXT) == list(SAMPLE.entities)


@pytest.mark.parametrize("format", FORMATS)
def test_every_decision_has_the_gold_token_first_and_several_legal_ones(tokens: Tokens, format: str) -> None:
    example = encode(SAMPLE, tokens, PROMPT, format, 1)
    assert example.decisions
    for decision in example.decisions:
        assert decision.position >= example.completion_start
        assert decision.legal[0] == example.ids[decision.position]
        assert len(set(decision.legal)) == len(decision.legal) > 1


def test_inserted_keeps_the_tokens_of_the_source(tokens: Tokens) -> None:
    example = encode(SAMPLE, tokens, PROMPT, "inserted", 1)
    without = encode(replace(SAMPLE, entities=()), tokens, PROMPT, "inserted", 1)
    marks = set(tokens.vocabulary.added.values())
    rest = list(example.ids[example.completion_start :])
    for mark in [id for id in rest if id in marks]:
        rest.remove(mark)
    for label in ("PER", "LOC", "PER"):
        for id in tokens.plain(label):
            rest.remove(id)
    assert rest == list(without.ids[without.completion_start :])


def test_a_border_inside_a_token_of_inserted_is_an_error_not_a_wrong_example(tokens: Tokens) -> None:
    text = "went to London"
    assert tokens.pieces(text)[-1] == b" London"
    with pytest.raises(DataError, match="refuses"):
        encode(Sample(text, (Entity(8, 11, "LOC", "Lon"),), LABELS), tokens, PROMPT, "inserted", 1)


def batch_of(tokens: Tokens) -> tuple[list[Example], Batch]:
    examples = [encode(SAMPLE, tokens, PROMPT, "inserted", 1), encode(SAMPLE, tokens, PROMPT, "xml", 1)]
    return examples, Batch.of(examples)


def test_the_locked_loss_is_minus_log_softmax_over_the_legal_tokens(tokens: Tokens) -> None:
    examples, batch = batch_of(tokens)
    model = tiny_model(tokens)
    hidden = model.model(batch.ids).last_hidden_state
    losses = []
    for example in examples:
        logits = model(torch.tensor([example.ids])).logits[0]
        for decision in example.decisions:
            row = logits[decision.position - 1, list(decision.legal)]
            losses.append(-torch.log_softmax(row, 0)[0])
    expected = torch.stack(losses).mean()
    assert torch.allclose(locked_loss(hidden, model.lm_head.weight, batch), expected, atol=1e-5)


def test_the_opening_weight_counts_decisions_to_open_several_times(tokens: Tokens) -> None:
    examples, batch = batch_of(tokens)
    marks = {tokens.vocabulary.added["⟦".encode()], *tokens.plain("<")}
    decisions = [decision for example in examples for decision in example.decisions]
    assert [d.opens for d in decisions] == batch.opens.tolist()
    assert {d.legal[0] for d in decisions if d.opens} & marks
    model = tiny_model(tokens)
    hidden, output = model.model(batch.ids).last_hidden_state, model.lm_head.weight
    opening, other = batch.opens.sum(), (~batch.opens).sum()
    mean, heavy = locked_loss(hidden, output, batch), locked_loss(hidden, output, batch, 1e9)
    of_others = (mean * (opening + other) - heavy * opening) / other
    expected = (3 * heavy * opening + of_others * other) / (3 * opening + other)
    assert torch.allclose(locked_loss(hidden, output, batch, 3.0), expected, atol=1e-4)


def test_the_text_loss_takes_prompt_tokens_only(tokens: Tokens) -> None:
    examples, batch = batch_of(tokens)
    model = tiny_model(tokens)
    hidden = model.model(batch.ids).last_hidden_state
    for row, position in batch.text.tolist():
        assert 0 < position < examples[row].completion_start
    logits = model(batch.ids).logits
    expected = [-torch.log_softmax(logits[r, p - 1], 0)[batch.ids[r, p]] for r, p in batch.text.tolist()]
    assert torch.allclose(text_loss(hidden, model.lm_head.weight, batch), torch.stack(expected).mean(), atol=1e-5)


def test_a_batch_is_padded_on_the_right_to_a_multiple_of_the_length_step(tokens: Tokens) -> None:
    examples, batch = batch_of(tokens)
    assert batch.ids.shape[1] % LENGTH_STEP == 0
    for row, example in enumerate(examples):
        assert batch.ids[row, : len(example.ids)].tolist() == list(example.ids)


def test_the_learning_rate_warms_up_and_falls_to_a_twentieth() -> None:
    options = TrainingOptions(steps=1000, learning_rate=1.0, warm_up=100)
    rates = [learning_rate_at(step, options) for step in range(1001)]
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) == rates[100] == 1.0
    assert rates[1000] == pytest.approx(0.05)
    assert rates[100:] == sorted(rates[100:], reverse=True)


def test_a_run_that_was_cut_off_goes_on_to_the_same_weights(tokens: Tokens, tmp_path: Path) -> None:
    samples = [replace(SAMPLE, labels=tuple(random.Random(seed).sample(LABELS, 2))) for seed in range(6)]
    batches = [Batch.of([encode(sample, tokens, PROMPT, "inserted", 1)]) for sample in samples]
    options = TrainingOptions(steps=6, warm_up=2, checkpoint_every=2, log_every=2)
    whole = tiny_model(tokens)
    train(whole, batches.__getitem__, options, tmp_path / "whole")

    def cut_off(step: int) -> Batch:
        if step == 5:
            raise KeyboardInterrupt
        return batches[step]

    with pytest.raises(KeyboardInterrupt):
        train(tiny_model(tokens), cut_off, options, tmp_path / "cut")
    resumed = tiny_model(tokens)
    seen = []
    train(resumed, lambda step: seen.append(step) or batches[step], options, tmp_path / "cut")
    assert seen == [4, 5]
    for name, weights in whole.state_dict().items():
        assert torch.equal(weights, resumed.state_dict()[name]), name
    lines = [json.loads(line) for line in (tmp_path / "whole" / "training_log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6]
    assert lines[-1]["loss"] < lines[0]["loss"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_training_runs_on_cuda(tokens: Tokens, tmp_path: Path) -> None:
    _, batch = batch_of(tokens)
    model = tiny_model(tokens).cuda()
    options = TrainingOptions(steps=3, warm_up=1, log_every=1, bfloat16=True)
    lines: list[dict[str, float]] = []
    train(model, lambda step: batch, options, tmp_path, report=lines.append)
    assert lines[-1]["loss"] < lines[0]["loss"]
