"""What tests share: which are quick, which may be skipped, models opened once, the command line run in this process."""

from __future__ import annotations

import gc
import io
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import cache, cached_property
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
import pytest
from hypothesis import HealthCheck, settings

from genner_cli.generation import EngineOptions
from genner_cli.openmp import short_waits

os.environ.update(short_waits(os.environ))  # tests run side by side
UNTIMED = (HealthCheck.too_slow, HealthCheck.function_scoped_fixture)
settings.register_profile("side by side", settings(), deadline=None, suppress_health_check=UNTIMED)
settings.load_profile("side by side")

if TYPE_CHECKING:
    from genner_cli.engine.model import Model
    from genner_cli.locking import Vocabulary
    from genner_cli.running.llama import LlamaBackend

EXTRACTING = ("extract", "plan", "evaluate", "calibrate")
ONE_THREAD = EngineOptions(threads=1, gpu_layers=0)
HEAVY = frozenset({"genner_cli.engine.llama", "torch", "transformers", "ray"})
"""Modules that a quick test does without."""


def pytest_addoption(parser: pytest.Parser) -> None:
    help = f"skip tests that start a process or import {', '.join(sorted(HEAVY))}"
    parser.addoption("--quick", action="store_true", help=help)


def pytest_configure(config: pytest.Config) -> None:
    gc.disable()  # as long as modules are imported and tests collected, next to nothing is garbage
    if config.getoption("--quick"):
        sys.meta_path.insert(0, SkipHeavy())


class SkipHeavy:
    """Finds no module in HEAVY: the test or the module of tests that imports one is skipped there."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        if name in HEAVY:
            pytest.skip(f"not quick: imports {name}", allow_module_level=True)
        return None


def _skip_process(*arguments: object, **options: object) -> None:
    pytest.skip("not quick: starts a process")


@pytest.fixture(scope="session", autouse=True)
def _quick(request: pytest.FixtureRequest) -> Iterator[None]:
    """With --quick no test starts a process, and at the end no heavy module has been imported."""
    if not request.config.getoption("--quick"):
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "Popen", _skip_process)
        yield
    assert HEAVY.isdisjoint(sys.modules)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests begin first, so that the last worker does not end with one of them alone."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    """What is there now stays: a search for garbage, of which export does several, passes over it."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    excused = item.get_closest_marker("gpu") or item.get_closest_marker("real")
    return report if excused else _without_skips(report, item.config)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Any:
    report = yield
    return _without_skips(report, collector.config)


def _without_skips(report: Any, config: pytest.Config) -> Any:
    """In CI everything that a test needs is installed: a test that is skipped there has failed."""
    if report.skipped and os.environ.get("CI") and not config.getoption("--quick"):
        report.outcome, report.longrepr = "failed", f"skipped in CI: {report.longrepr[2]}"
    return report


@pytest.fixture(scope="session", autouse=True)
def _no_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Settings and caches of whoever runs the tests do not count."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("GENNER_MODEL", raising=False)
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@cache
def prepare_engine() -> None:
    """Steps take what is typical, so that no draft follows the clock and no test waits until those of its model have
    been timed; and the bundled model, which is opened hundreds of times, has one vocabulary, which is half of the work.
    """
    from genner_cli import hub
    from genner_cli.engine import engine
    from genner_cli.engine.model import Model
    from genner_cli.engine.step_times import SIZES, TYPICAL, StepTimes

    times = StepTimes(SIZES, tuple(map(float, TYPICAL.of(SIZES))))
    engine.step_times = lambda *_: times
    make, made = Model.vocabulary.func, []

    def vocabulary(model: Model) -> Vocabulary:
        if model.path != hub.BUNDLED:
            return make(model)
        made[:] = made or [make(model)]
        return made[0]

    Model.vocabulary = cached_property(vocabulary)  # type: ignore[method-assign]
    Model.vocabulary.__set_name__(Model, "vocabulary")


@pytest.fixture(scope="session", autouse=True)
def _prepared_engine() -> None:
    if "genner_cli.engine.engine" in sys.modules:  # a quick test opens no model
        prepare_engine()


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A folder of a user who is not root, as whom the test runs then: root may read and write everything."""
    with tempfile.TemporaryDirectory() as folder:
        root, nobody = os.geteuid() == 0, 65534
        if root:
            os.chown(folder, nobody, nobody)
            os.setresuid(nobody, nobody, 0)  # real as well as effective: os.access asks for the real one
        yield Path(folder)
        if root:
            os.setresuid(0, 0, 0)


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
    from genner_cli import hub
    from genner_cli.engine.model import Model

    prepare_engine()
    with Model(hub.BUNDLED, gpu_layers=0) as model:
        yield model


@pytest.fixture(scope="session")
def random_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GGUF of random weights with the bundled model's vocabulary and metadata."""
    from random_model import write_random_model

    return write_random_model(tmp_path_factory.mktemp("models") / "random.gguf")


@pytest.fixture(scope="session")
def random_model(random_path: Path) -> Iterator[Model]:
    """A model that has learnt nothing."""
    from genner_cli.engine.model import Model

    prepare_engine()
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


def _engine_here() -> LlamaBackend:
    from genner_cli.running.llama import LlamaBackend  # not before a model is opened: a quick test opens none

    prepare_engine()
    return LlamaBackend()


@pytest.fixture
def genner(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Callable[..., Run]:
    """Runs the command line in this process, and llama.cpp too; extraction and its planning on one thread and no GPU.

    The engine in a child process, which a run has otherwise, takes most of a second to start; tests of what it is for
    start it (test_supervising.py, and those that run `python -m genner_cli`).
    """
    from genner_cli.commands import main
    from genner_cli.running import supervised

    monkeypatch.setattr(supervised, "SupervisedBackend", _engine_here)

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
