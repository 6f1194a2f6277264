"""The long half of the tests: faults done to real runs, fuzzed input, and memory and pace by the number of documents.

    python benchmarks/soak.py --minutes 28 --json soak.json

Everything is bounded by --minutes: what there was no time for is not in the table, which says how much was really
done. The status is 1 if a record was lost, doubled or changed, a fault was not survived, or an input crashed or hung
a reader.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from faults import Bench, Row, all_faults
from memory import Grown, grown
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from fuzzing import LINES, TARGETS, Fuzzed, fuzz

DOCUMENTS = 400
"""Of the runs that faults are done to."""
SHARES = {"fuzzing": 0.15, "faults": 0.65}
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
        return not any(each.failures for each in self.fuzzed.values()) and all(
            row.survived == row.injected and not row.lost + row.doubled + row.changed for row in self.faults
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs it all, prints the tables, writes JSON if asked to."""
    asked = _parser().parse_args(arguments)
    began = time.monotonic()
    end = began + 60 * asked.minutes
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory() as folder:
        console.print("fuzzing ...")
        fuzzed = _fuzzed(asked.lines, asked.seed, began + 60 * asked.minutes * SHARES["fuzzing"])
        console.print("faults ...")
        bench = Bench(Path(folder), min(DOCUMENTS, 100 + 4 * asked.kills), asked.seed)
        faults = []
        for row in all_faults(bench, asked.kills, began + 60 * asked.minutes * SHARES["faults"]):
            console.print(f"  {row}")
            faults.append(row)
        console.print("memory ...")
        memory = [grown(count, Path(folder), end, blank=blank) for count, blank in _sizes(asked.documents)]
    found = Found(fuzzed, faults, memory)
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


def _sizes(most: int) -> list[tuple[int, bool]]:
    """Numbers of documents, and whether they are blank: those need no engine, so a million takes a minute or two."""
    sizes = [size for size in (1_000, 30_000) if size < most]
    return [(1_000_000 if most >= 100_000 else most, True), *((size, False) for size in (*sizes, most))]


def _fuzzed(lines: int, seed: int, until: float) -> dict[str, Fuzzed]:
    files = {target: -(-lines // LINES) if target == "lines" else max(20, lines // 20) for target in TARGETS}
    found = {}
    for number, (target, count) in enumerate(files.items()):
        left = until - time.monotonic()
        share = left if target == "lines" else left / (len(files) - number)
        found[target] = fuzz(target, seed=seed, files=count, until=time.monotonic() + share)
    return found


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
