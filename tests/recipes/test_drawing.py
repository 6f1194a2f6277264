"""examples/bundled_model/drawing.py: what becomes of the process that draws."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import drawing
import pytest

PARENT = """
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from threading import Thread

import drawing


def watch():
    Thread(target=drawing.end_with_parent, daemon=True).start()


if __name__ == "__main__":
    pool = ProcessPoolExecutor(1, get_context("spawn"), watch)
    print(pool.submit(os.getpid).result(), flush=True)
    input()
"""


def runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.skipif(sys.platform == "win32", reason="looks for a process by its number")
def test_it_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT, "utf-8")
    environment = {**os.environ, "PYTHONPATH": str(Path(drawing.__file__).parent)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, str(script)], env=environment, text=True, **pipes) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        assert runs(child)
        parent.kill()
    deadline = time.monotonic() + 30
    while runs(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not runs(child)
