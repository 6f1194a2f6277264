"""`genner extract` as a process that tests disturb, and documents that keep it busy for a while."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from asking import news
from conftest import Run

from genner_cli import hub

COMMAND = (sys.executable, "-m", "genner_cli", "extract")
PATIENCE = 300
"""Seconds after which a process that does not end, or get on, is taken to hang; much, since a machine may be busy."""
SCORE_NOISE = 0.01
"""What batches of other sizes may change in a score (docs/LOG.md)."""

ABORTING = """
import genner_cli.running.supervised as supervised
supervised.SupervisedBackend.__init__.__defaults__ = ('''
from genner_cli.engine import engine
start = engine.Engine._start
def dying(self, job):
    if "DEADLY" in job.request.rest[0].text:
        grammar = engine.Grammar.compile(self._model, job.request.grammar)
        for id in range(self._model.size):
            grammar.accept(id)
    return start(self, job)
engine.Engine._start = dying
''' + supervised.CHILD,)
from genner_cli.commands import main; main()
"""
"""genner, whose llama.cpp is handed illegal tokens at a DEADLY text: it throws, and its process ends."""

Start = Callable[..., "subprocess.Popen[bytes]"]
Finish = Callable[..., str]


def documents(count: int) -> list[dict[str, Any]]:
    """Short documents of the example stories; every tenth one is there twice."""
    sentences = news(30, 60)
    return [{"id": n - (n % 10 == 1), "text": sentences[(n - (n % 10 == 1)) % len(sentences)]} for n in range(count)]


def write_documents(path: Path, values: Sequence[object]) -> Path:
    path.write_bytes(b"".join(orjson.dumps(value) + b"\n" for value in values))
    return path


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts `genner extract` on the bundled model, one slot on one thread; what still runs at the end is killed."""
    running: list[subprocess.Popen[bytes]] = []

    def begin(*args: object, **options: Any) -> subprocess.Popen[bytes]:
        model = () if "--model" in args else ("--model", hub.BUNDLED)
        fixed = (*model, "--slots", 1, "--threads", 1, "--gpu-layers", 0)
        command = [*COMMAND, *map(str, (*args, *fixed))]
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options))
        return running[-1]

    yield begin
    for process in running:
        process.kill()
        process.communicate()


@pytest.fixture
def finish(genner: Callable[..., Run]) -> Finish:
    """What `start` starts, to its end in this process, which takes less; gives what it said on stderr."""

    def run(*args: object, status: int = 0) -> str:
        done = genner("extract", *args, *(() if "--model" in args else ("--model", hub.BUNDLED)), "--slots", 1)
        assert (done.status, done.stdout) == (status, b""), done.stderr
        return done.stderr

    return run


def told(process: subprocess.Popen[bytes], status: int, patience: float = PATIENCE) -> str:
    """What a process said on stderr until it ended with this status."""
    out, error = process.communicate(timeout=patience)
    assert process.returncode == status, error.decode()
    assert out == b""
    assert b"Traceback" not in error
    return error.decode()


def records(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def manifest(output: Path) -> dict[str, Any]:
    return dict(orjson.loads(Path(f"{output}.run.json").read_bytes()))


def wait_for_lines(path: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    """Until so many records are in a file."""
    patience = time.monotonic() + PATIENCE
    while not path.exists() or path.read_bytes().count(b"\n") < count:
        assert process.poll() is None, "it is done already"
        assert time.monotonic() < patience
        time.sleep(0.005)


def children(process: subprocess.Popen[bytes]) -> list[int]:
    """The processes that it started."""
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii")
    return [int(id) for id in listed.split()]


def assert_same(found: Sequence[dict[str, Any]], undisturbed: Sequence[dict[str, Any]]) -> None:
    """Record by record; scores up to the noise of batches."""
    assert len(found) == len(undisturbed)
    for one, other in zip(found, undisturbed, strict=True):
        bare = [
            {**r, "entities": [{k: v for k, v in e.items() if k != "score"} for e in r["entities"]]}
            for r in (one, other)
        ]
        assert bare[0] == bare[1]
        for left, right in zip(one["entities"], other["entities"], strict=True):
            assert abs(left["score"] - right["score"]) <= SCORE_NOISE
