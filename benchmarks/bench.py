"""genner against what else runs the same requests, and against the machine.

    python benchmarks/bench.py [--llama-server PATH] [--full] [--threads N] [--model MODEL ...] [--only]

On the bundled model, on the same model inflated to the size of Qwen2.5-0.5B (`inflate.py`), and on others (`--model`,
with `--only` on these alone): in their own format if genner trained them, else in those of `--formats`. Peers take the
same GGUF, prompt token ids, grammar, threads and flash attention, and may write as many tokens for a document as genner
wrote. Rounds take turns; figures are medians with ranges, of documents per second and of the processor time of a
document: with one thread, which waits for no other, that says the same on a machine that does other things.

It is checked that genner writes the same with one slot as with its own choice of slots; for genner's own models, that
the loop under the grammar and genner under the same grammar alone write the same text (control tokens left out, which
genner never writes). Models that genner did not train may write more or fewer tokens where the source text does not
bind them, so that tokens per second are given as well. Texts may differ from a near tie on: at the first token that
differs, the logits of both are closer than NOISE, so that a batch of another size may choose otherwise; such texts are
counted. It is also counted for how many texts the server writes what the loop does.

Prints the figures beside their targets and writes results.json and results.svg beside this file; models measured before
with the same settings stay there. Without a server, its rows are left out. With `--kept FILE` the same command
continues an earlier one: `--untimed` makes the texts that are compared, which needs no quiet machine, and `--seconds`
ends a part of the rest.
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
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import date
from functools import cache, cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import limit
import memory
import same_tokens
from inflate import Shape, inflate
from kept import Kept
from peers import Loop, Peer, Server
from plot import plot
from rich.console import Console
from rich.table import Table
from same_tokens import Text
from workloads import Workload, workloads, workloads_of

from genner_cli import hub, locking
from genner_cli.engine.engine import Engine
from genner_cli.engine.invariance import invariance
from genner_cli.engine.model import Model
from genner_cli.engine.statistics import Statistics
from genner_cli.generation import Constraint, EngineOptions, Request

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
INFLATED = HERE.parent / "runs" / "inflated.gguf"
LOOP, SERVER, ONE_SLOT, SHIPPED = "create_completion loop", "llama-server", "genner, one slot", "genner"
SERVER_SLOTS = 16


@dataclass(frozen=True, slots=True)
class Size:
    """How much is run: texts of each kind, on either of genner's models, and documents for the memory."""

    bundled: tuple[int, int]
    inflated: tuple[int, int]
    memory: tuple[int, ...]


QUICK = Size(bundled=(100, 2), inflated=(12, 0), memory=(1_000, 10_000))
FULL = Size(bundled=(300, 10), inflated=(60, 2), memory=(1_000, 10_000, 100_000))


