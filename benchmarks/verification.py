"""How well a model that genner did not train tells right entities from wrong ones: the area under the ROC curve.

    python benchmarks/verification.py --ner NER --model pypi:NAME [--shots 0 4 8] [--nearest] [--chat]
        [--candidates 200]

Half of the candidates are entities of wikigold; a quarter have another label, a quarter a word too many or too few.
Examples come from the first half of the set, candidates from the second. With intervals of a bootstrap over candidates
(95 %), and the share of each kind that has a score above 0.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from methods_made import Record, only, read_split
from numpy.typing import NDArray

from genner_cli import hub
from genner_cli.demonstrations import Query
from genner_cli.files.labels import parse_types
from genner_cli.generation import EngineOptions
from genner_cli.methods.asking import answered, around
from genner_cli.methods.candidates import Candidate
from genner_cli.running.judges import open_judge
from genner_cli.running.spec import Nearness, RunSpec

LABELS = ("PER", "ORG", "LOC")
RIGHT, LABEL, BOUNDARY = KINDS = ("right", "wrong label", "wrong boundary")
RESAMPLED = 1000


class Asked(NamedTuple):
    """A candidate in a text, and what is right or wrong with it."""

    text: str
    candidate: Candidate
    kind: str


def read(ner: Path, count: int, seed: int = 0) -> tuple[list[Record], list[Asked]]:
    """Documents to show, and candidates to ask about: of each document a right one, and a wrong one."""
    records = only(read_split(ner, "wikigold", "test"), {label: label for label in LABELS})
    pool, others = records[: len(records) // 2], records[len(records) // 2 :]
    rng = random.Random(seed)
    others = [each for each in others if each["entities"]]
    rng.shuffle(others)
    asked = [each for number, record in enumerate(others) for each in _pair(record, KINDS[1 + number % 2], rng)]
    return pool, asked[:count]


def _pair(record: Record, kind: str, rng: random.Random) -> Iterator[Asked]:
    text, entity = record["text"], rng.choice(record["entities"])
    right = Candidate(entity["start"], entity["end"], entity["label"])
    gold = {(each["start"], each["end"]) for each in record["entities"]}
    spans = [each for each in around(text, right) if (each.start, each.end) not in gold]
    other = rng.choice([label for label in LABELS if label != right.label])
    yield Asked(text, right, RIGHT)
    if kind == LABEL or not spans:
        yield Asked(text, Candidate(right.start, right.end, other), LABEL)
    else:
        yield Asked(text, rng.choice(spans), BOUNDARY)


def scores(asked: Sequence[Asked], spec: RunSpec, *, chat: bool) -> list[float]:
    """The log-odds of each candidate; the lowest for those that cannot be asked about."""
    with open_judge(hub.resolve(spec.model), spec, chat=chat) as judge:
        posed = [judge.poser.odds(Query(each.text, each.text), each.candidate) for each in asked]
        return [each[0] if each else -np.inf for each in answered(posed, judge.score)]


def area(right: NDArray[np.float64], wrong: NDArray[np.float64]) -> float:
    """The probability that a right one scores higher than a wrong one; ties count half."""
    above = (right[:, None] > wrong[None, :]).mean()
    return float(above + (right[:, None] == wrong[None, :]).mean() / 2)


def report(asked: Sequence[Asked], found: Sequence[float]) -> str:
    """One line."""
    by_kind = {kind: np.array([score for each, score in zip(asked, found, strict=True) if each.kind == kind])
               for kind in KINDS}  # fmt: skip
    right, wrong = by_kind[RIGHT], np.concatenate([by_kind[LABEL], by_kind[BOUNDARY]])
    rng = np.random.default_rng(0)
    drawn = [area(rng.choice(right, len(right)), rng.choice(wrong, len(wrong))) for _ in range(RESAMPLED)]
    low, high = np.quantile(drawn, (0.025, 0.975))
    kinds = ", ".join(f"{area(right, by_kind[kind]):.2f} against {kind}" for kind in (LABEL, BOUNDARY))
    yes = ", ".join(f"{kind} {100 * (each > 0).mean():.0f} %" for kind, each in by_kind.items())
    return f"AUC {area(right, wrong):.3f} ({low:.3f} to {high:.3f}), {kinds}; above 0: {yes}"


def main() -> None:
    """Reads the command line, prints a line for each way to ask."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ner", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--model", required=True)
    parser.add_argument("--shots", type=int, nargs="+", default=[0, 4], help="examples to show")
    parser.add_argument("--nearest", action="store_true", help="those with most words in common")
    parser.add_argument("--chat", action="store_true", help="questions in a chat as well")
    parser.add_argument("--candidates", type=int, default=200)
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    pool, asked = read(args.ner, args.candidates)
    with tempfile.TemporaryDirectory() as folder:
        examples = Path(folder, "examples.jsonl")
        examples.write_text("".join(json.dumps(each) + "\n" for each in pool), "utf-8")
        common = {"model": args.model, "labels": tuple(parse_types(",".join(LABELS)))}
        nearest = Nearness.WORDS if args.nearest else Nearness.NONE
        for shots in (*args.shots, *[None] * args.chat):
            shown = {"examples": str(examples), "shots": shots, "nearest": nearest} if shots else {}
            started = time.perf_counter()
            spec = RunSpec(engine=EngineOptions(threads=args.threads), **common, **shown)
            line = report(asked, scores(asked, spec, chat=shots is None))
            way = "chat" if shots is None else f"{shots} examples"
            print(f"{way}: {line}; {time.perf_counter() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
