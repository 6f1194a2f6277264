"""What a step of some tokens takes: measured once, and used to choose sizes of steps."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import count, cycle
from pathlib import Path

import numpy as np
import pytest
from conftest import ONE_THREAD

from genner_cli.engine import step_times as module
from genner_cli.engine.model import Model
from genner_cli.engine.step_times import ENOUGH_SECONDS, ROUNDS, SIZES, StepTimes, repeated, step_times
from genner_cli.generation import Rows

STEPS = (2, 8, 32)


def test_between_and_behind_the_timed_sizes_lies_a_straight_line() -> None:
    times = StepTimes((1, 4, 8), (2.0, 5.0, 6.0))
    assert times.of(np.array([1, 2, 4, 6, 8, 16])).tolist() == [2, 3, 5, 5.5, 6, 12]


@pytest.mark.parametrize(("most", "best"), [(63, 16), (15, 8), (7, 4), (3, 1)])
def test_the_best_size_is_the_largest_that_takes_no_longer_for_each_token(most: int, best: int) -> None:
    times = StepTimes((1, 4, 8, 12, 16, 63), (1.0, 4.0, 7.0, 11.0, 14.1, 63.0))
    assert times.best(most) == best


def test_what_each_step_costs_besides_makes_larger_ones_worth_their_time() -> None:
    times = StepTimes((1, 4, 8, 16, 63), (1.0, 4.0, 7.0, 16.0, 66.0))
    assert times.best(63) == 8
    assert times.best(63, fixed=3.0) == 63


def test_larger_steps_take_longer(bundled: Model) -> None:
    times = module.measure(bundled, ONE_THREAD, 1, Rows(2, 63, 1))
    assert times.sizes == SIZES[1:]  # a step of one token has two, since it is padded
    assert times.seconds[-1] > 4 * times.seconds[0] > 0


class Machine:
    """Steps of n tokens take n seconds, and this many times as long when others disturb them."""

    def __init__(self, disturbed: Iterator[float]) -> None:
        self.disturbed = disturbed
        self.rounds = dict.fromkeys(STEPS, 0)

    def step(self, size: int) -> float:
        self.rounds[size] += 1
        return size * next(self.disturbed)


def test_a_quiet_machine_gives_the_times_in_the_fewest_rounds() -> None:
    machine = Machine(cycle([1.0, 1.02, 1.1]))
    assert repeated(STEPS, machine.step, lambda: 0.0) == StepTimes(STEPS, (2.0, 8.16, 35.2))
    assert set(machine.rounds.values()) == {ROUNDS}


def test_disturbed_steps_are_repeated_until_each_time_is_reached_twice() -> None:
    """Four of five steps are disturbed, each time by another amount."""
    machine = Machine(1.0 if number % 5 == 0 else 2.0 + number for number in count())
    assert repeated(STEPS, machine.step, lambda: 0.0) == StepTimes(STEPS, (2.0, 8.0, 32.0))
    assert ROUNDS < min(machine.rounds.values()) <= 10


def test_where_no_time_is_reached_again_the_shortest_ones_are_not_steady() -> None:
    seconds = iter(np.arange(0.0, 100.0, 0.9 * ENOUGH_SECONDS).tolist())
    machine = Machine(2.0**-number for number in count())
    found = repeated(STEPS, machine.step, lambda: next(seconds))
    assert not found.steady
    assert machine.rounds == dict.fromkeys(STEPS, 3)
    assert found.seconds == (2 * 2.0**-6, 8 * 2.0**-7, 32 * 2.0**-8)


def test_a_slow_machine_repeats_each_step_once() -> None:
    machine = Machine(cycle([1.0]))
    seconds = count(0.0, 100.0)
    assert repeated(STEPS, machine.step, lambda: next(seconds)).steady
    assert set(machine.rounds.values()) == {2}


@pytest.mark.parametrize("threads", [1, 2])
def test_waiting_for_the_processor_does_not_count(threads: int) -> None:
    clock = module.clock_of(ONE_THREAD, threads)
    started, walls = clock(), time.perf_counter()
    time.sleep(0.05)
    assert time.perf_counter() - walls >= 0.05
    assert clock() - started < 0.025


@pytest.mark.parametrize("where", ["gpu", "win32"])
def test_where_processor_time_says_nothing_the_clock_on_the_wall_counts(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.sys, "platform", where if where == "win32" else "linux")
    monkeypatch.setattr(module, "on_gpu", lambda options: options.gpu_layers != 0)
    options = replace(ONE_THREAD, gpu_layers=0 if where == "win32" else 1)
    assert module.clock_of(options, 1) is time.perf_counter


def test_they_are_measured_once(bundled: Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    measured = []
    monkeypatch.setattr(module, "measure", lambda *_: measured.append(1) or StepTimes((1, 8), (1.0, 8.0)))
    for threads in (1, 1, 2):
        assert step_times(bundled, ONE_THREAD, threads, None) == StepTimes((1, 8), (1.0, 8.0))
    assert len(measured) == 2
    for file, broken in zip(
        tmp_path.rglob("*.json"), ('{"sizes": [1]}', '{"sizes": [1], "seconds": [0]}'), strict=True
    ):
        file.write_text(broken)
    for threads in (1, 2):
        step_times(bundled, ONE_THREAD, threads, None)
    assert len(measured) == 4


def test_times_that_are_not_steady_are_measured_again(
    bundled: Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    results = iter([StepTimes((1, 8), (1.0, 9.0), steady=False), StepTimes((1, 8), (1.0, 7.0))])
    monkeypatch.setattr(module, "measure", lambda *_: next(results))
    assert step_times(bundled, ONE_THREAD, 1, None).seconds == (1.0, 9.0)
    assert not list(tmp_path.rglob("*.json"))
    for _ in range(2):
        assert step_times(bundled, ONE_THREAD, 1, None).seconds == (1.0, 7.0)
