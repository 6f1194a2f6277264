"""Candidates per second of `genner judge`, beside the time that llama.cpp takes for the same tokens in full batches.

    python benchmarks/judging.py [--model FILE] [--candidates 10000] [--rounds 3] [--threads N]

The candidates are spans of words of short sentences, each with the label PER, ORG or LOC in turn. The process is timed
as a whole, with opening the model; the limit and the tokens that each question takes are measured and counted
afterwards.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import limit
import orjson
from workloads import workloads

from genner_cli import hub
from genner_cli.demonstrations import Query
from genner_cli.engine.model import Model
from genner_cli.files.labels import parse_types
from genner_cli.generation import EngineOptions, Question
from genner_cli.methods.candidates import Candidate
from genner_cli.methods.posing import Rendered
from genner_cli.prompting import Instructions

NAMES = "PER,ORG,LOC"
WORDS = re.compile(r"\w+")
LONGEST = 4
"""Words of a candidate."""
Proposed = list[tuple[str, list[Candidate]]]


def proposed(count: int) -> Proposed:
    """Short sentences and candidates in them, `count` in all, as evenly as their words allow."""
    texts = next(iter(workloads(300, 0))).texts
    labels = cycle(NAMES.split(","))
    spans = [list(_spans(text)) for text in texts]
    order = sorted((at, number) for number, each in enumerate(spans) for at in range(len(each)))[:count]
    found: Proposed = [(text, []) for text in texts]
    for at, number in order:
        found[number][1].append(Candidate(*spans[number][at], next(labels)))
    return found


def _spans(text: str) -> Iterator[tuple[int, int]]:
    words = [match.span() for match in WORDS.finditer(text)]
    for length in range(1, LONGEST + 1):
        yield from ((words[at][0], words[at + length - 1][1]) for at in range(len(words) - length + 1))


def seconds(found: Proposed, model: Path, threads: int) -> float:
    """Of the whole process."""
    with tempfile.TemporaryDirectory() as folder:
        path, output = Path(folder, "candidates.jsonl"), Path(folder, "judged.jsonl")
        records = ({"text": text, "entities": [_entity(each, text) for each in asked]} for text, asked in found)
        path.write_bytes(b"".join(orjson.dumps(each) + b"\n" for each in records))
        command = [sys.executable, "-m", "genner_cli", "judge", path, "--model", model, "--types", NAMES]
        started = time.perf_counter()
        subprocess.run([*command, "--threads", str(threads), "-o", output], check=True, capture_output=True)
        return time.perf_counter() - started


def _entity(candidate: Candidate, text: str) -> dict[str, object]:
    start, end, label = candidate.key
    return {"start": start, "end": end, "label": label, "text": text[start:end]}


def questions(found: Proposed, model: Model) -> Iterator[Question]:
    """What is asked about them, without the marks of other candidates in front, which are some tokens more."""
    instructions = Instructions.from_metadata(model.metadata)
    assert instructions, "a model that genner trained"
    poser = Rendered.of_trained(instructions, parse_types(NAMES))
    for text, asked in found:
        for posed in (poser.odds(Query(text, text), each) for each in asked):
            yield from posed.questions if posed else ()


def main() -> None:
    """Reads the command line, prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="small")
    parser.add_argument("--candidates", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    path, found = hub.resolve(args.model), proposed(args.candidates)
    count = sum(len(asked) for _, asked in found)
    taken = [seconds(found, path, args.threads) for _ in range(args.rounds)]
    with Model(path) as model:
        outputs = prompts = 0
        for question in questions(found, model):
            asked = question.continuation
            assert asked
            behind = len(model.plain(asked.completion[asked.start :]))
            prompts += len(model.prompt(question.rest)) + len(model.plain(asked.completion)) - behind
            outputs += behind
        rates = limit.measure(model, EngineOptions(threads=args.threads), args.rounds)
    least = prompts / rates.without_logits + outputs / rates.with_logits
    median = statistics.median(taken)
    print(
        f"{count:,} candidates, {prompts + outputs:,} tokens of which {outputs:,} with logits, {args.threads} threads"
    )
    print(f"genner judge {median:.1f} s ({min(taken):.1f} to {max(taken):.1f}), {count / median:.0f} candidates/s")
    print(f"in full batches {least:.1f} s: {least / median:.2f} of the limit")


if __name__ == "__main__":
    main()
