"""`genner extract --cluster`: refusals before a cluster is asked, and by actors; test_cluster.py has the runs."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ONE_THREAD, Run
from resuming import documents, write_documents

from genner_cli.cluster.actor import Worker
from genner_cli.errors import GennerError
from genner_cli.files.blocks import cut, surveyed
from genner_cli.running.spec import RunSpec

Genner = Callable[..., Run]
RAY = ("--cluster", "ray")


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (RAY, "--cluster: .* -o"),
        ((*RAY, "-o", "out.jsonl", "--limit", 5), "--limit "),
        ((*RAY, "-o", "out.jsonl", "--retry-errors"), "--retry-errors .*--cluster"),
        ((*RAY, "-o", "out.jsonl", "--shard", "1/2"), "--shard cannot be combined with --cluster"),
        (("--address", "head:6379"), "--address .*--cluster ray"),
        (("--actors", 2), "--actors .*--cluster ray"),
        (("--block-bytes", 99), "--block-bytes .*--cluster ray"),
        ((*RAY, "-o", "in.jsonl"), "input file"),
    ],
)
def test_a_cluster_that_makes_no_sense_is_refused_before_it_is_asked(
    genner: Genner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: tuple[object, ...], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "ray", None)
    run = genner("extract", write_documents(tmp_path / "in.jsonl", documents(2)), *more)
    assert (run.status, run.stdout) == (2, b"")
    assert re.search(told, run.stderr)
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_standard_input_is_refused_before_a_cluster_is_asked(
    genner: Genner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    run = genner("extract", "-", *RAY, "-o", tmp_path / "out.jsonl")
    assert run.status == 2
    assert re.search("-: .*stream", run.stderr)


def test_without_ray_it_is_told_how_to_install_it(
    genner: Genner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    source = write_documents(tmp_path / "in.jsonl", documents(2))
    run = genner("extract", source, *RAY, "-o", tmp_path / "out.jsonl")
    assert run.status == 2
    assert re.fullmatch(r"genner: --cluster ray .*pip install 'genner\[cluster\]'\n", run.stderr)
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_a_machine_that_has_other_bytes_at_the_place_of_an_input_does_not_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging.getLogger("genner"), "handlers", [])
    source = write_documents(tmp_path / "in.jsonl", documents(20))
    actor = Worker(RunSpec(engine=ONE_THREAD), str(tmp_path))
    list(actor.open())
    first, *_, last = surveyed(cut(["in.jsonl"], 1000))
    assert [batch.last for batch in actor.extract(first)][-1]
    source.write_bytes(source.read_bytes()[:-5])
    with pytest.raises(GennerError, match=r"^in\.jsonl: .* machine "):
        next(actor.extract(last))
    actor._engine.close()
