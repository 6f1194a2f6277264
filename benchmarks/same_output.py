"""Whether a text gives the same bytes whatever is decoded beside it: other numbers of slots, other orders.

    python benchmarks/same_output.py CORPUS.jsonl ... [--model FILE] [--types PER,ORG,LOC] [--format xml]
        [--documents 300] [--runs 10] [--threads N]

Runs the documents in input order with one slot; then `--runs` times in another order each, with 1, 3, 16 slots and the
default in turn. Compares whole records byte by byte, and names the documents that differ, with the largest difference
of scores where entities agree. Ends with status 1 where any differs.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

import orjson

from genner_cli.files.labels import parse_types
from genner_cli.generation import EngineOptions
from genner_cli.running.backend import extractions
from genner_cli.running.llama import LlamaBackend
from genner_cli.running.spec import RunSpec
from genner_cli.types import Document

SLOTS = (1, 3, 16, EngineOptions().slots)


def records(documents: Sequence[Document], order: Sequence[int], spec: RunSpec) -> list[bytes]:
    """The record of each document, in input order, the documents having been run in this one."""
    with LlamaBackend().open(spec) as opened:
        started = time.perf_counter()
        found = list(extractions(opened, (documents[at] for at in order)))
        seconds = time.perf_counter() - started
        reason = opened.engine.invariance.reason
    print(f"{spec.engine.slots:3} slots, {seconds:6.1f} s{', batches matter: ' + reason if reason else ''}", end="")
    lines = {at: spec.line(result) for at, result in zip(order, found, strict=True)}
    return [lines[at] for at in range(len(documents))]


def drift(one: bytes, other: bytes) -> float | None:
    """The largest difference between the scores of the same entities; None where these differ too."""
    pairs = [orjson.loads(line).get("entities") or [] for line in (one, other)]
    scores = [[entity.pop("score") for entity in entities] for entities in pairs]
    return max(map(abs, map(float.__sub__, *scores)), default=0.0) if pairs[0] == pairs[1] else None


def main() -> None:
    """Reads the command line, prints the differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpora", nargs="+")
    parser.add_argument("--model")
    parser.add_argument("--types")
    parser.add_argument("--format")
    parser.add_argument("--documents", type=int, default=300)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    labels = tuple(parse_types(args.types)) if args.types else None
    spec = RunSpec(inputs=tuple(args.corpora), labels=labels, model=args.model, format=args.format)
    read = islice(spec.expanded().documents(), args.documents)
    documents = [document for document in read if isinstance(document, Document)]

    def run(order: Sequence[int], slots: int) -> list[bytes]:
        return records(documents, order, replace(spec, engine=EngineOptions(slots, threads=args.threads)))

    order = list(range(len(documents)))
    expected = run(order, 1)
    print(f", {len(documents)} documents, {sum(len(orjson.loads(line)['entities']) for line in expected)} entities")
    differing = 0
    for number in range(args.runs):
        found = run(random.Random(number).sample(order, len(order)), SLOTS[number % len(SLOTS)])
        wrong = [at for at in order if found[at] != expected[at]]
        differing += len(wrong)
        drifts = [drift(found[at], expected[at]) for at in wrong]
        largest = max((value for value in drifts if value is not None), default=0.0)
        print(
            f", {len(wrong)} differ, {drifts.count(None)} in their entities; scores by up to {largest:.4f}", flush=True
        )
    sys.exit(bool(differing))


if __name__ == "__main__":
    main()
