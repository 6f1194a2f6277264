"""A row of the table of methods on real models: three fine-tunes of the bundled model, and their vote, on wikigold.

Each is trained on one of three sets, relabelled to PER, ORG and LOC, and asked about the entities of all. Roles are
chosen on another set (btc's valid split). Everything that is made stays in a folder, and is taken from there.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from methods_made import Record, made, only, read_split, sampled, tuned, written
from methods_planted import counts
from methods_rows import Measured, Row, f1, table

from genner_cli.files.reading import read_documents
from genner_cli.methods.candidates import VALID, Candidate, preferred
from genner_cli.methods.ensemble import Polled, choose_roles, judged
from genner_cli.methods.ruling import Ruling
from genner_cli.running.judges import voters
from genner_cli.running.judging import candidates_of, judge, stages
from genner_cli.running.rewriting import Files
from genner_cli.running.spec import RunSpec
from genner_cli.scoring.figures import DocumentCounts
from genner_cli.types import Label

LABELS = ("PER", "ORG", "LOC")
SETS: Mapping[str, Mapping[str, str]] = {
    "wnut17": {"person": "PER", "corporation": "ORG", "group": "ORG", "location": "LOC"},
    "btc": {label: label for label in LABELS},
    "gmb": {"per": "PER", "org": "ORG", "geo": "LOC", "gpe": "LOC"},
}
WITH_ENTITIES, WITHOUT = 1300, 300
"""Documents to train on, at most."""
ROLES_ON, SCORED_ON = 200, 400
"""Documents of btc's valid split on which roles are chosen, and of wikigold on which all is scored."""
TRAINING = ("--preset", "tiny", "--epochs", "1", "--types", ",".join(LABELS))


def report(folder: Path, ner: Path) -> str:
    """The row, with each single model's F1 below it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, labels in SETS.items():
        train = partial(_to_train, read_split(ner, name, "train"), labels)
        tuned(folder, name, written(folder / f"{name}.jsonl", train), *TRAINING)
    written(folder / "valid.jsonl", lambda: sampled(read_split(ner, "btc", "valid"), ROLES_ON))
    written(folder / "scored.jsonl", lambda: sampled(read_split(ner, "wikigold", "test"), SCORED_ON))
    valid, scored = (_polled(folder, name) for name in ("valid", "scored"))
    rows = [Row("Local ensemble (2512.10043)", *each) for each in _ways(valid, scored)]
    singles = ", ".join(f"{name} {100 * f1(_alone(scored, name)):.1f}" for name in SETS)
    return f"{table(rows)}\n{SCORED_ON} sentences of wikigold; F1 of each alone: {singles}\n"


def _ways(valid: Sequence[Polled], scored: Sequence[Polled]) -> Iterable[tuple[Any, ...]]:
    """The vote of all three, and that of the chosen roles, beside the model that is the best alone on wikigold."""
    best = max(SETS, key=lambda name: f1(_alone(scored, name)))
    without = _alone(scored, best)
    roles = choose_roles(valid, tuple(SETS), tuple(SETS))
    for what, members in (
        ("vote of three fine-tunes", (tuple(SETS), tuple(SETS), {})),
        ("roles chosen on btc", roles[:3]),
    ):

        def keep(candidates: Sequence[Candidate], members: Any = members) -> list[Candidate]:
            return preferred(judged(candidates, *members))

        def measure(seed: int, keep: Any = keep) -> Measured:
            return Measured(without, counts(scored, keep), counts(_with_random_votes(scored, seed), keep))

        yield what, f"{best}, the best alone", "votes of other candidates", measure


def _with_random_votes(documents: Sequence[Polled], seed: int) -> list[Polled]:
    """Each candidate with the votes of another one, of any document."""
    rng = random.Random(seed)
    votes = [each.votes for document in documents for each in document.candidates]
    rng.shuffle(votes)
    drawn = iter(votes)
    return [
        Polled(document.gold, tuple(replace(each, votes=next(drawn)) for each in document.candidates))
        for document in documents
    ]


def _alone(documents: Sequence[Polled], source: str) -> list[DocumentCounts]:
    return counts(documents, lambda candidates: preferred(each for each in candidates if source in each.sources))


def _polled(folder: Path, name: str) -> list[Polled]:
    """The gold documents of a file with all candidates and all votes on them."""
    found = [
        made(folder / f"{name}-{each}.jsonl", "extract", folder / f"{name}.jsonl", "--model", folder / f"{each}.gguf",
             "--types", ",".join(LABELS))
        for each in SETS
    ]  # fmt: skip
    spec = RunSpec(labels=tuple(map(Label, LABELS)))
    asked = voters([str(folder / f"{each}.gguf") for each in SETS], spec)
    output = folder / f"{name}-votes.jsonl"
    files = Files(inputs=tuple(map(str, found)), output=str(output))
    judge(files, tuple(SETS), stages((VALID,), {VALID: asked}, decide=False), Ruling())
    gold = [json.loads(line) for line in (folder / f"{name}.jsonl").read_text("utf-8").splitlines()]
    return [
        Polled(
            frozenset((e["start"], e["end"], e["label"]) for e in each["entities"] if e["label"] in LABELS),
            tuple(candidates_of(record)),
        )
        for each, record in zip(gold, read_documents([str(output)], dropped=()), strict=True)
    ]


def _to_train(documents: Sequence[Record], labels: Mapping[str, str]) -> list[Record]:
    relabelled = only(sampled(documents, len(documents)), labels)
    full = [each for each in relabelled if each["entities"]][:WITH_ENTITIES]
    return full + [each for each in relabelled if not each["entities"]][:WITHOUT]
