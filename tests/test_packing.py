"""Packed or one by one, examples have the same losses and gradients, in every architecture."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, inject_adapter_in_model
from transformers import PreTrainedModel
from transformers_models import CASES, VOCABULARY, new_model

from genner_cli.training.batches import LENGTH_STEP, TEXT_STRIDE, Batch, text_positions
from genner_cli.training.checkpoints import trained
from genner_cli.training.examples import Decision, Example
from genner_cli.training.head import logits
from genner_cli.training.loss import Objective
from genner_cli.training.options import Loss, made_of
from genner_cli.training.packing import Pack, in_a_row, order, side_by_side

OBJECTIVES = [Objective(Loss.COMPLETION), Objective(Loss.COMPLETION, 0.3), Objective(Loss.LOCKED, 0.1, 2.0)]


def example(seed: int, *, prefix: int = 7, length: int = 40) -> Example:
    """Random ids; those of the same prefix length begin alike."""
    random, begin = Random(seed), Random(prefix)
    ids = [begin.randrange(VOCABULARY) for _ in range(prefix)]
    ids += [random.randrange(VOCABULARY) for _ in range(length - prefix)]
    start = prefix + (length - prefix) // 2
    decisions = [
        Decision(at, (ids[at], *random.sample([id for id in range(VOCABULARY) if id != ids[at]], 3)), at % 3 == 0)
        for at in range(start, length, 2)
    ]
    return Example(tuple(ids), prefix, start, tuple(decisions), ())


EXAMPLES = [example(seed, prefix=7 + 4 * (seed % 2), length=19 + 9 * seed) for seed in range(6)]
"""Two prefixes; the longest text is longer than the sliding windows of `transformers_models`."""


def adapted(case: str) -> PreTrainedModel:
    model = new_model(case)
    model.requires_grad_(False)
    torch.manual_seed(0)
    inject_adapter_in_model(LoraConfig(r=2, target_modules=r".*(q_proj|o_proj|down_proj|qkv_proj|input_linear)"), model)
    for value in trained(model).values():
        torch.nn.init.normal_(value, std=0.2)
    return model.train()


def learnt(model: PreTrainedModel, packs: list[Pack], objective: Objective) -> tuple[float, dict[str, torch.Tensor]]:
    """The loss of a step and its gradients."""
    amounts = objective.amounts(example for pack in packs for example in pack.examples)
    total = 0.0
    for pack in packs:
        loss = objective.whole(*objective.sums(model, Batch.of(pack)), amounts)
        loss.backward()
        total += loss.item()
    gradients = {name: value.grad.clone() for name, value in trained(model).items() if value.grad is not None}
    model.zero_grad()
    return total, gradients


def assert_alike(one: tuple[float, dict[str, torch.Tensor]], other: tuple[float, dict[str, torch.Tensor]]) -> None:
    assert one[0] == pytest.approx(other[0], rel=1e-5)
    assert one[1].keys() == other[1].keys() != set()
    for name, gradient in one[1].items():
        assert torch.linalg.norm(gradient - other[1][name]) <= 1e-4 * torch.linalg.norm(gradient), name


@pytest.mark.parametrize("case", CASES)
def test_packed_padded_and_one_by_one_teach_the_same(case: str) -> None:
    model = adapted(case)
    objective = Objective(Loss.COMPLETION, 0.3)
    singles = [Pack((((each,),),)) for each in EXAMPLES]
    expected = learnt(model, singles, objective)
    assert_alike(learnt(model, in_a_row(EXAMPLES, 120), objective), expected)
    assert_alike(learnt(model, side_by_side(EXAMPLES, 300), objective), expected)


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
def test_each_objective_is_the_same_packed(objective: Objective, implementation: str) -> None:
    model = adapted("qwen2")
    model.set_attn_implementation(implementation)
    singles = [Pack((((each,),),)) for each in EXAMPLES]
    assert_alike(learnt(model, in_a_row(EXAMPLES, 1000), objective), learnt(model, singles, objective))


def test_gradient_checkpointing_changes_nothing() -> None:
    model = adapted("llama")
    packs = in_a_row(EXAMPLES, 120)
    before = learnt(model, packs, Objective())
    model.activation_checkpointing_enable({"use_reentrant": False})
    assert_alike(learnt(model, packs, Objective()), before)


def test_a_loss_in_parts_is_the_loss_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, packs = adapted("granite"), in_a_row(EXAMPLES, 1000)
    for objective in OBJECTIVES:
        before = learnt(model, packs, objective)
        with monkeypatch.context() as patch:
            patch.setattr("genner_cli.training.loss.MOST_LOGITS", 7 * VOCABULARY)
            assert_alike(learnt(model, packs, objective), before)


def test_losses_are_what_they_are_called() -> None:
    """Against transformers' own forward pass, written out."""
    model, one = adapted("gemma2"), EXAMPLES[2]
    rows = torch.log_softmax(model(torch.tensor([one.ids])).logits[0], -1)
    batch = Batch.of(in_a_row([one], 100)[0])
    main, text = Objective(Loss.COMPLETION, 1.0).sums(model, batch)
    completion = range(one.completion_start, len(one.ids))
    assert main.item() == pytest.approx(-sum(rows[at - 1, one.ids[at]].item() for at in completion), rel=1e-4)
    assert text.item() == pytest.approx(-sum(rows[at - 1, one.ids[at]].item() for at in text_positions(one)), rel=1e-4)
    locked, _ = Objective(Loss.LOCKED, opening_weight=3.0).sums(model, batch)
    losses = [
        -(3.0 if d.opens else 1.0) * torch.log_softmax(rows[d.position - 1, list(d.legal)], 0)[0].item()
        for d in one.decisions
    ]
    assert locked.item() == pytest.approx(sum(losses), rel=1e-4)


