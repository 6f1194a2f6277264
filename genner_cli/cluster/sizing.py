"""The machines of a cluster + what is asked for -> how many actors, and how much of a machine each one has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from genner_cli.errors import UsageError


class Machine(NamedTuple):
    """What a machine of the cluster has."""

    cpus: int
    gpus: int


class Size(NamedTuple):
    """`actors`, each with `cpus` CPUs and `gpus` (0 or 1) GPUs; `room`: how many have room now."""

    actors: int
    cpus: int
    gpus: int
    room: int


def sized(machines: Sequence[Machine], *, actors: int | None, threads: int | None, gpu: bool) -> Size:
    """One actor for each GPU, with its share of the CPUs; without GPUs (or `gpu`), one for each machine.

    `threads`: CPUs of each actor, which makes more or fewer fit; None with `actors`: as many as let that number fit.
    `actors` may be more than there is room for: the others start when machines join. Raises UsageError where nothing
    fits and no number of actors is given.
    """
    with_gpu = [machine for machine in machines if gpu and machine.gpus and machine.cpus]
    hosts = with_gpu or [machine for machine in machines if machine.cpus]

    def room(cpus: int) -> int:
        return sum(min(host.cpus // cpus, host.gpus) if with_gpu else host.cpus // cpus for host in hosts)

    shares = [max(1, host.cpus // (host.gpus if with_gpu else 1)) for host in hosts]
    fitting = (cpus for cpus in range(max(shares, default=1), 0, -1) if room(cpus) >= (actors or 1))
    cpus = threads or (next(fitting, 1) if actors else min(shares, default=1))
    if not (actors or room(cpus)):
        raise UsageError(
            f"no machine of the cluster has {cpus} CPUs; choose fewer --threads, or wait for machines with --actors N"
        )
    return Size(actors or room(cpus), cpus, 1 if with_gpu else 0, room(cpus))
