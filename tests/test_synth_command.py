"""`genner synth` on the command line: real engines in real processes. The author has random weights and no chat
template, so that its sentences are nonsense, and end where a grammar ends; the bundled model annotates them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from conftest import ONE_THREAD, Run
from random_model import write_random_model
from resuming import records

from genner_cli import hub
from genner_cli.engine.engine import Engine
from genner_cli.engine.model import Model
from genner_cli.errors import ModelError
from genner_cli.files.gold import read_gold
from genner_cli.generation import Constraint, Request, Sampling
from genner_cli.locking import NO_LOCK
from genner_cli.methods import synthesis
from genner_cli.methods.synthesis import LINE, WRITER_PROMPT
from genner_cli.running.asked import AskedModel, Opening
from genner_cli.running.spec import RunSpec
from genner_cli.types import Label

Genner = Callable[..., Run]
CPU = ("--threads", "1", "--gpu-layers", "0")
SHORT = 'root ::= [a-z]{2,9} (" " [a-z]{2,9}){4} "."'
WITH_SHORT = f"""
from genner_cli.methods import synthesis
synthesis.LINE = {SHORT!r}
from genner_cli.commands import main; main()
"""
PLAN = """
about: news
attributes: {topic: {values: [football, cooking, trains]}}
names: {PER: [Ada Lovelace, Bob Stone], ORG: [Acme, Globex]}
"""


@pytest.fixture(scope="module")
def random_author(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_model(tmp_path_factory.mktemp("author") / "author.gguf", leave_out=["genner."])


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "labels.yaml").write_text("PER: named people\nORG:\n")
    (tmp_path / "plan.yaml").write_text(PLAN)
    return tmp_path


def arguments(folder: Path, author: Path, out: str = "out") -> list[str]:
    plan, annotator = str(folder / "plan.yaml"), str(hub.BUNDLED)
    options = ["--plan", plan, "-n", "4", "--model", str(author), "--annotate-with", annotator, "--temperature", "0.7"]
    return ["synth", str(folder / "labels.yaml"), *options, *CPU, "-o", str(folder / out)]


def test_sentences_are_written_annotated_and_checked(
    genner: Genner, files: Path, random_author: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(synthesis, "LINE", SHORT)
    run = genner(*arguments(files, random_author))
    assert (run.status, run.stdout) == (0, b""), run.stderr
    assert "4 sentences of " in run.stderr
    gold = read_gold([str(files / "out" / "train.jsonl")])
    assert not gold.problems
    assert len(gold.documents) == 4
    report = orjson.loads((files / "out" / "synth.json").read_bytes())
    assert report["sentences"]["kept"] == 4
    assert report["annotator"]["file"] == str(hub.BUNDLED)
    asked = sum(report["sentences"].values())
    assert len(records(files / "out" / "rejected.jsonl")) == asked - 4


def test_a_run_that_was_killed_resumes_to_the_same_files(files: Path, random_author: Path) -> None:
    def start(out: str) -> subprocess.Popen[bytes]:
        command = (sys.executable, "-c", WITH_SHORT, *arguments(files, random_author, out))
        return subprocess.Popen(command, stderr=subprocess.DEVNULL)

    assert start("whole").wait() == 0
    killed = start("killed")
    while killed.poll() is None and not list((files / "killed").glob("stages/sentences-1.jsonl*")):
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert start("killed").wait() == 0
    for name in ("train.jsonl", "rejected.jsonl", "synth.json"):
        assert (files / "killed" / name).read_bytes() == (files / "whole" / name).read_bytes()


def test_a_plan_that_is_not_there_is_written_and_nothing_else(genner: Genner, files: Path, random_author: Path) -> None:
    os.unlink(files / "plan.yaml")
    run = genner(*arguments(files, random_author), "--about", "old maps")
    assert run.status == 0, run.stderr
    assert "edit it" in run.stderr
    assert "about: old maps" in (files / "plan.yaml").read_text("utf-8")
    assert not (files / "out" / "train.jsonl").exists()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--model", str(hub.BUNDLED)], "--annotate-with"),
        (["--not-in", "missing.jsonl"], "missing.jsonl"),
        (["--examples", "missing.jsonl"], "missing.jsonl"),
        (["--not-in", "-"], "--not-in"),
        (["--examples", "-"], "--examples"),
    ],
)
def test_what_cannot_be_is_a_usage_error(
    genner: Genner, files: Path, random_author: Path, more: list[str], says: str
) -> None:
    run = genner(*arguments(files, random_author), *more)
    assert run.status == 2
    assert says in run.stderr
    assert not (files / "out").exists(), "nothing is begun that the right call would not resume"


def request_of(number: int, prompt_text: str = "Write.") -> Request:
    prefix, rest = WRITER_PROMPT.prefix(()), WRITER_PROMPT.rest(prompt_text)
    return Request(prefix, rest, LINE, NO_LOCK, 8, Constraint.FORMAT, sampling=Sampling(1, number))


def test_a_model_in_a_child_writes_what_it_writes_here(random_author: Path) -> None:
    requests = [request_of(number) for number in range(4)]
    with Model(random_author, gpu_layers=0) as model, Engine(model, ONE_THREAD) as engine:
        here = dict(engine.generate(requests))
    opening = Opening(random_author, RunSpec(engine=ONE_THREAD), WRITER_PROMPT)
    with AskedModel(opening) as asked:
        assert asked.instructions is None
        assert len(asked.prompts) == 1
        assert dict(asked.generate(requests)) == here
        assert dict(asked.generate([])) == {}


CANNOT_WRITE = """
from genner_cli.engine.model import Model
from genner_cli.errors import DataError
from genner_cli.running import asked
def prompt(self, pieces):
    raise DataError("the vocabulary cannot write this text")
Model.prompt = prompt
asked.main()
"""


def test_texts_that_a_vocabulary_cannot_write_are_an_error_of_the_model(random_author: Path) -> None:
    opening = Opening(random_author, RunSpec(engine=ONE_THREAD), WRITER_PROMPT)
    with AskedModel(opening, CANNOT_WRITE) as asked, pytest.raises(ModelError):
        asked.task(RunSpec(labels=(Label("PER"),), engine=ONE_THREAD))


DIES = """
import os
from genner_cli.running import asked
from genner_cli.engine.engine import Engine
generate = Engine.generate
def dying(self, requests):
    if any("DEADLY" in request.rest[0].text for request in requests):
        os.abort()
    return generate(self, requests)
Engine.generate = dying
asked.main()
"""


def test_a_request_that_kills_the_process_fails_alone(random_author: Path) -> None:
    opening = Opening(random_author, RunSpec(engine=ONE_THREAD), WRITER_PROMPT)
    with AskedModel(opening, DIES) as asked:
        found = dict(asked.generate([request_of(0), request_of(1, "DEADLY"), request_of(2)]))
    assert [found[number].error is None for number in range(3)] == [True, False, True]
