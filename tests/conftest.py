"""Models that tests share, opened once, and the command line run in this process."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import orjson
import pytest
from random_model import write_random_model

from genner_cli import hub
from genner_cli.commands import main
from genner_cli.engine.model import Model
from genner_cli.generation import EngineOptions

EXTRACTING = ("extract", "plan", "evaluate", "calibrate")
ONE_THREAD = EngineOptions(threads=1, gpu_layers=0)


@pytest.fixture(scope="session", autouse=True)
def _no_settings() -> Iterator[None]:
    """Settings of whoever runs the tests do not count."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("GENNER_MODEL", raising=False)
        yield


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """torch on one thread: tests run beside each other, and sums are the same whatever the machine."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def bundled() -> Iterator[Model]:
    """The model that comes with genner."""
    with Model(hub.BUNDLED, gpu_layers=0) as model:
        yield model


@pytest.fixture(scope="session")
def random_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GGUF of random weights with the bundled model's vocabulary and metadata."""
    return write_random_model(tmp_path_factory.mktemp("models") / "random.gguf")


@pytest.fixture(scope="session")
def random_model(random_path: Path) -> Iterator[Model]:
    """A model that has learnt nothing."""
    with Model(random_path, gpu_layers=0) as model:
        yield model


@pytest.fixture(params=["bundled", "random"])
def model(request: pytest.FixtureRequest) -> Model:
    """The bundled model, then the one of random weights."""
    return request.getfixturevalue("bundled" if request.param == "bundled" else "random_model")


class Run(NamedTuple):
    """What a command left behind."""

    status: int
    stdout: bytes
    stderr: str

    @property
    def records(self) -> list[dict]:
        """Standard output, a record a line."""
        return [orjson.loads(line) for line in self.stdout.splitlines()]


@pytest.fixture
def genner(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Callable[..., Run]:
    """Runs the command line in this process; extraction and its planning on one thread and no GPU."""

    def run(*args: object, stdin: bytes = b"") -> Run:
        one_thread = ("--threads", "1", "--gpu-layers", "0") if args and args[0] in EXTRACTING else ()
        monkeypatch.setattr(sys, "argv", ["genner", *map(str, args), *one_thread])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capfdbinary.readouterr()
        with pytest.raises(SystemExit) as exit:
            main()
        logging.getLogger("genner").handlers.clear()
        out, err = capfdbinary.readouterr()
        return Run(int(exit.value.code or 0), out, err.decode())

    return run
