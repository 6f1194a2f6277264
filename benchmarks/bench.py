"""genner against what else runs the same requests, and against the machine.

    python benchmarks/bench.py [--server LLAMA-SERVER] [--full] [--threads N] [--model MODEL ...] [--only]

On the bundled model, on the same model inflated to the size of Qwen2.5-0.5B (`inflate.py`), and on others (`--model`,
with `--only` on these alone): in their own format if genner trained them, else in two. Peers take the same GGUF, prompt
token ids, grammar, threads and flash attention, and may write as many tokens for a document as genner wrote. Rounds
take turns; figures are medians with ranges. First it is checked on every document that the loop under the grammar and
genner under the same grammar alone write the same text (control tokens left out, which genner never writes), and that
genner writes the same with one slot as with its own choice of slots, but for choices closer than NOISE. A model like
those given with `--model` is often undecided, so that the loop's batches of one token may choose otherwise: there it is
counted for how many texts both are the same. Prints the figures beside their targets and writes results.json and
results.svg beside this file. Without a server, its rows are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import limit
import memory
from inflate import Shape, inflate
from peers import Loop, Peer, Server
from plot import plot
from rich.console import Console
from rich.table import Table
from workloads import Workload, workloads, workloads_of

from genner_cli import hub
from genner_cli.engine.engine import Engine
from genner_cli.engine.invariance import invariance
from genner_cli.engine.model import Model
from genner_cli.engine.statistics import Statistics
from genner_cli.generation import Completion, Constraint, EngineOptions, Request

HERE = Path(__file__).parent
INFLATED = HERE.parent / "runs" / "inflated.gguf"
LOOP, SERVER, ONE_SLOT, SHIPPED = "create_completion loop", "llama-server", "genner, one slot", "genner"
SERVER_SLOTS = 16
NOISE = 0.05
"""Logits of the same position may differ by so much between batches."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is run: texts of each kind, on either model, and documents for the memory."""

    bundled: tuple[int, int]
    inflated: tuple[int, int]
    general: int
    memory: tuple[int, ...]
    rounds: int = 3


QUICK = Size(bundled=(100, 2), inflated=(12, 0), general=24, memory=(1_000, 10_000))
FULL = Size(bundled=(300, 10), inflated=(60, 2), general=60, memory=(1_000, 10_000, 100_000))


@dataclass(slots=True)
class Run:
    """One way to run a workload: seconds of each round, and what genner says of the last one."""

    seconds: list[float]
    statistics: Statistics | None = None


def with_genner(
    model: Model, requests: list[Request], options: EngineOptions
) -> tuple[list[Completion], Statistics, float]:
    """Completions in the order of the requests, counts, and seconds without opening the context."""
    with Engine(model, options) as engine:
        started = time.perf_counter()
        found = dict(engine.generate(requests))
        seconds = time.perf_counter() - started
        return [found[number] for number in range(len(requests))], engine.statistics, seconds


class Bench:
    """All ways to run workloads on one model."""

    def __init__(self, path: Path, threads: int, server: Path | None, stack: ExitStack) -> None:
        self.model = stack.enter_context(Model(path))
        self.path = path
        self.shipped = EngineOptions(threads=threads)
        self.one_slot = replace(self.shipped, slots=1)
        flash = invariance(self.model, self.shipped, threads).rows is not None
        same = {"threads": threads, "flash_attention": flash, "context": 2048}
        self.loop = stack.enter_context(Loop(path, **same))
        self.peers: dict[str, Peer] = {LOOP: self.loop}
        if server:
            self.peers[SERVER] = stack.enter_context(Server(server, path, slots=SERVER_SLOTS, **same))

    def run(self, workload: Workload, rounds: int, *, trained: bool) -> dict[str, Any]:
        """The figures of one workload; `trained`: the model is one that genner trained."""
        requests = workload.requests(self.path)
        prompts = [self.model.begin_ids + self.model.prompt(one.prefix + one.rest) for one in requests]
        shipped, _, _ = with_genner(self.model, requests, self.shipped)
        limits = [len(completion.ends) for completion in shipped]
        equal = self._check(requests, prompts, limits, shipped, trained)
        runs = {name: Run([]) for name in (*self.peers, ONE_SLOT, SHIPPED)}
        rates = limit.measure(self.model, self.shipped, rounds)
        for _ in range(rounds):
            for name, peer in self.peers.items():
                peer.warm(prompts)
                runs[name].seconds.append(_timed(lambda peer=peer: peer.complete(prompts, requests[0].grammar, limits)))
            for name, options in {ONE_SLOT: self.one_slot, SHIPPED: self.shipped}.items():
                _, runs[name].statistics, seconds = with_genner(self.model, requests, options)
                runs[name].seconds.append(seconds)
        return {**_figures(workload, len(requests), runs, rates), "same_as_loop": equal}

    def _check(
        self,
        requests: list[Request],
        prompts: list[list[int]],
        limits: list[int],
        shipped: list[Completion],
        trained: bool,
    ) -> int:
        """Ends the run where texts differ that must be the same; gives for how many texts the loop writes what genner
        does under the grammar alone."""
        one_slot, _, _ = with_genner(self.model, requests, self.one_slot)
        close = [min(one.margin, other.margin) < NOISE for one, other in zip(one_slot, shipped, strict=True)]
        _same("genner with one slot and with more", [c.text for c in one_slot], [c.text for c in shipped], close)
        format_only = [replace(request, constraint=Constraint.FORMAT) for request in requests]
        ours, _, _ = with_genner(self.model, format_only, self.one_slot)
        pieces, added = self.model.vocabulary.pieces, set(self.model.vocabulary.added.values())
        never = [id for id, piece in enumerate(pieces) if piece is None and id not in added and not self.model.ends(id)]
        theirs = self.loop.complete(prompts, requests[0].grammar, limits, never)
        lengths = [min(len(our.text), len(their)) for our, their in zip(ours, theirs, strict=True)]
        our_texts = [our.text[:length] for our, length in zip(ours, lengths, strict=True)]
        their_texts = [their[:length] for their, length in zip(theirs, lengths, strict=True)]
        if trained:
            _same("genner and the loop, both under the grammar alone", our_texts, their_texts, [False] * len(ours))
        return sum(our == their for our, their in zip(our_texts, their_texts, strict=True))


