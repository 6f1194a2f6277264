"""`genner extract --cluster`: what is refused before a cluster is asked. The runs are in test_cluster.py."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Run
from resuming import documents, write_documents

Genner = Callable[..., Run]
RAY = ("--cluster", "ray")


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (RAY, "--cluster: parts are kept beside the output until all are there; name a file after -o"),
        ((*RAY, "-o", "out.jsonl", "--limit", 5), "--limit counts documents from the start of the input"),
        ((*RAY, "-o", "out.jsonl", "--retry-errors"), "--retry-errors: leave --cluster out"),
        ((*RAY, "-o", "out.jsonl", "--shard", "1/2"), "--shard and --cluster both share the input out"),
        (("--address", "head:6379"), "--address is for a cluster; add --cluster ray"),
        (("--actors", 2), "--actors is for a cluster; add --cluster ray"),
        (("--block", 99), "--block is for a cluster; add --cluster ray"),
        ((*RAY, "-o", "in.jsonl"), "is an input file, and output would overwrite it"),
    ],
)
def test_a_cluster_that_makes_no_sense_is_refused_before_it_is_asked(
    genner: Genner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: tuple[object, ...], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "ray", None)
    run = genner("extract", write_documents(tmp_path / "in.jsonl", documents(2)), *more)
    assert (run.status, told in run.stderr, run.stdout) == (2, True, b"")
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_standard_input_is_refused_before_a_cluster_is_asked(
    genner: Genner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    run = genner("extract", "-", *RAY, "-o", tmp_path / "out.jsonl")
    assert (run.status, "-: is a stream, which cannot be shared out" in run.stderr) == (2, True)


def test_without_ray_it_is_told_how_to_install_it(
    genner: Genner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    source = write_documents(tmp_path / "in.jsonl", documents(2))
    run = genner("extract", source, *RAY, "-o", tmp_path / "out.jsonl")
    assert (run.status, run.stderr) == (2, "genner: --cluster ray needs ray; run: pip install 'genner[cluster]'\n")
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]
