"""What a step of some tokens takes: measured once, and used to choose sizes of steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import ONE_THREAD

from genner_cli.engine import step_times as module
from genner_cli.engine.model import Model
from genner_cli.engine.step_times import SIZES, StepTimes, step_times
from genner_cli.generation import Rows


def test_between_and_behind_the_timed_sizes_lies_a_straight_line() -> None:
    times = StepTimes((1, 4, 8), (2.0, 5.0, 6.0))
    assert times.of(np.array([1, 2, 4, 6, 8, 16])).tolist() == [2, 3, 5, 5.5, 6, 12]


@pytest.mark.parametrize(("most", "best"), [(63, 16), (15, 8), (7, 4), (3, 1)])
def test_the_best_size_is_the_largest_that_takes_no_longer_for_each_token(most: int, best: int) -> None:
    times = StepTimes((1, 4, 8, 12, 16, 63), (1.0, 4.0, 7.0, 11.0, 14.1, 63.0))
    assert times.best(most) == best


def test_larger_steps_take_longer(bundled: Model) -> None:
    times = module.measure(bundled, ONE_THREAD, 1, Rows(2, 63, 1))
    assert times.sizes == SIZES
    assert times.seconds[-1] > 4 * times.seconds[0] > 0


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
