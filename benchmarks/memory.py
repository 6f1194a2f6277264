"""The most memory that `genner extract` holds for so many documents."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from itertools import cycle, islice
from pathlib import Path

TEXTS = ("Ann met Bob in Rome.", "Oslo is cold.", "Nobody came.", "IBM hired her.")


def peak(documents: int, threads: int) -> int:
    """Bytes: the largest resident set of the process or of its child, which holds the engine (wait4)."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "documents.jsonl"
        with path.open("w", encoding="utf-8") as lines:
            for text in islice(cycle(TEXTS), documents):
                lines.write(json.dumps({"text": text}) + "\n")
        command = [sys.executable, "-m", "genner_cli", "extract", str(path), "--threads", str(threads)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{' '.join(command)} ended with status {status}")
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
