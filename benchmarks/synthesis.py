"""Synthetic data with a plan, against the simple prompt: how varied it is; and a control to train on.

`python benchmarks/synthesis.py run labels.yaml --about TEXT --model GGUF -n 100 --seeds 0 1 2 -o DIR` makes both with
each seed and prints a table. `python benchmarks/synthesis.py shuffle train.jsonl control.jsonl` gives each sentence the
entities of another one, at the same places counted in words. Everything that is made stays in DIR, and is resumed.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from genner_cli.data.tokens import tokenize
from genner_cli.files.gold import read_gold, write_gold
from genner_cli.files.plans import Plan, write_plan
from genner_cli.types import Document, Entity

KINDS = ("simple", "planned")
FIGURES = ("entities", "distinct mentions", "sentences without entities", "distinct-2")


def run(args: argparse.Namespace) -> None:
    """Makes the data, and prints the table."""
    args.out.mkdir(parents=True, exist_ok=True)
    simple = args.out / "simple.yaml"
    write_plan(simple, Plan(args.about, names_per_sentence=0))
    print("| seed | prompt | asked for | not kept |", *(f"{figure} |" for figure in FIGURES))
    print("|---" * (4 + len(FIGURES)), end="|\n")
    for seed in args.seeds:
        for kind in KINDS:
            out = args.out / f"{kind}-{seed}"
            plan = ["--plan", simple] if kind == "simple" else ["--about", args.about]
            options = [args.labels, "-n", args.n, "--seed", seed, "--model", args.model, "--correct", args.correct]
            annotator = ["--annotate-with", args.annotate_with] if args.annotate_with else []
            command = ["synth", *options, *plan, *annotator, "--threads", args.threads, "-o", out]
            subprocess.run([sys.executable, "-m", "genner_cli", *map(str, command)], check=True)
            print(f"| {seed} | {kind} |", _row(json.loads((out / "synth.json").read_bytes())), flush=True)


def _row(report: dict) -> str:
    asked = sum(report["sentences"].values())
    figures = " | ".join(str(report["diversity"][figure]) for figure in FIGURES)
    return f"{asked} | {asked - report['sentences']['kept']} | {figures} |"


def shuffle(args: argparse.Namespace) -> None:
    """Writes the control."""
    documents = read_gold([str(args.train)]).documents
    donors = list(documents)
    random.Random(0).shuffle(donors)
    write_gold(args.control, (_with(*pair) for pair in zip(documents, donors, strict=True)))


def _with(document: Document, donor: Document) -> Document:
    """The document with the entities of the donor, as far as it has enough words."""
    return replace(document, entities=tuple(_moved(document.text, tokenize(document.text), donor)))


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
    runs.add_argument("--model", type=Path, required=True)
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
