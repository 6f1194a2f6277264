"""What a second actor brings, and how fast the driver's own work is: counting lines, writing parts, joining them.

`python benchmarks/cluster.py` prints one JSON value; `docs/cluster.md` says what follows for many machines.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any

from workloads import workloads

from genner_cli.files.blocks import cut, suitable_length, surveyed
from genner_cli.files.manifest import Settings
from genner_cli.files.parts import Parts, Record
from genner_cli.files.resuming import ResumableOutput
from genner_cli.ledger import Outcome

DOCUMENT = b'{"id": 7, "text": "%s"}\n' % (b"Ann met Bob in Rome. " * 24)


def rate(folder: Path, actors: int, documents: int) -> float:
    """Documents a second with `actors` actors of one thread each, from the first open model to the joined output."""
    source = folder / "documents.jsonl"
    texts = next(workloads(1000, 1)).texts
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in islice(cycle(texts), documents)))
    command = (
        *(sys.executable, "-m", "genner_cli", "extract", source, "-o", folder / "out.jsonl", "--restart"),
        *("--cluster", "ray", "--actors", actors, "--threads", 1, "--block-bytes", source.stat().st_size // 24),
        *("--stats", folder / "stats.json"),
    )
    subprocess.run(list(map(str, command)), check=True)
    return float(json.loads((folder / "stats.json").read_bytes())["documents_per_second"])


def driver(folder: Path, documents: int) -> dict[str, float]:
    """MB/s of counting lines, and records/s of writing parts and of joining them."""
    source, out = folder / "many.jsonl", str(folder / "many-out.jsonl")
    source.write_bytes(DOCUMENT * documents)
    paths = [str(source)]
    survey = timed(lambda: list(surveyed(cut(paths, suitable_length(paths)))))
    parts = Parts(out, survey[0], b"key")
    records = [Record(DOCUMENT, bytes(16), Outcome(504, 1, 2, None))] * (documents // len(parts))
    write = timed(lambda: [(parts.write(block, records), parts.finish(block)) for block in parts.missing()])
    with ResumableOutput(out) as output:
        output.begin(Settings({}))
        join = timed(lambda: output.fill(parts.records()))
    count = len(records) * len(parts)
    return {
        "survey_mb_per_second": source.stat().st_size / survey[1] / 1e6,
        "written_records_per_second": count / write[1],
        "joined_records_per_second": count / join[1],
    }


def timed(action: Callable[[], Any]) -> tuple[Any, float]:
    """What it gives, and the seconds it took."""
    began = time.perf_counter()
    return action(), time.perf_counter() - began


def main() -> None:
    """Rounds of one and of two actors in turn; medians and all figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rates = [[rate(folder, actors, options.documents) for actors in (1, 2)] for _ in range(options.rounds)]
        one, two = zip(*rates, strict=True)
        found = {
            "documents_per_second": {"1 actor": one, "2 actors": two},
            "speed_up": median(two) / median(one),
            **driver(folder, 200_000),
        }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