class Bench:
    """All ways to run workloads on one model. Models and peers are opened when something has to be measured."""

    def __init__(self, path: Path, args: argparse.Namespace, kept: Kept, stack: ExitStack) -> None:
        self.path = path
        self._server, self._threads = args.llama_server, args.threads
        self._kept, self._stack = kept, stack
        self._shipped = EngineOptions(threads=args.threads)
        self._one_slot = replace(self._shipped, slots=1)
        self._requests = cache(lambda workload: workload.requests(path))

    @cached_property
    def model(self) -> Model:
        """The model as genner opens it."""
        return self._stack.enter_context(Model(self.path))

    @cached_property
    def loop(self) -> Loop:
        """The loop over create_completion."""
        return self._stack.enter_context(Loop(self.path, **self._same))

    @cached_property
    def server(self) -> Server:
        """The server, started."""
        return self._stack.enter_context(Server(self._server, self.path, slots=SERVER_SLOTS, **self._same))

    @property
    def _same(self) -> dict[str, Any]:
        flash = invariance(self.model, self._shipped, self._threads).rows is not None
        return {"threads": self._threads, "flash_attention": flash, "context": 2048}

    def run(self, workload: Workload, rounds: int, *, trained: bool, timed: bool = True) -> dict[str, Any] | None:
        """The figures of one workload, None without timing; `trained`: the model is one that genner trained."""
        name = f"{self.path.name}, {workload.name}: "
        lengths, near_ties = self._check(name, workload, trained)
        if not timed:
            return None
        rates = self._kept.get(f"{name}limit", lambda: asdict(limit.measure(self.model, self._shipped, rounds)))
        runs: dict[str, list[dict[str, Any]]] = {way: [] for way in self._ways(workload, lengths)}
        for number in range(rounds):
            for way, run in self._ways(workload, lengths).items():
                expected = runs[way][-1]["seconds"] if number else 0.0
                runs[way].append(self._kept.get(f"{name}{way}, round {number + 1}", run, expected=expected))
        figures = _figures(workload, runs, limit.Rates(**rates)) | {"near_ties": near_ties}
        if SERVER in runs:
            figures[SERVER]["same_as_loop"] = sum(map(str.__eq__, runs[SERVER][0]["texts"], runs[LOOP][0]["texts"]))
        return figures

    def _ways(self, workload: Workload, lengths: list[int]) -> dict[str, Callable[[], dict[str, Any]]]:
        peers = {LOOP: lambda: self.loop, **({SERVER: lambda: self.server} if self._server else {})}
        options = {ONE_SLOT: self._one_slot, SHIPPED: self._shipped}
        return {
            **{name: partial(self._time_peer, peer, workload, lengths) for name, peer in peers.items()},
            **{name: partial(self._time_genner, chosen, workload) for name, chosen in options.items()},
        }

    def _prompts(self, workload: Workload) -> list[list[int]]:
        requests = self._requests(workload)
        return [self.model.begin_ids + self.model.prompt(one.prefix + one.rest) for one in requests]

    def _time_peer(self, peer: Callable[[], Peer], workload: Workload, lengths: list[int]) -> dict[str, Any]:
        prompts, grammar = self._prompts(workload), self._requests(workload)[0].grammar
        peer().warm(prompts)
        used, started = peer().processor_seconds(), time.perf_counter()
        written = peer().complete(prompts, grammar, lengths)
        seconds, used = time.perf_counter() - started, peer().processor_seconds() - used
        return {
            "seconds": seconds,
            "processor_seconds": used,
            "texts": [one.text for one in written],
            "tokens": sum(one.tokens for one in written),
        }

    def _time_genner(self, options: EngineOptions, workload: Workload) -> dict[str, Any]:
        requests = self._requests(workload)
        with Engine(self.model, options) as engine:
            deque(engine.generate(requests[:1]), maxlen=0)  # reads what the prompts share, as `warm` does
            engine.statistics = Statistics()
            used, started = time.process_time(), time.perf_counter()
            found = dict(engine.generate(requests))
            seconds, used = time.perf_counter() - started, time.process_time() - used
        tokens = sum(len(completion.ends) for completion in found.values())
        counts = {"tokens": tokens, "statistics": asdict(engine.statistics)}
        return {"seconds": seconds, "processor_seconds": used, **counts}

    def _texts(self, name: str, options: EngineOptions, requests: Sequence[Request]) -> list[Text]:
        """What genner writes."""

        def write() -> list[Text]:
            with Engine(self.model, options) as engine:
                numbered = dict(engine.generate(requests))
            return [Text(numbered[number].text, numbered[number].ends) for number in range(len(requests))]

        return [Text(*text) for text in self._kept.get(name, write)]

    def _check(self, name: str, workload: Workload, trained: bool) -> tuple[list[int], int]:
        """Ends the run where texts differ that must be the same, but for near ties. Gives how many tokens genner wrote
        for each text, and in how many of the comparisons texts differ from a near tie on."""
        requests = self._requests(workload)
        shipped = self._texts(f"{name}texts of genner", self._shipped, requests)
        one_slot = self._texts(f"{name}texts of one slot", self._one_slot, requests)
        lengths = [len(text.ends) for text in shipped]
        same = partial(same_tokens.check, self.model, self._one_slot)
        near_ties = same("genner with one slot and with more", requests, one_slot, shipped)
        if trained:
            alone = [self._under_grammar(*pair) for pair in zip(requests, lengths, strict=True)]
            ours = self._texts(f"{name}texts under the grammar", self._one_slot, alone)
            theirs = self._kept.get(f"{name}texts of the loop", lambda: self._of_loop(workload, lengths))
            what = "genner and the loop, both under the grammar alone,"
            near_ties += same(what, requests, ours, [Text(*text) for text in theirs])
        return lengths, near_ties

    def _under_grammar(self, request: Request, length: int) -> Request:
        """The same for at most so many tokens that the grammar allows, whatever the source text is."""
        lock = request.lock.segmented(self.model.pieces)
        needed = locking.remaining(lock, locking.begin(lock))
        return replace(request, constraint=Constraint.FORMAT, allowance=length - needed)

    def _of_loop(self, workload: Workload, lengths: list[int]) -> list[Text]:
        """What the loop writes without the control tokens that genner never writes."""
        pieces, added = self.model.vocabulary.pieces, {id: text for text, id in self.model.vocabulary.added.items()}
        never = [id for id, piece in enumerate(pieces) if piece is None and id not in added and not self.model.ends(id)]
        grammar = self._requests(workload)[0].grammar
        written = self.loop.complete(self._prompts(workload), grammar, lengths, never)
        return [Text.of(one.text, [pieces[id] or added.get(id, b"") for id in one.ids]) for one in written]


