"""The command line as a process of its own: what it loads, pipes, signals, and its printed reference."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest
from asking import ROOT

from genner_cli import __version__
from genner_cli.commands import _Commands

GENNER = (sys.executable, "-m", "genner_cli")
COMMANDS = sorted(_Commands.summaries)
HEAVY = {"genner_cli.engine.llama", "torch", "numpy", "transformers", "peft", "gguf", "huggingface_hub", "jinja2"}
MANY = 2000
"""Documents enough that a run is far from done when a test interferes."""


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    path = tmp_path / "docs.jsonl"
    path.write_bytes(
        b"".join(orjson.dumps({"id": n, "text": f"Ann met Bob in Rome, {n}."}) + b"\n" for n in range(MANY))
    )
    return path


Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start(random_path: Path) -> Iterator[Start]:
    """Starts `genner extract` on the model of random weights; whatever still runs at the end is killed."""
    running: list[subprocess.Popen[bytes]] = []

    def begin(*args: object) -> subprocess.Popen[bytes]:
        fixed = ("--model", random_path, "--slots", 1, "--threads", 1, "--gpu-layers", 0)
        command = [*GENNER, "extract", *map(str, (*args, *fixed))]
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
        return running[-1]

    yield begin
    for process in running:
        process.kill()
        process.communicate()


HELP = """
import json, sys
from genner_cli.commands import main
for command in [[], *json.loads(sys.argv[1])]:
    sys.argv = ["genner", *command, "--help"]
    print("HELP OF", *command)
    try:
        main()
    except SystemExit as exit:
        print("STATUS", exit.code, sorted(set(%r) & set(sys.modules)))
"""


def test_help_loads_no_model_library() -> None:
    code, asked = HELP % HEAVY, json.dumps([[name] for name in COMMANDS])
    told = subprocess.run([sys.executable, "-c", code, asked], capture_output=True, text=True, check=True)
    assert told.stderr == ""
    empty, *texts = told.stdout.split("HELP OF")
    assert not empty
    assert [text.partition("\n")[0].strip() for text in texts] == ["", *COMMANDS]
    for text in texts:
        assert "Usage:" in text
        assert text.splitlines()[-1] == "STATUS 0 []", text


def test_help_of_every_command_is_found_from_the_top() -> None:
    told = subprocess.run([*GENNER, "-h"], capture_output=True, text=True, check=True).stdout
    assert set(COMMANDS) >= {"extract", "grammar"}
    assert all(name in told for name in COMMANDS)


def test_version() -> None:
    told = subprocess.run([*GENNER, "--version"], capture_output=True, text=True, check=True)
    assert told.stdout == f"genner {__version__}\n"


def test_the_command_reference_is_what_the_commands_say(tmp_path: Path) -> None:
    """`make docs` writes it."""
    written = tmp_path / "commands.md"
    typer = (sys.executable, "-m", "typer", "genner_cli.commands", "utils", "docs", "--name", "genner")
    env = {**os.environ, "TERMINAL_WIDTH": "120"}
    subprocess.run([*typer, "--output", str(written)], cwd=ROOT, env=env, check=True, capture_output=True)
    reference = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert all(f"## `genner {name}`" in reference for name in COMMANDS)
    assert written.read_text(encoding="utf-8") == reference, "docs/commands.md is stale; run `make docs`"


def test_a_reader_that_goes_away_ends_the_run_without_a_word(start: Start, docs: Path) -> None:
    """`genner extract docs.jsonl | head -1`."""
    process = start(docs)
    assert process.stdout
    assert process.stderr
    assert orjson.loads(process.stdout.readline())["id"] == 0
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 141


def wait_for_content(path: Path, process: subprocess.Popen[bytes]) -> None:
    patience = time.monotonic() + 60
    while not path.exists() or not path.stat().st_size:
        assert process.poll() is None, "it is done already"
        assert time.monotonic() < patience
        time.sleep(0.02)


def test_a_run_that_is_killed_leaves_whole_lines_in_a_partial_file_only(start: Start, docs: Path) -> None:
    out, partial = docs.parent / "out.jsonl", docs.parent / "out.jsonl.partial"
    process = start(docs, "-o", out)
    wait_for_content(partial, process)
    process.kill()
    process.wait()
    assert not out.exists()
    records = [orjson.loads(line) for line in partial.read_bytes().splitlines()]
    assert [record["id"] for record in records] == list(range(len(records)))
    assert 0 < len(records) < MANY


def test_an_interrupted_run_says_so_and_where_its_output_is(start: Start, docs: Path) -> None:
    process = start(docs, "-o", docs.parent / "out.jsonl")
    wait_for_content(docs.parent / "out.jsonl.partial", process)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in told.decode()
    assert "out.jsonl.partial" in told.decode()
    assert not (docs.parent / "out.jsonl").exists()


def test_stdout_is_records_and_stderr_is_one_line(start: Start, docs: Path) -> None:
    """No progress bar, no colours, and nothing of llama.cpp's."""
    out, told = start(docs, "--limit", 3).communicate()
    assert [orjson.loads(line)["id"] for line in out.splitlines()] == [0, 1, 2]
    assert told.startswith(b"3 documents, ")
    assert told.count(b"\n") == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_behind_stdout_is_an_error(docs: Path, random_path: Path) -> None:
    with open("/dev/full", "wb") as full:
        command = [*GENNER, "extract", str(docs), "--model", str(random_path), "--threads", "1", "--limit", "2"]
        told = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert told.returncode == 1
    assert re.match(r"genner: standard output: .*\(No space left on device\)", told.stderr)
    assert told.stderr.count("\n") == 1