def _same(what: str, ours: list[str], theirs: list[str], excused: list[bool]) -> None:
    """Ends the run where texts differ without an excuse; names those with one."""
    for number, (our, their, close) in enumerate(zip(ours, theirs, excused, strict=True)):
        if our != their:
            message = f"{what} differ on text {number} of {len(ours)}:\n{our!r}\n{their!r}"
            if not close:
                sys.exit(message)
            print(f"{message}\n(a choice closer than {NOISE})")


def _timed(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def _figures(workload: Workload, requests: int, runs: dict[str, Run], rates: limit.Rates) -> dict[str, Any]:
    figures: dict[str, Any] = {"workload": workload.name, "documents": len(workload.texts), "requests": requests}
    figures["tokens_per_second_in_full_batches"] = asdict(rates)
    shipped = statistics.median(runs[SHIPPED].seconds)
    for name, run in runs.items():
        per_second = sorted(len(workload.texts) / seconds for seconds in run.seconds)
        row = {"documents_per_second": statistics.median(per_second), "range": [per_second[0], per_second[-1]]}
        row["genner_is_faster_by"] = statistics.median(run.seconds) / shipped
        if run.statistics:
            row |= _shares(run.statistics, run.seconds[-1])
            row["efficiency"] = rates.seconds(run.statistics) / statistics.median(run.seconds)
        figures[name] = row
    return figures


def _shares(done: Statistics, seconds: float) -> dict[str, Any]:
    """Of the last round's time."""
    return {
        "share_outside_decode": 1 - done.decode_seconds / seconds,
        "share_constraint": done.choosing_seconds / seconds,
        "share_grammar": done.grammar_seconds / seconds,
        "share_scoring": done.scoring_seconds / seconds,
        "tokens_per_step": done.decoded / done.steps,
        "drafts_accepted": done.accepted / done.drafted if done.drafted else None,
        "counts": {name: value for name, value in asdict(done).items() if isinstance(value, int)},
    }


def targets(results: dict[str, Any]) -> Iterator[tuple[str, float | None, str, str]]:
    """Each figure with what it should at least be, and the aim."""
    for model, found in results["general"].items():
        for figures in found:
            name, shipped, server = f"{model}, {figures['workload']}", figures[SHIPPED], figures.get(SERVER)
            yield f"{name}: against the loop", figures[LOOP]["genner_is_faster_by"], "5", "7"
            yield f"{name}: against llama-server, warm", server and server["genner_is_faster_by"], "1.5", "2"
            yield f"{name}: efficiency against the limit", shipped["efficiency"], "0.7", "0.9"
            yield f"{name}: share of time outside llama_decode", shipped["share_outside_decode"], "at most 0.1", "0.05"
    if "bundled" in results:
        yield from _trained_targets(results)


def _trained_targets(results: dict[str, Any]) -> Iterator[tuple[str, float | None, str, str]]:
    small, large = results["bundled"][0], results["inflated"][0]
    shipped = large[SHIPPED]
    server = large.get(SERVER)
    growth = [peak for _, peak in results["memory"]]
    yield "inflated: documents a second, against the loop", large[LOOP]["genner_is_faster_by"], "5", "7"
    yield "inflated: against llama-server, warm", server and server["genner_is_faster_by"], "1.4", "1.7"
    yield "inflated: efficiency against the limit", shipped["efficiency"], "0.7", "0.9"
    yield "inflated: share of time of the constraint", shipped["share_constraint"], "0.05", "0.02"
    yield "bundled: share of time outside llama_decode", small[SHIPPED]["share_outside_decode"], "0.35", "0.20"
    counts = [f"{count:,}" for count, _ in results["memory"]]
    yield f"memory at {counts[-1]} documents / at {counts[0]}", growth[-1] / growth[0], "flat", "flat"


def by_model(results: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The figures of all workloads, by the name of the model."""
    trained = {name: results[name] for name in ("bundled", "inflated") if name in results}
    return {**trained, **results["general"]}


def report(results: dict[str, Any], console: Console) -> None:
    """Prints the rates of all workloads, and the table of targets."""
    rates = Table("model", "workload", "", "documents/s (range)", "genner is faster by", "efficiency")
    for model, found in by_model(results).items():
        for figures in found:
            for name in (LOOP, SERVER, ONE_SLOT, SHIPPED):
                if name in figures:
                    row = figures[name]
                    low, high = row["range"]
                    efficiency = f"{row['efficiency']:.2f}" if "efficiency" in row else ""
                    rate = f"{row['documents_per_second']:.2f} ({low:.2f} to {high:.2f})"
                    faster = f"{row['genner_is_faster_by']:.2f}"
                    rates.add_row(model, figures["workload"], name, rate, faster, efficiency)
    table = Table("figure", "measured", "at least", "aim")
    for figure, value, least, aim in targets(results):
        table.add_row(figure, "no server given" if value is None else f"{value:.3f}", least, aim)
    console.print(rates)
    console.print(table)


def measured(
    name: str, path: Path, args: argparse.Namespace, rounds: int, asked: Iterable[Workload], *, trained: bool
) -> list[dict[str, Any]]:
    """The figures of all workloads on one model."""
    with ExitStack() as stack, Console().status(name) as status:
        bench = Bench(path, args.threads, args.server, stack)
        found = []
        for workload in asked:
            status.update(f"{name}: {workload.name}")
            found.append(bench.run(workload, rounds, trained=trained))
    return found


def trained_models(args: argparse.Namespace, size: Size) -> dict[str, Any]:
    """The figures of the bundled model, of the inflated one, and of memory."""
    if not INFLATED.exists():
        inflate(hub.BUNDLED, INFLATED, Shape())
    results: dict[str, Any] = {}
    for name, path, counts in (("bundled", hub.BUNDLED, size.bundled), ("inflated", INFLATED, size.inflated)):
        asked = [
            workload
            for workload in workloads(*counts)
            if workload.texts and (args.full or name == "bundled" or not workload.labels)
        ]
        results[name] = measured(name, path, args, size.rounds, asked, trained=True)
    results["memory"] = [(count, memory.peak(count, args.threads)) for count in size.memory]
    return results


def main() -> None:
    """Reads the command line, measures, prints and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", type=Path)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--model", action="append", default=[], help="a model besides; repeat for more")
    parser.add_argument("--only", action="store_true", help="these models alone")
    parser.add_argument("--sentences", type=int, help="texts for each of these models")
    parser.add_argument("--rounds", type=int)
    args = parser.parse_args()
    size = FULL if args.full else QUICK
    size = replace(size, general=args.sentences or size.general, rounds=args.rounds or size.rounds)
    results: dict[str, Any] = {
        "date": date.today().isoformat(),
        "machine": _machine(args.threads),
        "size": asdict(size),
        **({} if args.only else trained_models(args, size)),
        "general": {},
    }
    for reference in args.model:
        path = hub.resolve(reference)
        asked = workloads_of(path, size.general)
        results["general"][path.name] = measured(path.name, path, args, size.rounds, asked, trained=False)
    if not args.only:
        (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        plot(by_model(results), HERE / "results.svg")
    report(results, Console())


def _machine(threads: int) -> dict[str, Any]:
    model = (
        subprocess.run(["lscpu"], capture_output=True, text=True, check=False).stdout if sys.platform == "linux" else ""
    )
    names = [line.split(":")[1].strip() for line in model.splitlines() if line.startswith("Model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "llama-cpp-python": version("llama-cpp-python"),
    }


if __name__ == "__main__":
    main()
