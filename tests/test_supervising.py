"""An engine in a process of its own: deaths, guilty texts, errors and talk, with the bundled model."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ONE_THREAD

from genner_cli.engine.statistics import Statistics
from genner_cli.errors import ModelError, UsageError
from genner_cli.generation import EngineOptions
from genner_cli.running.backend import extractions
from genner_cli.running.llama import LlamaBackend
from genner_cli.running.spec import RunSpec
from genner_cli.running.supervised import CHILD, SupervisedBackend, SupervisedEngine
from genner_cli.types import Document, Extraction, FailedDocument, Label, Reason

SLOTS = EngineOptions(slots=4, threads=1, gpu_layers=0)
SPEC = RunSpec(engine=SLOTS)
DEADLY = """
import os
from genner_cli.engine.engine import Engine
start = Engine._start
def dying(self, job):
    if "DEADLY" in job.request.rest[0].text:
        os.abort()
    return start(self, job)
Engine._start = dying
"""
"""As if llama.cpp aborted at a text."""


def extracted(texts: list[str], child: str = CHILD) -> list[Extraction]:
    with SupervisedBackend(child).open(SPEC) as opened:
        documents = (Document(text, source=f"line {number}") for number, text in enumerate(texts))
        return list(extractions(opened, documents))


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return [f"Ann Smith of Acme met Bob in Rome, {number}." for number in range(20)]


def test_the_child_gives_what_the_engine_gives(texts: list[str]) -> None:
    with LlamaBackend().open(RunSpec(engine=ONE_THREAD)) as opened:
        expected = list(extractions(opened, (Document(text) for text in texts)))
        counted = opened.statistics
    with SupervisedBackend().open(RunSpec(engine=ONE_THREAD)) as opened:
        found = list(extractions(opened, (Document(text) for text in texts)))
        assert opened.statistics.requests == counted.requests == len(texts)
        assert opened.statistics.written == counted.written
    assert [result.entities for result in found] == [result.entities for result in expected]
    assert any(result.entities for result in found)


def test_a_text_that_kills_the_engine_becomes_an_error_and_its_neighbours_are_whole(
    texts: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    disturbed = [*texts[:7], "DEADLY one", *texts[7:9], "DEADLY two", *texts[9:]]
    with caplog.at_level(logging.WARNING, "genner"):
        results = extracted(disturbed, DEADLY + CHILD)
    assert [result.document.text for result in results if isinstance(result.document, Document)] == disturbed
    failed = {number: result for number, result in enumerate(results) if result.error}
    assert list(failed) == [7, 10]
    assert failed[7].error
    assert re.match("line 7: .*SIGABRT .*twice", failed[7].error)
    assert failed[7].reason is Reason.ENGINE
    whole = [result.entities for result in results if not result.error]
    assert whole == [result.entities for result in extracted(texts)]
    assert "SIGABRT" in caplog.text


def test_documents_without_requests_pass_through_the_child() -> None:
    documents = [FailedDocument("f:1: broken", "f:1")] * 200 + [Document("Ann met Bob.")]
    with SupervisedBackend().open(SPEC) as opened:
        results = list(extractions(opened, documents))
    assert [result.document for result in results] == documents


def test_an_engine_can_be_used_again_and_closed_in_the_middle(texts: list[str]) -> None:
    with SupervisedBackend().open(SPEC) as opened:
        first = list(extractions(opened, (Document(text) for text in texts[:3])))
        assert [r.entities for r in extractions(opened, (Document(text) for text in texts[:3]))] == [
            r.entities for r in first
        ]
        running = extractions(opened, (Document(text) for text in texts))
        next(running)
    assert isinstance(opened, SupervisedEngine)
    assert opened._process.process.poll() is not None


def test_what_opening_raises_is_raised_here(tmp_path: Path) -> None:
    with (
        pytest.raises(ModelError, match="/x' does not exist"),
        SupervisedBackend().open(RunSpec(model=str(tmp_path / "x"))),
    ):
        pass
    with pytest.raises(UsageError, match="larger --context"):
        list(_run(RunSpec(engine=EngineOptions(slots=1, context=4, threads=1, gpu_layers=0, batch_tokens=4))))


def _run(spec: RunSpec) -> Iterator[Extraction]:
    with SupervisedBackend().open(spec) as opened:
        yield from extractions(opened, [Document("Ann met Bob.")])


def test_an_error_of_the_input_passes_through_and_leaves_no_process() -> None:
    def documents() -> Iterator[Document]:
        yield Document("Ann met Bob.")
        raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"), SupervisedBackend().open(SPEC) as opened:
        list(extractions(opened, documents()))
    assert isinstance(opened, SupervisedEngine)
    assert opened._process.process.poll() is not None


def test_a_warning_of_the_child_is_logged_here(caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.WARNING, "genner"),
        SupervisedBackend().open(RunSpec(labels=tuple(Label(f"KIND_{at}") for at in range(500)), engine=SLOTS)),
    ):
        pass
    assert "500 labels " in caplog.text


@pytest.mark.parametrize(("end", "how"), [("import os; os.abort()", "SIGABRT"), ("raise SystemExit(3)", "with 3")])
def test_a_child_that_dies_before_the_model_is_open_is_an_error(end: str, how: str) -> None:
    with pytest.raises(ModelError, match=how):
        SupervisedEngine(SPEC, end)


@pytest.mark.parametrize(
    ("raised", "told", "where"),
    [("ModelError('no room')", "ModelError: no room", False), ("KeyError('a bug')", "KeyError: 'a bug'", True)],
    ids=["error", "bug"],
)
def test_a_text_at_which_the_engine_raises_becomes_an_error_and_its_neighbours_are_whole(
    texts: list[str], caplog: pytest.LogCaptureFixture, raised: str, told: str, where: bool
) -> None:
    child = DEADLY.replace("os.abort()", f"raise {raised}") + "from genner_cli.errors import ModelError\n" + CHILD
    with caplog.at_level(logging.WARNING, "genner"):
        results = extracted([*texts[:2], "A DEADLY one.", *texts[2:4]], child)
    assert [bool(result.error) for result in results] == [False, False, True, False, False]
    assert results[2].error
    assert results[2].error.startswith("line 2: ")
    assert re.search(rf"\({told}\) .*twice", results[2].error)
    assert results[2].reason is Reason.ENGINE
    assert ("in dying" in caplog.text) == where


def test_statistics_add_up() -> None:
    assert Statistics(requests=1, decode_seconds=0.5).plus(Statistics(requests=2, decode_seconds=1)) == Statistics(
        requests=3, decode_seconds=1.5
    )


def test_the_child_is_the_first_to_go_when_memory_runs_out() -> None:
    with SupervisedEngine(SPEC) as engine:
        score = Path(f"/proc/{engine._process.process.pid}/oom_score_adj")
        if not os.path.exists(score):
            pytest.skip("needs /proc")
        assert score.read_text(encoding="ascii").strip() == "1000"