def _figures(workload: Workload, runs: dict[str, list[dict[str, Any]]], rates: limit.Rates) -> dict[str, Any]:
    figures: dict[str, Any] = {"workload": workload.name, "documents": len(workload.texts)}
    figures["tokens_per_second_in_full_batches"] = asdict(rates)
    seconds = {way: [run["seconds"] for run in rounds] for way, rounds in runs.items()}
    used = {way: [run["processor_seconds"] / len(workload.texts) for run in rounds] for way, rounds in runs.items()}
    for way, rounds in runs.items():
        per_second = sorted(len(workload.texts) / each for each in seconds[way])
        row = {"documents_per_second": statistics.median(per_second), "range": [per_second[0], per_second[-1]]}
        row["tokens"] = rounds[-1]["tokens"]
        row["tokens_per_second"] = row["tokens"] / statistics.median(seconds[way])
        row["processor_seconds"] = statistics.median(used[way])
        row["processor_seconds_range"] = [min(used[way]), max(used[way])]
        row["genner_needs_less_by"] = statistics.median(used[way]) / statistics.median(used[SHIPPED])
        row["genner_is_faster_by"] = statistics.median(seconds[way]) / statistics.median(seconds[SHIPPED])
        if "statistics" in rounds[-1]:
            done = Statistics(**rounds[-1]["statistics"])
            row |= _shares(done, seconds[way][-1])
            row["efficiency"] = rates.seconds(done) / statistics.median(seconds[way])
        figures[way] = row
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
    columns = (
        "documents/s (range)",
        "genner is faster by",
        "tokens/s",
        "processor s",
        "genner needs less by",
        "efficiency",
    )
    rates = Table("model", "workload", "", *columns)
    for model, found in by_model(results).items():
        for figures in found:
            for name in (LOOP, SERVER, ONE_SLOT, SHIPPED):
                if name in figures:
                    row = figures[name]
                    low, high = row["range"]
                    efficiency = f"{row['efficiency']:.2f}" if "efficiency" in row else ""
                    rate = f"{row['documents_per_second']:.2f} ({low:.2f} to {high:.2f})"
                    faster = f"{row['genner_is_faster_by']:.2f}"
                    written = f"{row['tokens_per_second']:.0f}" if "tokens_per_second" in row else ""
                    used, less = f"{row['processor_seconds']:.3f}", f"{row['genner_needs_less_by']:.2f}"
                    rates.add_row(model, figures["workload"], name, rate, faster, written, used, less, efficiency)
    table = Table("figure", "measured", "at least", "aim")
    for figure, value, least, aim in targets(results):
        table.add_row(figure, "no server given" if value is None else f"{value:.3f}", least, aim)
    console.print(rates)
    console.print(table)
    for model, found in by_model(results).items():
        for figures in found:
            if figures.get("near_ties"):
                console.print(
                    f"{model}, {figures['workload']}: texts that differ from a near tie on: {figures['near_ties']}"
                )


def measured(
    name: str, path: Path, args: argparse.Namespace, kept: Kept, asked: Iterable[Workload], *, trained: bool
) -> list[dict[str, Any]]:
    """The figures of all workloads on one model."""
    with ExitStack() as stack, Console().status(name) as status:
        bench = Bench(path, args, kept, stack)
        found = []
        for workload in asked:
            status.update(f"{name}: {workload.name}")
            found.append(bench.run(workload, args.rounds, trained=trained, timed=not args.untimed))
    return [figures for figures in found if figures]


def trained_models(args: argparse.Namespace, size: Size, kept: Kept) -> dict[str, Any]:
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
        results[name] = measured(name, path, args, kept, asked, trained=True)
    if not args.untimed:
        results["memory"] = [
            (count, kept.get(f"memory, {count} documents", partial(memory.peak, count, args.threads)))
            for count in size.memory
        ]
    return results


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llama-server", type=Path, metavar="PATH")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--model", action="append", default=[], help="a model besides; repeat for more")
    parser.add_argument("--only", action="store_true", help="these models alone")
    parser.add_argument("--formats", type=lambda names: names.split(","), default=["xml", "category"])
    parser.add_argument("--sentences", type=int, default=24, help="texts for each of these models")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kept", type=Path, metavar="FILE", help="where measurements are kept until all are done")
    parser.add_argument("--seconds", type=float, help="end after these, before the next measurement")
    parser.add_argument("--untimed", action="store_true", help="only what needs no quiet machine")
    return parser.parse_args()


def main() -> None:
    """Reads the command line, measures, prints and writes the results."""
    args = arguments()
    size = FULL if args.full else QUICK
    settings = {"machine": _machine(args.threads), "size": asdict(size), "rounds": args.rounds}
    settings = json.loads(json.dumps(settings))  # as it will be read again
    kept = Kept(args.kept, args.seconds, settings)
    results = {**_earlier(settings), "date": date.today().isoformat()}
    if not args.only:
        results |= trained_models(args, size, kept)
    for reference in args.model:
        path = hub.resolve(reference)
        asked = workloads_of(path, args.sentences, args.formats)
        results["general"][path.name] = measured(path.name, path, args, kept, asked, trained=False)
    if args.untimed:
        return
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    plot(by_model(results), RESULTS.with_suffix(".svg"))
    report(results, Console())


def _earlier(settings: dict[str, Any]) -> dict[str, Any]:
    """The results of models that were measured with these settings."""
    found = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    return found if settings.items() <= found.items() else {**settings, "general": {}}


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
