"""A training under way <-> one safetensors file: the weights that are trained, the optimizer's state, and counters.

A file is written whole or not at all. Knows nothing of what the counters mean.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from genner_cli.errors import ModelError
from genner_cli.files.whole import whole

_WEIGHT, _STATE, _COUNTERS = "weight.", "state.", "counters"


def trained(model: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """The parameters that training changes, by name; each once where two names are one."""
    return {name: value for name, value in model.named_parameters() if value.requires_grad}


def save(
    path: Path, model: torch.nn.Module, counters: Mapping[str, Any], optimizers: Sequence[torch.optim.Optimizer] = ()
) -> None:
    """Writes the file; without optimizers its weights only. The counters are a JSON value.

    Raises ModelError where the disk refuses it.
    """
    weights = trained(model)
    tensors = {_WEIGHT + name: value.detach().contiguous() for name, value in weights.items()}
    for name, value in weights.items():
        for optimizer in optimizers:
            parts = optimizer.state.get(value, {})
            tensors |= {f"{_STATE}{key}.{name}": part.contiguous() for key, part in parts.items()}
    try:
        with whole(path) as partial:
            save_file(tensors, partial, metadata={_COUNTERS: json.dumps(counters)})
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} cannot be written ({error}); make room, and resume with --resume") from error


def counters(path: Path) -> dict[str, Any]:
    """The counters of a file. Raises ModelError where it is broken."""
    try:
        with safe_open(path, framework="pt") as file:
            return dict(json.loads(file.metadata()[_COUNTERS]))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path} is broken ({error!r}); remove {path.parents[1]}, and start again") from error


def load(path: Path, model: torch.nn.Module, optimizers: Sequence[torch.optim.Optimizer] = ()) -> None:
    """Puts weights, and the optimizers' states, back. Raises ModelError where they are broken or another model's."""
    try:
        _load(path, model, optimizers)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} is broken ({error!r}); remove {path.parents[1]}, and start again") from error


def _load(path: Path, model: torch.nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> None:
    weights = trained(model)
    with safe_open(path, framework="pt", device=str(next(iter(weights.values())).device)) as file:
        names = set(file.keys())
        if {name.removeprefix(_WEIGHT) for name in names if name.startswith(_WEIGHT)} != weights.keys():
            raise ModelError(f"{path} holds other weights than this training's; remove {path.parents[1]}")
        with torch.no_grad():
            for name, value in weights.items():
                value.copy_(file.get_tensor(_WEIGHT + name))
        keys = {key.removeprefix(_STATE).split(".")[0] for key in names if key.startswith(_STATE)}
        owner = {value: one for one in optimizers for group in one.param_groups for value in group["params"]}
        for name, value in weights.items() if optimizers else ():
            full = {key: f"{_STATE}{key}.{name}" for key in sorted(keys)}
            states = {key: file.get_tensor(name) for key, name in full.items() if name in names}
            if states:
                owner[value].state[value] = {key: part.cpu() if key == "step" else part for key, part in states.items()}
