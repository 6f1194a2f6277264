"""Which types of weights are fast on this machine: measured with the model itself, kept for all models of its shapes.

Knows nothing of how a model gets another type.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from genner_cli.engine.gguf_header import Header
from genner_cli.engine.measured import Kept, kept, read, write
from genner_cli.engine.model import Model
from genner_cli.engine.step_times import measure
from genner_cli.generation import EngineOptions

SIZES = (8, 16, 32, 48)
"""Tokens of the steps that count: extraction mostly makes such ones."""
NOTABLE = 1.1
"""How many times as fast another type must be to be named."""

TypeSpeeds = Mapping[str, float]
"""Tokens per second by type of weights."""


def tokens_per_second(path: Path, options: EngineOptions) -> float:
    """Of a GGUF, on average over steps of SIZES tokens, without logits. Raises ModelError where it cannot be run."""
    with Model(path, gpu_layers=options.gpu_layers) as model:
        times = measure(model, options, options.thread_count, None)
    return sum(SIZES) / float(times.of(SIZES).sum())


def read_speeds(header: Header, options: EngineOptions) -> TypeSpeeds:
    """What was measured before; empty where nothing was."""
    found = read(_name(header, options))
    if not isinstance(found, dict):
        return {}
    return {type: speed for type, speed in found.items() if isinstance(speed, float) and speed > 0}


def keep_speeds(header: Header, options: EngineOptions, speeds: TypeSpeeds) -> None:
    """Keeps them for later runs."""
    write(_name(header, options), dict(speeds))


def report(header: Header, options: EngineOptions) -> dict[str, str]:
    """What a manifest and a plan show: the type of the weights, and one that is faster here, if that is known."""
    own, speeds = header.quantization, read_speeds(header, options)
    if own not in speeds:
        return {"weights": own}
    fastest = max(speeds, key=lambda type: speeds[type])
    if speeds[fastest] > NOTABLE * speeds[own]:
        return {"weights": f"{own}; {fastest} is {speeds[fastest] / speeds[own]:.1f} times as fast here"}
    return {"weights": f"{own}; of {len(speeds)} types none is much faster here"}


def _name(header: Header, options: EngineOptions) -> Kept:
    return kept("types", header, threads=options.thread_count, types=False)
