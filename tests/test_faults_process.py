"""`genner extract` in a real process, with the bundled model, while its input, its model or its machine give way.

Kills, signals, full disks and second writers: tests/test_resuming_process.py. All of them at length: `make soak`.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import orjson
import pytest
from resuming import (
    ABORTING,
    PATIENCE,
    Start,
    children,
    documents,
    records,
    start,
    told,
    wait_for_lines,
    write_documents,
)

from genner_cli import hub
from genner_cli.engine.gguf_header import read_header
from genner_cli.engine.model import free_memory

__all__ = ["start"]
MANY = 120


def padded(count: int) -> list[bytes]:
    """Lines so long that the file is read while documents are extracted."""
    return [orjson.dumps({**value, "pad": "x" * 4096}) + b"\n" for value in documents(count)]


def gone(ids: list[int]) -> bool:
    """Whether processes end within a while."""
    patience = time.monotonic() + PATIENCE
    while any(os.path.exists(f"/proc/{id}") and " Z " not in Path(f"/proc/{id}/stat").read_text() for id in ids):
        if time.monotonic() > patience:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


def test_lines_that_are_added_while_the_input_is_read_are_read_as_well(start: Start, tmp_path: Path, out: Path) -> None:
    docs, lines = tmp_path / "in.jsonl", padded(MANY)
    docs.write_bytes(b"".join(lines[: MANY // 2]))
    process = start(docs, "-o", out)
    wait_for_lines(Path(f"{out}.partial"), 3, process)
    with docs.open("ab") as file:
        file.write(b"".join(lines[MANY // 2 :]))
    assert told(process, 0).startswith(f"{MANY} documents, ")
    assert [record["text"] for record in records(out)] == [value["text"] for value in documents(MANY)]


@pytest.mark.parametrize("within", [0, 100], ids=["between lines", "within a line"])
def test_an_input_that_is_cut_while_it_is_read_is_an_error_and_no_shorter_input(
    start: Start, tmp_path: Path, out: Path, within: int
) -> None:
    docs, lines = tmp_path / "in.jsonl", padded(MANY)
    docs.write_bytes(b"".join(lines))
    process = start(docs, "-o", out)
    wait_for_lines(Path(f"{out}.partial"), 3, process)
    half = sum(map(len, lines[: MANY // 2]))
    os.truncate(docs, half + within)
    error = told(process, 1)
    found = records(out)
    assert f"{len(found):,} documents, " in error
    size = sum(map(len, lines))
    message = found[-1]["error"]["message"]
    assert re.match(rf"{docs}: .*after line \d.*\(.*from {size:,} to {half + within:,} bytes", message)
    whole = [record for record in found if "error" not in record]
    assert [record["text"] for record in whole] == [value["text"] for value in documents(MANY // 2)]


def test_a_text_that_aborts_llama_cpp_costs_its_own_record_only(tmp_path: Path, out: Path) -> None:
    values = documents(20)
    docs = write_documents(tmp_path / "in.jsonl", [*values[:7], {"text": "A DEADLY one."}, *values[7:]])
    command = (sys.executable, "-c", ABORTING, "extract", docs, "-o", out, "--model", hub.BUNDLED)
    options = ("--slots", "4", "--threads", "1", "--gpu-layers", "0")
    done = subprocess.run([*command, *options], capture_output=True, timeout=PATIENCE, check=False)
    assert done.returncode == 1, done.stderr.decode()
    assert b"SIGABRT" in done.stderr
    found = records(out)
    assert [number for number, record in enumerate(found) if "error" in record] == [7]
    assert re.search("SIGABRT .*twice", found[7]["error"]["message"])
    assert [record["text"] for record in found if "error" not in record] == [value["text"] for value in values]


def test_a_model_that_is_replaced_during_a_run_is_not_gone_on_with(start: Start, tmp_path: Path, out: Path) -> None:
    """The engine that is started again would open the new one."""
    model, other = tmp_path / "model.gguf", tmp_path / "other.gguf"
    shutil.copy(hub.BUNDLED, model)
    shutil.copy(hub.BUNDLED, other)
    docs = write_documents(tmp_path / "in.jsonl", documents(MANY))
    process = start(docs, "-o", out, "--model", model)
    wait_for_lines(Path(f"{out}.partial"), 5, process)
    os.replace(other, model)
    (child,) = children(process)
    os.kill(child, signal.SIGKILL)
    error = told(process, 1)
    assert re.search(f"{model} .*replaced.*--restart", error)
    assert 5 <= len(records(Path(f"{out}.partial"))) < MANY


def test_a_context_that_memory_cannot_hold_is_refused_with_one_that_it_can(start: Start, tmp_path: Path) -> None:
    docs = write_documents(tmp_path / "in.jsonl", documents(1))
    error = told(start(docs, "--context", 2**31 - 1), 1)
    assert error.count("\n") == 1
    found = re.search(r"2147483647 tokens .*--context (\d+)", error)
    assert found
    free = free_memory()
    assert free
    assert 0.5 * free < read_header(hub.BUNDLED).kv_cache_bytes(int(found[1])) < 0.95 * free
    assert "1 to 2147483647" in told(start(docs, "--context", 2**32 + 300), 2)


@pytest.mark.parametrize("end", [signal.SIGKILL, None], ids=["killed", "pipe closed"])
def test_no_engine_is_left_behind(start: Start, tmp_path: Path, end: signal.Signals | None) -> None:
    process = start(write_documents(tmp_path / "in.jsonl", documents(MANY)))
    assert process.stdout
    assert process.stdout.readline()
    engines = children(process)
    assert len(engines) == 1
    if end:
        process.send_signal(end)
    process.stdout.close()
    assert process.wait(PATIENCE) == (-signal.SIGKILL if end else 141)
    assert gone(engines)


@pytest.mark.skipif(not shutil.which("head"), reason="needs head")
def test_head_behind_a_pipe_gets_its_records_and_the_run_ends(tmp_path: Path) -> None:
    docs = write_documents(tmp_path / "in.jsonl", documents(MANY))
    run = f"{sys.executable} -m genner_cli extract {docs} --threads 1 --slots 1 --gpu-layers 0"
    done = subprocess.run(
        ["bash", "-c", f"{run} | head -2; echo ${{PIPESTATUS[0]}}"], capture_output=True, timeout=PATIENCE, check=True
    )
    *found, status = done.stdout.splitlines()
    assert [orjson.loads(line)["text"] for line in found] == [value["text"] for value in documents(2)]
    assert (status, done.stderr) == (b"141", b"")
