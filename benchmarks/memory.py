"""The most memory that `genner extract` needs for a number of documents, and how fast it is then."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

TEXTS = ("Ann met Bob in Rome.", "Oslo is cold.", "Nobody came.", "IBM hired her.")
SHORT = ("Ann.", "In Oslo", "No.", "IBM")
GRACE_SECONDS = 60


def peak(documents: int, threads: int) -> int:
    """Bytes: the largest resident set of the process or of its child, which holds the engine (wait4)."""
    with tempfile.TemporaryDirectory() as folder:
        path = _written(Path(folder) / "documents.jsonl", TEXTS, documents)
        command = [sys.executable, "-m", "genner_cli", "extract", str(path), "--threads", str(threads)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{' '.join(command)} ended with status {status}")
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _written(path: Path, texts: Sequence[str], count: int) -> Path:
    with path.open("w", encoding="utf-8") as lines:
        for text in islice(cycle(texts), count):
            lines.write(json.dumps({"text": text}) + "\n")
    return path


@dataclass(frozen=True)
class Grown:
    """`asked` documents were to be run and `documents` were; the rate is that behind the first of them. Peaks of the
    resident sets are bytes: of the process that reads and writes, and of its child with the engine."""

    asked: int
    documents: int
    blank: bool
    rate: float
    peak: int
    engine_peak: int


def grown(count: int, folder: Path, until: float, *, blank: bool = False) -> Grown:
    """`genner extract --limit count` on very short documents, or on blank ones, which need no engine; ended by SIGTERM
    when the clock (`time.monotonic`) says `until`, and by SIGKILL if that is of no use. Linux only: peaks are read from
    /proc."""
    path = _written(folder / "documents.jsonl", (" ",) if blank else SHORT, count)
    out = folder / f"{count}-{blank}.jsonl"
    command = [sys.executable, "-m", "genner_cli", "extract", str(path), "-o", str(out), "--limit", str(count)]
    process = subprocess.Popen([*command, "--threads", "1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peaks = [0, 0]
    first, stop = 0.0, signal.SIGTERM
    while process.poll() is None:
        for number, id in enumerate((process.pid, *_children(process.pid)[:1])):
            peaks[number] = max(peaks[number], _peak_of(id))
        first = first or (time.monotonic() if _begun(Path(f"{out}.partial")) else 0.0)
        if time.monotonic() > until:
            process.send_signal(stop)
            stop, until = signal.SIGKILL, time.monotonic() + GRACE_SECONDS
        time.sleep(0.05)
    manifest = Path(f"{out}.run.json")
    done = json.loads(manifest.read_bytes())["ledger"]["documents"] if manifest.exists() else 0
    for left in folder.glob(f"{out.name}*"):
        left.unlink()
    return Grown(count, done, blank, done / (time.monotonic() - first) if first else 0.0, *peaks)


def _begun(path: Path) -> bool:
    with suppress(FileNotFoundError):
        return path.stat().st_size > 0
    return False


def _children(id: int) -> list[int]:
    with suppress(OSError):
        return [int(child) for child in Path(f"/proc/{id}/task/{id}/children").read_text(encoding="ascii").split()]
    return []


def _peak_of(id: int) -> int:
    """Peak memory of a process so far (VmHWM), 0 once it has ended."""
    with suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{id}/status").read_text(encoding="ascii"))
        return int(found[1]) * 1024 if found else 0
    return 0
