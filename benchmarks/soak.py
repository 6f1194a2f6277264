"""The long half of the tests: faults done to real runs, fuzzed input, and memory and pace by the number of documents.

    python benchmarks/soak.py --minutes 28 --json soak.json

Everything is bounded by --minutes: what there was no time for is not in the table, which says how much was really
done. The status is 1 if a record was lost, doubled or changed, a fault was not survived, an input crashed or hung
a reader, there was no time for a kind of fault, or memory grew with the number of documents.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from faults import Bench, Row, all_faults
from memory import Grown, grown
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from fuzzing import LINES, TARGETS, Fuzzed, fuzz

DOCUMENTS = 2500
"""Of the runs that faults are done to."""
LEAST_SECONDS = 10
"""That a run is given before it is ended: the model must be open, at least."""
MOST_GROWTH = 1.1
"""Of the peak memory of a run and its engine, over that with the fewest documents."""
SHARES = {"fuzzing": 0.2, "faults": 0.75}
"""At which part of the time fuzzing and faults end at the latest; memory has the rest."""


@dataclass(frozen=True)
class Found:
    """All that was found."""

    fuzzed: dict[str, Fuzzed]
    faults: list[Row]
    memory: list[Grown]

    @property
    def well(self) -> bool:
        """Whether everything was as it should be."""
        return (
            not any(each.failures for each in self.fuzzed.values())
            and all(row.survived == row.injected > 0 for row in self.faults)
            and not any(row.lost + row.doubled + row.changed for row in self.faults)
            and all(each.documents > 0 for each in self.memory)
            and all(each.peak <= MOST_GROWTH * self.memory[0].peak for each in self.memory)
            and all(each.engine_peak <= MOST_GROWTH * self.memory[0].engine_peak for each in self.memory)
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs it all, prints the tables, writes JSON if asked to."""
    asked = _parser().parse_args(arguments)
    began = time.monotonic()
    seconds = 60 * asked.minutes
    console = Console(stderr=True, width=120)
    found = Found({}, [], [])
    with tempfile.TemporaryDirectory() as folder:
        for target, fuzzed in _fuzzed(asked.lines, asked.seed, began + seconds * SHARES["fuzzing"]):
            console.print(f"{target}: {fuzzed.inputs:,} inputs, {len(fuzzed.failures)} failures")
            found.fuzzed[target] = fuzzed
        bench = Bench(Path(folder), min(DOCUMENTS, 100 + 24 * asked.kills), asked.seed)
        for row in all_faults(bench, asked.kills, began + seconds * SHARES["faults"]):
            console.print(f"{row.fault}: {row.survived} of {row.injected} survived in {row.seconds:,.0f} s")
            found.faults.append(row)
        for measured in _grown(asked.documents, Path(folder), began + seconds):
            console.print(f"{measured.documents:,} of {measured.asked:,} documents")
            found.memory.append(measured)
    _print(found, time.monotonic() - began)
    if asked.json:
        value = {"kills": asked.kills, "seed": asked.seed, **_value(found)}
        asked.json.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    return 0 if found.well else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="SIGKILLs of one run")
    parser.add_argument(
        "--lines", type=int, default=100_000, help="fuzzed JSON lines; a twentieth of other inputs each"
    )
    parser.add_argument("--documents", type=int, default=300_000, help="most documents for memory and pace")
    parser.add_argument("--minutes", type=float, default=28, help="after so long it ends")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write all figures")
    return parser


def _grown(most: int, folder: Path, end: float) -> Iterator[Grown]:
    """More and more documents, the last of them with most of the time; blank ones as well, which need no engine."""
    blank = (1_000_000 if most >= 100_000 else most, True, 0.25)
    for count, is_blank, share in ((1_000, False, 0.25), blank, (30_000, False, 0.4), (most, False, 1.0)):
        now = time.monotonic()
        if count <= most or is_blank:
            yield grown(count, folder, now + max(LEAST_SECONDS, (end - now) * share), blank=is_blank)


def _fuzzed(lines: int, seed: int, until: float) -> Iterator[tuple[str, Fuzzed]]:
    files = {target: -(-lines // LINES) if target == "lines" else max(20, lines // 20) for target in TARGETS}
    for number, (target, count) in enumerate(files.items()):
        left = until - time.monotonic()
        share = left / (2 if target == "lines" else len(files) - number)
        yield target, fuzz(target, seed=seed, files=count, until=time.monotonic() + share)


def _value(found: Found) -> dict[str, Any]:
    return {
        "fuzzed": {
            target: {"inputs": each.inputs, "failures": [failure._asdict() for failure in each.failures]}
            for target, each in found.fuzzed.items()
        },
        "faults": [row._asdict() for row in found.faults],
        "memory": [asdict(each) for each in found.memory],
    }


def _print(found: Found, seconds: float) -> None:
    console = Console(width=110)
    columns = ("fault", "injected", "survived", "lost", "doubled", "changed", "seconds")
    console.print(_table(columns, ([*row[:-1], f"{row.seconds:,.0f}"] for row in _summed(found.faults))))
    rows = ([target, f"{each.inputs:,}", len(each.failures)] for target, each in found.fuzzed.items())
    console.print(_table(("fuzzed", "inputs", "crashes, hangs, losses"), rows))
    columns = ("documents asked", "really run", "blank", "documents/s", "peak MB of the run", "peak MB of its engine")
    console.print(_table(columns, map(_memory_row, found.memory)))
    for each in found.fuzzed.values():
        for failure in each.failures[:3]:
            console.print(f"{failure.target} {failure.seed} {failure.number}: {failure.what}", markup=False)
    console.print(f"{seconds / 60:.1f} minutes, {os.cpu_count()} cores")


def _summed(rows: Sequence[Row]) -> list[Row]:
    sums = [sum(column) for column in zip(*(row[1:] for row in rows), strict=True)]
    return [*rows, Row("all", *sums)]


def _memory_row(each: Grown) -> list[object]:
    blank = "yes" if each.blank else "no"
    peaks = (f"{each.peak / 1e6:,.1f}", f"{each.engine_peak / 1e6:,.1f}")
    return [f"{each.asked:,}", f"{each.documents:,}", blank, f"{each.rate:,.0f}", *peaks]


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    table = Table(columns[0])
    for name in columns[1:]:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*map(str, row))
    return table


if __name__ == "__main__":
    sys.exit(main())
