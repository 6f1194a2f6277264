"""One process, or several that `torchrun` or `accelerate launch` has started: which one this is, and what they share.

Each computes a part of every step; gradients are summed over all of them. Knows nothing of models.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import distributed

from genner_cli.errors import GennerError, UsageError

PATIENCE = timedelta(hours=12)
"""The others wait so long at most while the first one validates."""


@dataclass(frozen=True, slots=True)
class Processes:
    """This process is number `rank` of `count`."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that validates and writes."""
        return self.rank == 0

    def first_only(self, work: Callable[[], None]) -> None:
        """Works in the first process; all others wait, and end with its GennerError if there is one."""
        error = None
        if self.first:
            try:
                work()
            except GennerError as found:
                error = found
        if error := self.shared(error):
            raise error

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Each gradient becomes the sum of all processes' gradients; a missing one counts as zeros."""
        if self.count == 1:
            return
        listed = list(parameters)
        parts = [(p.grad if p.grad is not None else torch.zeros_like(p)).reshape(-1) for p in listed]
        flat = torch.cat(parts)
        distributed.all_reduce(flat)
        for parameter, part in zip(listed, torch.split(flat, [p.numel() for p in listed]), strict=True):
            parameter.grad = part.view_as(parameter)

    def summed(self, value: torch.Tensor) -> torch.Tensor:
        """The sum of a value over all processes."""
        if self.count > 1:
            distributed.all_reduce(value)
        return value

    def shared(self, value: Any) -> Any:
        """The first process's value; what the others give counts for nothing. Waits for all."""
        if self.count == 1:
            return value
        box = [value]
        distributed.broadcast_object_list(box)
        return box[0]


@contextmanager
def processes(device: torch.device) -> Iterator[Processes]:
    """Joins the others, if there are any (torchrun's environment: RANK, WORLD_SIZE and where to meet)."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes()
        return
    if missing := [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]:
        raise UsageError(
            f"WORLD_SIZE is {count} and {missing[0]} is not set; start it with torchrun, or unset WORLD_SIZE"
        )
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield Processes(distributed.get_rank(), count)
    finally:
        distributed.destroy_process_group()


def chosen_device(name: str) -> torch.device:
    """`auto` is a GPU if there is one, this process's own where there are several; else what the name says.

    Raises RuntimeError for a name that torch does not know.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise RuntimeError("there is no CUDA device")
    if name == "cuda":
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        torch.cuda.set_device(torch.device(name))
    return torch.device(name)
