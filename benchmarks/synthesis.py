"""Synthetic data with a plan, against the simple prompt: how varied it is; and a control to train on.

`python benchmarks/synthesis.py run labels.yaml --about TEXT --model GGUF -n 100 --seeds 0 1 2 -o DIR` makes both with
each seed and prints a table. `python benchmarks/synthesis.py shuffle train.jsonl control.jsonl` gives each sentence the
entities of another one, at the same places counted in words. Everything that is made stays in DIR, and is resumed.
With --plan FILE that plan is used, such as synthesis_plan.yaml; without, the model makes its own with each seed. What
is learnt from such data is measured by `methods.py`.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from methods_made import genner

from genner_cli.data.tokens import tokenize
from genner_cli.files.gold import read_gold, write_gold
from genner_cli.files.plans import Plan, write_plan
from genner_cli.types import Document, Entity

KINDS = ("simple", "planned")
FIGURES = ("entities", "distinct mentions", "sentences without entities", "distinct-2")


@dataclass(frozen=True, slots=True)
class Order:
    """What is made: `count` sentences about something, by a model, annotated by another one, in a folder. `plan`: the
    file of a plan, or None where the model makes its own."""

    labels: Path
    about: str
    model: str
    annotator: str | None
    count: int
    folder: Path
    correct: float = 0.0
    threads: int = 1
    plan: Path | None = None


def folder_of(order: Order, kind: str, seed: int) -> Path:
    """The folder of one of KINDS with a seed."""
    return order.folder / f"{kind}-{seed}"


def ordered(order: Order, kind: str, seed: int) -> Path:
    """The file of sentences of one of KINDS with a seed, made if it is not there."""
    out = folder_of(order, kind, seed)
    if not (out / "synth.json").exists():
        order.folder.mkdir(parents=True, exist_ok=True)
        simple = order.folder / "simple.yaml"
        write_plan(simple, Plan(order.about, names_per_sentence=0))
        file = simple if kind == "simple" else order.plan
        plan = ["--plan", file] if file else ["--about", order.about]
        options = ["-n", order.count, "--seed", seed, "--model", order.model, "--correct", order.correct]
        annotator = ["--annotate-with", order.annotator] if order.annotator else []
        genner("synth", order.labels, *options, *plan, *annotator, "--threads", order.threads, "-o", out)
    return out / "train.jsonl"


def report(order: Order, kind: str, seed: int) -> dict[str, Any]:
    """What the command reports of sentences that were made."""
    found: dict[str, Any] = json.loads((folder_of(order, kind, seed) / "synth.json").read_bytes())
    return found


def run(args: argparse.Namespace) -> None:
    """Makes the data, and prints the table."""
    order = Order(args.labels, args.about, args.model, args.annotate_with, args.n, args.out, args.correct, args.threads)
    print("| seed | prompt | asked for | not kept |", *(f"{figure} |" for figure in FIGURES))
    print("|---" * (4 + len(FIGURES)), end="|\n")
    for seed in args.seeds:
        for kind in KINDS:
            ordered(order, kind, seed)
            print(f"| {seed} | {kind} |", _row(report(order, kind, seed)), flush=True)


def _row(report: dict[str, Any]) -> str:
    asked = sum(report["sentences"].values())
    figures = " | ".join(str(report["diversity"][figure]) for figure in FIGURES)
    return f"{asked} | {asked - report['sentences']['kept']} | {figures} |"


def shuffle(args: argparse.Namespace) -> None:
    """Writes the control."""
    write_gold(args.control, shuffled(read_gold([str(args.train)]).documents))


def shuffled(documents: Sequence[Document], seed: int = 0) -> list[Document]:
    """Each document with the entities of another one, as far as it has enough words."""
    donors = list(documents)
    random.Random(seed).shuffle(donors)
    return [
        replace(each, entities=tuple(_moved(each.text, tokenize(each.text), donor)))
        for each, donor in zip(documents, donors, strict=True)
    ]


def _moved(text: str, words: Sequence[tuple[int, int]], donor: Document) -> Iterator[Entity]:
    theirs = tokenize(donor.text)
    for entity in donor.entities:
        inside = [at for at, (start, end) in enumerate(theirs) if start < entity.end and entity.start < end]
        if inside and inside[-1] < len(words):
            start, end = words[inside[0]][0], words[inside[-1]][1]
            yield Entity(start, end, entity.label, text[start:end])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    runs = commands.add_parser("run")
    runs.set_defaults(does=run)
    runs.add_argument("labels", type=Path)
    runs.add_argument("--about", required=True)
    runs.add_argument("--model", required=True)
    runs.add_argument("--plan", type=Path)
    runs.add_argument("--annotate-with", default="small")
    runs.add_argument("--correct", type=float, default=0.0)
    runs.add_argument("-n", type=int, default=100)
    runs.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    runs.add_argument("--threads", type=int, default=1)
    runs.add_argument("-o", dest="out", type=Path, required=True)
    control = commands.add_parser("shuffle")
    control.set_defaults(does=shuffle)
    control.add_argument("train", type=Path)
    control.add_argument("control", type=Path)
    args = parser.parse_args()
    args.does(args)


if __name__ == "__main__":
    main()