@pytest.mark.parametrize("case", ["granite", "gemma2", "llama"])
def test_logits_are_those_of_transformers(case: str) -> None:
    model = new_model(case)
    ids = torch.tensor([EXAMPLES[0].ids])
    with torch.no_grad():
        states = model.get_decoder()(ids).last_hidden_state[0]
        assert torch.allclose(logits(model, states), model(ids).logits[0], atol=1e-5)


def test_amounts_count_what_the_sums_sum() -> None:
    batch = Batch.of(in_a_row(EXAMPLES, 10**6)[0])
    assert Objective(Loss.COMPLETION, 1.0).amounts(EXAMPLES) == (len(batch.completion), len(batch.text))
    weighted = torch.where(batch.opens, 2.0, 1.0).sum().item()
    assert Objective(Loss.LOCKED, 0.0, 2.0).amounts(EXAMPLES) == (weighted, 0.0)


def test_a_mask_that_lets_examples_see_each_other_would_show() -> None:
    """The mutation that packing must not have."""
    model = adapted("llama")
    packs = in_a_row(EXAMPLES, 1000)
    batch = Batch.of(packs[0])
    assert batch.owners is not None
    right = Objective().sums(model, batch)[0].item()
    assert Objective().sums(model, replace(batch, owners=batch.owners * 0))[0].item() != pytest.approx(right, rel=1e-3)
    assert Objective().sums(model, replace(batch, positions=batch.positions * 0))[0].item() != pytest.approx(
        right, rel=1e-3
    )


sizes = st.lists(st.tuples(st.integers(0, 3), st.integers(2, 60)), min_size=1, max_size=30)


@given(sizes, st.integers(1, 200))
def test_every_example_is_in_one_pack_and_packs_have_the_size_asked_for(
    sizes: list[tuple[int, int]], tokens: int
) -> None:
    examples = [example(seed, prefix=prefix, length=prefix + tail) for seed, (prefix, tail) in enumerate(sizes)]
    for arrange in (in_a_row, side_by_side):
        packs = arrange(examples, tokens)
        placed = [each for pack in packs for each in pack.examples]
        assert sorted(placed, key=lambda e: e.ids) == sorted(examples, key=lambda e: e.ids)
        for pack in packs:
            rows = Batch.of(pack).ids
            assert rows.shape[1] % LENGTH_STEP == 0
            free = pack.rows[0][0][0].prefix if arrange is in_a_row else 0
            assert sum(_size(row) for row in pack.rows) <= tokens + free or len(list(pack.examples)) == 1


def _size(row: tuple[tuple[Example, ...], ...]) -> int:
    return sum(group[0].prefix + sum(len(each.ids) - each.prefix for each in group) for group in row)


@pytest.mark.parametrize(("tail", "sizes"), [(19, [110]), (20, [110, 21]), (21, [91, 41])])
def test_a_row_is_filled_to_its_bound_and_no_further(tail: int, sizes: list[int]) -> None:
    """A bound of 100 behind the first prefix of 10: 60 + 20 + 20 tokens fit, one more in either place does not."""
    first, second = example(0, prefix=10, length=70), example(1, prefix=20, length=20 + tail)
    packs = in_a_row([first, second, example(2, prefix=20, length=21)], 100)
    assert [_size(pack.rows[0]) for pack in packs] == sizes


def test_what_examples_begin_with_is_computed_once() -> None:
    alike = [example(seed, prefix=100, length=120) for seed in range(10)]
    packs = in_a_row(alike, 1000)
    assert [_size(pack.rows[0]) for pack in packs] == [100 + 10 * 20]


@settings(max_examples=30)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=200), st.integers(1, 20), st.booleans())
def test_an_epoch_has_every_example_once_in_an_order_of_its_seed(
    lengths: list[int], batch: int, by_length: bool
) -> None:
    steps = order(lengths, batch, "1 0", by_length=by_length)
    assert sorted(number for step in steps for number in step) == list(range(len(lengths)))
    assert all(len(step) <= batch for step in steps)
    assert len(steps) == -(-len(lengths) // batch)
    assert steps == order(lengths, batch, "1 0", by_length=by_length)


def test_grouping_by_length_leaves_little_padding() -> None:
    lengths = [5, 300] * 32
    for step in order(lengths, 8, "0 0", by_length=True):
        assert len({lengths[number] for number in step}) == 1
    assert order(lengths, 8, "0 0", by_length=False) != order(lengths, 8, "0 1", by_length=False)


def test_text_positions_are_a_part_of_the_text_only() -> None:
    for each in EXAMPLES:
        found = list(text_positions(each))
        assert found
        assert min(found) >= each.prefix
        assert max(found) < each.completion_start
        assert {b - a for a, b in pairwise(found)} <= {TEXT_STRIDE}


def test_attention_that_takes_no_mask_gets_rows_of_one_example() -> None:
    assert made_of("fast").packed
    assert not made_of("fast", {"attention": "flash_attention_2"}).packed
    assert not made_of("fast", {"packing": False}).packed
