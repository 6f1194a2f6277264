"""The loop: schedule, validation, early stopping, and runs that were cut off."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from test_packing import EXAMPLES, adapted
from transformers import PreTrainedModel

from genner_cli.errors import ModelError
from genner_cli.training import checkpoints
from genner_cli.training.checkpoints import trained
from genner_cli.training.loop import BEST, STATE, Line, Loop, LoopOptions, learning_rate_at, read_log
from genner_cli.training.loss import Objective
from genner_cli.training.packing import Pack, in_a_row

STEPS = 8


class Cut(Exception):
    """Where a run is cut off."""


def packs_at(step: int) -> Sequence[Pack]:
    return in_a_row([EXAMPLES[step % 6], EXAMPLES[(step + 1) % 6]], 1000)


def loop(model: PreTrainedModel, folder: Path, evaluate: Any = None, optimizers: Any = (), **options: Any) -> Loop:
    chosen = LoopOptions(**{"steps": STEPS, "learning_rate": 0.01, "checkpoint_every": 3, **options})
    log, folder = folder / "log.jsonl", folder / "checkpoint"
    return Loop(model, Objective(), chosen, folder, log=log, evaluate=evaluate, optimizers=optimizers)


def two_optimizers(model: PreTrainedModel) -> list[torch.optim.Optimizer]:
    """Half of the matrices each, at unlike rates."""
    values = [value for value in trained(model).values() if value.dim() == 2]
    return [torch.optim.Muon(values[::2], lr=0.02), torch.optim.AdamW(values[1::2], lr=0.001)]


def weights(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in trained(model).items()}


def without_clock(lines: Sequence[Line]) -> list[dict[str, float]]:
    return [{key: value for key, value in line.items() if key != "tokens_per_second"} for line in lines]


def test_the_learning_rate_rises_in_its_share_of_steps_and_falls_to_nothing() -> None:
    options = LoopOptions(steps=1000, learning_rate=1.0, warm_up=0.1)
    rates = [learning_rate_at(step, options) for step in range(1001)]
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) == rates[100] == 1.0
    assert rates[1000] == pytest.approx(0.0)
    assert rates[100:] == sorted(rates[100:], reverse=True)
    assert learning_rate_at(0, LoopOptions(steps=1, learning_rate=1.0)) == 1.0


def test_a_rate_that_is_kept_falls_in_the_last_steps_alone() -> None:
    options = LoopOptions(steps=100, learning_rate=1.0, warm_up=0.1, decay_steps=20)
    rates = [learning_rate_at(step, options) for step in range(101)]
    assert rates[:9] == sorted(rates[:9])
    assert rates[10:81] == [1.0] * 71
    assert rates[80:] == sorted(rates[80:], reverse=True)
    assert rates[90] == pytest.approx(0.5)
    assert rates[100] == pytest.approx(0.0)


def test_a_run_learns_and_logs_every_step(tmp_path: Path) -> None:
    model = adapted("qwen2")
    loop(model, tmp_path, steps=18).run(lambda step: packs_at(0))
    lines = read_log(tmp_path / "log.jsonl")
    assert [line["step"] for line in lines] == list(range(1, 19))
    assert lines[-1]["loss"] < 0.8 * lines[0]["loss"]
    assert not model.training


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("at", [0, 2, 3, 7])
def test_a_run_that_was_cut_off_ends_as_if_it_had_not_been(at: int, dropout: float, tmp_path: Path) -> None:
    def new() -> PreTrainedModel:
        model = adapted("qwen2")
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = dropout
        return model

    whole = new()
    loop(whole, tmp_path / "whole").run(packs_at)

    def cut_off(step: int) -> Sequence[Pack]:
        if step == at:
            raise Cut
        return packs_at(step)

    with pytest.raises(Cut):
        loop(new(), tmp_path / "cut").run(cut_off)
    seen = []
    resumed = new()
    loop(resumed, tmp_path / "cut").run(lambda step: seen.append(step) or packs_at(step))  # type: ignore[func-returns-value]
    assert seen == list(range(at - at % 3, STEPS))
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(resumed)[name]), name
    logs = [without_clock(read_log(tmp_path / run / "log.jsonl")) for run in ("whole", "cut")]
    assert logs[0] == logs[1]


def test_optimizers_of_ones_own_keep_their_rates_apart_and_outlive_a_break(tmp_path: Path) -> None:
    whole, resumed = adapted("qwen2"), adapted("qwen2")
    optimizers = two_optimizers(whole)
    before = weights(whole)
    loop(whole, tmp_path / "whole", optimizers=optimizers, warm_up=0.5).run(packs_at)
    rates = [group["lr"] for optimizer in optimizers for group in optimizer.param_groups]
    assert rates[0] == pytest.approx(20 * rates[1])
    assert 0 < rates[1] < 0.001
    assert any(not torch.equal(value, before[name]) for name, value in weights(whole).items())

    def cut_off(step: int) -> Sequence[Pack]:
        if step == 5:
            raise Cut
        return packs_at(step)

    cut = adapted("qwen2")
    with pytest.raises(Cut):
        loop(cut, tmp_path / "cut", optimizers=two_optimizers(cut), warm_up=0.5).run(cut_off)
    loop(resumed, tmp_path / "cut", optimizers=two_optimizers(resumed), warm_up=0.5).run(packs_at)
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(resumed)[name]), name


def test_a_log_that_was_cut_in_a_line_is_mended(tmp_path: Path) -> None:
    with pytest.raises(Cut):
        loop(adapted("qwen2"), tmp_path).run(lambda step: packs_at(step) if step < 4 else cut())
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"step": 5, "lo')
    loop(adapted("qwen2"), tmp_path).run(packs_at)
    assert [line["step"] for line in read_log(tmp_path / "log.jsonl")] == list(range(1, STEPS + 1))


def cut() -> Sequence[Pack]:
    raise Cut


class Validations:
    """Gives these F1 one after the other, and counts."""

    def __init__(self, *f1: float) -> None:
        self.f1 = f1
        self.asked = 0

    def __call__(self) -> Line:
        self.asked += 1
        return {"valid_f1": self.f1[self.asked - 1], "valid_loss": 1.0}


def test_the_best_validation_is_kept_and_its_weights(tmp_path: Path) -> None:
    model, after = adapted("qwen2"), {}

    def watched(step: int) -> Sequence[Pack]:
        after[step] = weights(model)
        return packs_at(step)

    best = loop(model, tmp_path, Validations(0.1, 0.7, 0.7, 0.2), evaluate_every=2).run(watched)
    assert best == {"step": 4, "valid_f1": 0.7, "valid_loss": 1.0}
    for name, value in weights(model).items():
        assert torch.equal(value, after[4][name])
    assert [line["step"] for line in read_log(tmp_path / "log.jsonl") if "valid_f1" in line] == [2, 4, 6, 8]


def test_equal_f1_is_told_apart_by_the_loss(tmp_path: Path) -> None:
    losses = iter([3.0, 2.0, 2.5, 2.0])
    best = loop(adapted("qwen2"), tmp_path, lambda: {"valid_f1": 0.0, "valid_loss": next(losses)}, evaluate_every=2)
    assert best.run(packs_at) == {"step": 4, "valid_f1": 0.0, "valid_loss": 2.0}


def test_it_stops_early_and_a_resumed_run_stays_stopped(tmp_path: Path) -> None:
    validations = Validations(0.5, 0.4, 0.3, 0.9, 0.9)
    options = {"evaluate_every": 1, "patience": 2}
    assert loop(adapted("qwen2"), tmp_path, validations, **options).run(packs_at) == {
        "step": 1, "valid_f1": 0.5, "valid_loss": 1.0,
    }  # fmt: skip
    assert validations.asked == 3
    loop(adapted("qwen2"), tmp_path, validations, **options).run(packs_at)
    assert validations.asked == 3


def test_a_run_cut_off_between_validations_validates_as_before(tmp_path: Path) -> None:
    loop(adapted("qwen2"), tmp_path / "whole", Validations(0.1, 0.3, 0.2, 0.1), evaluate_every=2).run(packs_at)
    with pytest.raises(Cut):
        loop(adapted("qwen2"), tmp_path / "cut", Validations(0.1, 0.3), evaluate_every=2).run(
            lambda step: packs_at(step) if step < 5 else cut()
        )
    loop(adapted("qwen2"), tmp_path / "cut", Validations(0.2, 0.1), evaluate_every=2).run(packs_at)
    logs = [without_clock(read_log(tmp_path / run / "log.jsonl")) for run in ("whole", "cut")]
    assert logs[0] == logs[1]


def test_a_broken_or_foreign_checkpoint_is_a_model_error(tmp_path: Path) -> None:
    loop(adapted("qwen2"), tmp_path).run(packs_at)
    with pytest.raises(ModelError, match="other weights"):
        loop(adapted("phi3"), tmp_path).run(packs_at)
    (tmp_path / "checkpoint" / STATE).write_bytes(b"no safetensors")
    with pytest.raises(ModelError, match="broken"):
        loop(adapted("qwen2"), tmp_path).run(packs_at)


def test_a_checkpoint_is_safetensors_and_no_partial_file_stays(tmp_path: Path) -> None:
    loop(adapted("qwen2"), tmp_path, Validations(0.5), evaluate_every=8).run(packs_at)
    names = {path.name for path in (tmp_path / "checkpoint").iterdir()}
    assert names == {STATE, BEST}
    assert checkpoints.counters(tmp_path / "checkpoint" / STATE)["step"] == STEPS
    assert json.loads((tmp_path / "log.jsonl").read_text().splitlines()[0])["step"] == 1


def test_a_broken_line_in_the_log_is_a_model_error(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text("{oops\n")
    with pytest.raises(ModelError, match=r"log\.jsonl is broken"):
        loop(adapted("qwen2"), tmp_path).run(packs_at)


def test_a_loss_that_is_no_number_stops_before_the_weights_change(tmp_path: Path) -> None:
    model = adapted("qwen2")
    with torch.no_grad():
        next(iter(trained(model).values())).fill_(float("nan"))
    before = weights(model)
    with pytest.raises(ModelError, match="step 1: the loss is nan"):
        loop(model, tmp_path).run(packs_at)
    assert all(torch.equal(value, before[name]) or value.isnan().any() for name, value in weights(model).items())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_training_runs_on_cuda(tmp_path: Path) -> None:
    loop(adapted("qwen2").cuda(), tmp_path, steps=18, bfloat16=True).run(lambda step: packs_at(0))
    lines = read_log(tmp_path / "log.jsonl")
    assert lines[-1]["loss"] < 0.8 * lines[0]["loss"]
