"""genner's command line in processes of their own that share what takes seconds to import: forks of one server."""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
from collections.abc import Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path

IMPORTED = ("genner_cli.commands", "torch", "transformers", "peft", "genner_cli.training.run")


def start(arguments: Sequence[object], errors: Path, **variables: str) -> ForkServerProcess:
    """A process that runs the command line and writes what it says on stderr to a file."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(IMPORTED))
    process = context.Process(target=_main, args=([str(each) for each in arguments], str(errors), variables))
    process.start()
    return process


def ranks(count: int) -> list[dict[str, str]]:
    """The variables that torchrun sets for each of `count` processes on one machine."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": str(count)}
    return [{**meeting, "RANK": str(number), "LOCAL_RANK": str(number)} for number in range(count)]


def _main(arguments: list[str], errors: str, variables: dict[str, str]) -> None:
    os.environ.update(variables)
    with open(errors, "wb") as said:
        os.dup2(said.fileno(), 2)
    sys.argv = ["genner", *arguments]
    import torch

    from genner_cli.commands import main

    torch.set_num_threads(1)  # as in the test's own process (conftest.one_thread); sums are the same
    main()
