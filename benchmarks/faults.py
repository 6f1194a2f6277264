"""Faults that are done to `genner extract`, and what of its output was lost, doubled or changed by them.

Every fault happens to a real process, with the bundled model on one thread and one slot. What must come out is the
output of a run that nothing happened to, record by record; scores may differ by the noise of batches (docs/LOG.md).
"""

from __future__ import annotations

import gzip
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import zstandard

from genner_cli import hub

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from resuming import ABORTING, SCORE_NOISE, children, documents, records, write_documents

PATIENCE_SECONDS = 120
ONE_SLOT = ("--slots", "1", "--threads", "1", "--gpu-layers", "0")
MAIN = "from genner_cli.commands import main; main()"


class Row(NamedTuple):
    """A fault: how often it was done and survived as it should be, and the records lost, doubled and changed."""

    fault: str
    injected: int
    survived: int
    lost: int = 0
    doubled: int = 0
    changed: int = 0
    seconds: float = 0.0


class Bench:
    """A folder with documents and the output of a run that nothing happened to."""

    def __init__(self, folder: Path, count: int, seed: int) -> None:
        self.folder = folder
        self.chance = random.Random(seed)
        values = [{**value, "id": number} for number, value in enumerate(documents(count))]
        self.docs = write_documents(folder / "in.jsonl", values)
        self.expected = self.finished(folder / "undisturbed.jsonl")

    def start(self, *args: object, code: str = MAIN, **options: Any) -> subprocess.Popen[bytes]:
        """`genner extract` with these arguments; the bundled model unless one is named."""
        model = () if "--model" in args else ("--model", hub.BUNDLED)
        command = [sys.executable, "-c", code, "extract", *map(str, (*args, *model)), *ONE_SLOT]
        options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, **options}
        return subprocess.Popen(command, **options)

    def finished(self, out: Path, *args: object, docs: Path | None = None, status: int = 0) -> list[dict[str, Any]]:
        """The records of a run that is let end."""
        process = self.start(docs or self.docs, "-o", out, *args)
        _, output = process.communicate(timeout=PATIENCE_SECONDS * 4)
        if process.returncode != status or b"Traceback" in output:
            raise RuntimeError(f"status {process.returncode}: {output.decode()}")
        return records(out)

    def judged(self, fault: str, injected: int, survived: int, found: Sequence[dict[str, Any]]) -> Row:
        """What became of the records of the whole input."""
        counted = Counter(record["id"] for record in found)
        by_id = {record["id"]: record for record in found}
        lost = sum(record["id"] not in by_id for record in self.expected)
        changed = sum(record["id"] in by_id and not same(record, by_id[record["id"]]) for record in self.expected) + (
            [record["id"] for record in found] != sorted(counted)
        )
        return Row(fault, injected, int(survived), lost, sum(counted.values()) - len(counted), changed)


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two records are equal, up to the noise in scores."""
    bare = [{**r, "entities": [{**e, "score": 0} for e in r["entities"]]} for r in (one, other)]
    pairs = zip(one["entities"], other["entities"], strict=False)
    return bare[0] == bare[1] and all(abs(a["score"] - b["score"]) <= SCORE_NOISE for a, b in pairs)


def lines_in(path: Path) -> int:
    """Whole lines of a file that may not be there."""
    with suppress(FileNotFoundError):
        return path.read_bytes().count(b"\n")
    return 0


def reached(process: subprocess.Popen[bytes], path: Path, count: int) -> bool:
    """Waits until `count` records are there; False if the process ended before."""
    patience = time.monotonic() + PATIENCE_SECONDS
    while lines_in(path) < count:
        if process.poll() is not None:
            return False
        if time.monotonic() > patience:
            raise RuntimeError(f"{path} does not grow to {count} records")
        time.sleep(0.005)
    return True


def all_gone(ids: Sequence[int]) -> bool:
    """Whether these processes have ended, soon."""
    patience = time.monotonic() + 10
    while alive := [id for id in ids if _runs(id)]:
        if time.monotonic() > patience:
            print(f"left behind: {alive}", file=sys.stderr)
            return False
        time.sleep(0.02)
    return True


def _runs(id: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{id}/stat").read_text("ascii").rpartition(")")[2].split()[0] not in "ZX"
    return False


# the faults


def killed(bench: Bench, times: int, until: float) -> Row:
    """SIGKILL, again and again in one run: a little after a record that is further on each time, or, every fourth
    time, at any moment of its first seconds. No engine is left behind, no record that was there is gone afterwards."""
    out = bench.folder / "killed.jsonl"
    partial = Path(f"{out}.partial")
    done = injected = survived = 0
    while injected < times and time.monotonic() < until and not out.exists():
        process = bench.start(bench.docs, "-o", out)
        if injected % 4 == 3:
            time.sleep(bench.chance.random() * 1.5)
        elif reached(process, partial, min(done + 1, len(bench.expected) * (injected + 1) // (times + 1))):
            time.sleep(bench.chance.random() * 0.1)
        engines = children(process) if process.poll() is None else []
        process.kill()
        process.communicate()
        injected += 1
        before, done = done, len(bench.expected) if out.exists() else lines_in(partial)
        survived += all_gone(engines) and done >= before
    return bench.judged("SIGKILL at random moments", injected, survived, bench.finished(out))


def stopped(bench: Bench, times: int) -> Row:
    """SIGTERM and SIGINT in turn: what is in hand is finished, the manifest says how far it came."""
    out = bench.folder / "stopped.jsonl"
    survived = 0
    for number in range(times):
        process = bench.start(bench.docs, "-o", out)
        reached(process, Path(f"{out}.partial"), len(bench.expected) * (number + 1) // (times + 1))
        what = (signal.SIGTERM, signal.SIGINT)[number % 2]
        process.send_signal(what)
        _, output = process.communicate(timeout=PATIENCE_SECONDS)
        manifest = orjson.loads(Path(f"{out}.run.json").read_bytes())
        whole = manifest["ledger"]["documents"] == lines_in(Path(f"{out}.partial"))
        survived += process.returncode == 128 + what and b"run the same command again" in output and whole
    return bench.judged("SIGTERM and SIGINT", times, survived, bench.finished(out))


def engine_killed(bench: Bench, times: int) -> Row:
    """SIGKILL of the engine's process, as the system does where memory runs out, within one run."""
    out = bench.folder / "engine.jsonl"
    process = bench.start(bench.docs, "-o", out)
    injected = 0
    for number in range(times):
        if not reached(process, Path(f"{out}.partial"), len(bench.expected) * (number + 1) // (times + 1)):
            break
        for child in children(process):
            os.kill(child, signal.SIGKILL)
            injected += 1
    _, output = process.communicate(timeout=PATIENCE_SECONDS * 4)
    survived = output.count(b"it is started again") if process.returncode == 0 else 0
    return bench.judged("engine killed (out of memory)", injected, survived, records(out))


def full_disk(bench: Bench, times: int) -> Row:
    """A limit on the size of files, further on each time, which stops a line in its middle."""
    out = bench.folder / "full.jsonl"
    size = (bench.folder / "undisturbed.jsonl").stat().st_size
    survived = 0
    for number in range(times):
        limit = size * (number + 1) // (times + 1)
        most = (limit, resource.RLIM_INFINITY)
        process = bench.start(
            bench.docs, "-o", out, preexec_fn=lambda most=most: resource.setrlimit(resource.RLIMIT_FSIZE, most)
        )
        _, output = process.communicate(timeout=PATIENCE_SECONDS)
        survived += process.returncode == 1 and b"make room and run the same command again" in output
    return bench.judged("disk full", times, survived, bench.finished(out))


def contended(bench: Bench, times: int) -> Row:
    """A second process on the output of a first one is refused, and the first continues."""
    out = bench.folder / "contended.jsonl"
    first = bench.start(bench.docs, "-o", out)
    reached(first, Path(f"{out}.partial"), 3)
    survived = 0
    for _ in range(times):
        second = bench.start(bench.docs, "-o", out)
        _, output = second.communicate(timeout=PATIENCE_SECONDS)
        survived += second.returncode == 2 and b"is writing it" in output and first.poll() is None
    first.communicate(timeout=PATIENCE_SECONDS * 4)
    return bench.judged("second process on one output", times, survived, records(out))


def moving_input(bench: Bench) -> Iterator[Row]:
    """The input grows, or is cut, while it is read; long lines keep the reader near the documents under way."""
    padded = [{**record, "pad": "x" * 4096} for record in bench.expected]
    lines = [orjson.dumps({k: v for k, v in value.items() if k != "entities"}) + b"\n" for value in padded]
    half = len(lines) // 2
    for fault, then in (("input grows while read", len(lines)), ("input is cut while read", half + 1)):
        docs, out = bench.folder / "moving.jsonl", bench.folder / f"moving-{then}.jsonl"
        docs.write_bytes(b"".join(lines[:half] if then > half + 1 else lines))
        process = bench.start(docs, "-o", out)
        reached(process, Path(f"{out}.partial"), 3)
        if then == len(lines):
            with docs.open("ab") as file:
                file.write(b"".join(lines[half:]))
        else:
            os.truncate(docs, sum(map(len, lines[:half])) + 100)
        process.communicate(timeout=PATIENCE_SECONDS * 4)
        found = [{k: v for k, v in record.items() if k != "pad"} for record in records(out)]
        if then == len(lines):
            yield bench.judged(fault, 1, process.returncode == 0, found)
            continue
        errors = [record for record in found if "error" in record]
        whole = all(map(same, bench.expected[:half], found[:half]))
        told_of = process.returncode == 1 and any("was cut from" in record["error"]["message"] for record in errors)
        yield Row(fault, 1, int(whole and told_of), half - len([r for r in found if "error" not in r]))


def broken_input(bench: Bench) -> Iterator[Row]:
    """A gzip or zstd file with wrong bytes in its middle costs its rest, reported in one record, and no neighbour."""
    content = bench.docs.read_bytes()
    checked = zstandard.ZstdCompressor(write_checksum=True)  # as the zstd program does
    for suffix, pack in (("gz", gzip.compress), ("zst", checked.compress)):
        packed = bytearray(pack(content))
        packed[len(packed) // 2 : len(packed) // 2 + 64] = b"\xff" * 64
        broken, out = bench.folder / f"broken.jsonl.{suffix}", bench.folder / f"broken-{suffix}.jsonl"
        broken.write_bytes(packed)
        process = bench.start(broken, bench.docs, "-o", out)
        process.communicate(timeout=PATIENCE_SECONDS * 4)
        output, *after = records(out)[-len(bench.expected) - 1 :]
        survived = process.returncode == 1 and str(broken) in output["error"]["message"]
        yield bench.judged(f"broken {suffix} in the middle", 1, survived, after)


def guilty(bench: Bench) -> Row:
    """A document at which llama.cpp ends its process costs its own record only."""
    docs, out = bench.folder / "guilty.jsonl", bench.folder / "guilty-out.jsonl"
    lines = bench.docs.read_bytes().splitlines(keepends=True)
    at = len(lines) // 3
    docs.write_bytes(b"".join([*lines[:at], b'{"id": -1, "text": "A DEADLY one."}\n', *lines[at:]]))
    process = bench.start(docs, "-o", out, code=ABORTING)
    process.communicate(timeout=PATIENCE_SECONDS * 4)
    found = records(out)
    failed = [record for record in found if "error" in record]
    survived = process.returncode == 1 and [record["id"] for record in failed] == [-1]
    return bench.judged("a document that aborts llama.cpp", 1, survived, [r for r in found if r["id"] != -1])


def refused(bench: Bench) -> Iterator[Row]:
    """What cannot be done is reported in one line, before any work, and what is there stays as it is."""
    out, model = bench.folder / "refused.jsonl", bench.folder / "model.gguf"
    shutil.copy(hub.BUNDLED, model)
    few = (bench.docs, "--limit", "5", "--model", model)
    bench.finished(out, *few[1:])
    before = out.read_bytes()
    with model.open("r+b") as file:
        file.seek(-64, os.SEEK_END)
        file.write(bytes(64))
    for fault, args, status, what in (
        ("model replaced between runs", (*few, "-o", out), 2, b"model's content differs"),
        ("folder that may not be written", (bench.docs, "-o", "/proc/self/out.jsonl"), 2, b"/proc/self/out.jsonl"),
        ("context that is too large", (bench.docs, "--context", 100_000_000), 1, b"use --context "),
    ):
        process = bench.start(*args)
        _, output = process.communicate(timeout=PATIENCE_SECONDS)
        survived = (
            process.returncode == status and what in output and output.count(b"\n") == 1 and out.read_bytes() == before
        )
        yield Row(fault, 1, int(survived))


def closed_pipe(bench: Bench, times: int) -> Row:
    """The reader of standard output goes away: no word, status 141, no engine left behind."""
    survived = 0
    for _ in range(times):
        process = bench.start(bench.docs, stdout=subprocess.PIPE)
        assert process.stdout
        process.stdout.readline()
        engines = children(process)
        process.stdout.close()
        output = process.stderr.read() if process.stderr else b""
        survived += process.wait(PATIENCE_SECONDS) == 141 and not output and all_gone(engines)
    return Row("closed pipe (| head)", times, survived)


def all_faults(bench: Bench, kills: int, until: float) -> Iterator[Row]:
    """Every fault, one after the other; the kills come last and take the time that is left until then."""
    steps: Sequence[Callable[[], Row | Iterator[Row]]] = (
        lambda: stopped(bench, 6),
        lambda: engine_killed(bench, 8),
        lambda: full_disk(bench, 5),
        lambda: contended(bench, 3),
        lambda: moving_input(bench),
        lambda: broken_input(bench),
        lambda: guilty(bench),
        lambda: refused(bench),
        lambda: closed_pipe(bench, 3),
        lambda: killed(bench, kills, until),
    )
    for step in steps:
        began = time.monotonic()
        found = step()
        for row in [found] if isinstance(found, Row) else found:
            now = time.monotonic()
            yield row._replace(seconds=now - began)
            began = now
