"""The lock on an output: one holder at a time, whatever becomes of the others."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from genner_cli.errors import UsageError
from genner_cli.files.locks import Lock


def test_the_lock_of_a_killed_process_is_taken_over_and_its_file_goes(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    code = f"from genner_cli.files.locks import Lock; lock = Lock({path!r}); lock.acquire(); print(flush=True); input()"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe) as other:
        assert other.stdout
        other.stdout.readline()
        with pytest.raises(BlockingIOError):
            Lock(path).acquire()
        other.kill()
    assert Path(path).exists()
    lock = Lock(path)
    lock.acquire()
    lock.release()
    assert not Path(path).exists()


def test_two_never_hold_it_while_its_file_comes_and_goes(tmp_path: Path) -> None:
    inside: list[int] = []

    def hold(number: int) -> None:
        for _ in range(100):
            lock = Lock(str(tmp_path / "lock"))
            while True:
                try:
                    lock.acquire()
                    break
                except BlockingIOError:
                    time.sleep(0)
            inside.append(number)
            time.sleep(0)
            assert inside == [number]
            inside.clear()
            lock.release()

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(hold, range(3))) == [None] * 3
    assert list(tmp_path.iterdir()) == []


def test_a_place_where_no_file_can_be_made_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        Lock(str(tmp_path / "none" / "lock")).acquire()
