"""genner_cli.cluster.sizing: how many actors a cluster gets, and of which size."""

from __future__ import annotations

import pytest

from genner_cli.cluster.sizing import Machine, Size, sized
from genner_cli.errors import UsageError

CPUS = [Machine(16, 0), Machine(8, 0)]
GPUS = [Machine(2, 0), Machine(32, 4), Machine(16, 1)]


@pytest.mark.parametrize(
    ("machines", "asked", "expected"),
    [
        (CPUS, {}, Size(3, 8, 0, 3)),
        (CPUS, {"threads": 4}, Size(6, 4, 0, 6)),
        (CPUS, {"threads": 16}, Size(1, 16, 0, 1)),
        (CPUS, {"actors": 2}, Size(2, 8, 0, 3)),
        (CPUS, {"actors": 1}, Size(1, 16, 0, 1)),
        (CPUS, {"actors": 9}, Size(9, 2, 0, 12)),
        (CPUS, {"actors": 30}, Size(30, 1, 0, 24)),
        (CPUS, {"actors": 9, "threads": 8}, Size(9, 8, 0, 3)),
        (GPUS, {}, Size(5, 8, 1, 5)),
        (GPUS, {"actors": 3}, Size(3, 16, 1, 3)),
        (GPUS, {"threads": 16}, Size(3, 16, 1, 3)),
        (GPUS, {"gpu": False, "threads": 2}, Size(25, 2, 0, 25)),
        (GPUS, {"gpu": False}, Size(25, 2, 0, 25)),
        ([Machine(0, 0)], {"actors": 4, "threads": 2}, Size(4, 2, 0, 0)),
        ([Machine(4, 8)], {}, Size(4, 1, 1, 4)),
    ],
)
def test_actors_are_one_for_each_gpu_or_as_many_as_have_their_threads(
    machines: list[Machine], asked: dict[str, int | bool], expected: Size
) -> None:
    wanted = {"actors": None, "threads": None, "gpu": True, **asked}
    assert sized(machines, **wanted) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(("machines", "threads"), [([], None), ([Machine(0, 0)], None), (CPUS, 17)])
def test_a_cluster_in_which_nothing_fits_is_refused_with_the_remedy(
    machines: list[Machine], threads: int | None
) -> None:
    with pytest.raises(UsageError, match=r"--threads, .*--actors N"):
        sized(machines, actors=None, threads=threads, gpu=True)
