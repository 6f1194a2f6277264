"""Rows of the table of methods on real models: what the bundled one (11 million parameters) learns from each method.

All that is made stays in a folder and is taken from there, so that a run can be interrupted at any time. Figures are
those of valid splits; of wikigold, which has one split only, a part of it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random
from statistics import fmean
from unittest.mock import patch

import synthesis
import torch
import yaml
from methods_made import Record, made, only, read_split, sampled, scored, trained, tuned, written
from methods_rows import SEEDS, Measured, Row, f1, table
from safetensors.torch import load_file, save_file

from genner_cli.files.gold import read_gold, write_gold
from genner_cli.scoring.figures import DocumentCounts
from genner_cli.training.adapter_folder import PROMPT_EMBEDDINGS, WEIGHTS
from genner_cli.training.examples import Decision, Example, Sample
from genner_cli.training.teachers import Teachers

NEWS = ("PER", "ORG", "LOC")
TINY = ("--preset", "tiny")
GENTLE = 2e-4
"""The learning rate where the model knows the labels already; that of the preset unlearns them."""
ABOUT = "people, places and organizations, as in an encyclopedia"
DESCRIBED = {
    "PER": "people",
    "ORG": "companies, teams, bands and institutions",
    "LOC": "cities, countries, rivers and other places",
}
PLAN = Path(__file__).with_name("synthesis_plan.yaml")
SENTENCES, ENCYCLOPEDIA = 80, 400
"""Sentences that are written, and those of wikigold that all is scored on."""


def synthetic(folder: Path, ner: Path, writer: str, seeds: Sequence[int] = SEEDS) -> str:
    """ProgGen: the bundled model tuned on sentences that `writer` made and genner-base annotated."""
    labels = folder / "labels.yaml"
    labels.write_text(yaml.safe_dump(DESCRIBED, sort_keys=False), "utf-8")
    gold = written(folder / "wikigold.jsonl", lambda: sampled(_news(ner, "wikigold", "test"), ENCYCLOPEDIA))
    order = synthesis.Order(labels, ABOUT, writer, "base", SENTENCES, folder / "synth", plan=PLAN)
    types = ("--types", ",".join(NEWS))
    untuned = scored(folder / "untuned.jsonl", "small", gold, *types)

    @cache
    def learnt(kind: str, seed: int) -> list[DocumentCounts]:
        train = synthesis.ordered(order, "simple" if kind == "simple" else "planned", seed)
        if kind == "shuffled":
            documents = synthesis.shuffled(read_gold([str(train)]).documents)
            train = folder / f"shuffled-{seed}.jsonl"
            write_gold(train, documents)
        name = f"synthetic-{kind}-{seed}"
        model = tuned(folder, name, train, *TINY, "--learning-rate", GENTLE, "--epochs", 2, "--seed", seed, *types)
        return scored(folder / f"{name}.jsonl", model, gold, *types)

    def against_untuned(seed: int) -> Measured:
        return Measured(untuned, learnt("planned", seed), learnt("shuffled", seed))

    def against_simple(seed: int) -> Measured:
        return Measured(learnt("simple", seed), learnt("planned", seed), learnt("shuffled", seed))

    rows = (
        Row(
            "ProgGen", f"tuned on {SENTENCES} sentences with a plan", "untuned", "annotations shuffled", against_untuned
        ),
        Row("ProgGen", "with a plan", "simple prompt", "annotations shuffled", against_simple),
    )
    found = table(rows, seeds)
    varied = [f"{kind}: {_mentions(order, kind, seeds)}" for kind in synthesis.KINDS]
    return f"{found}\nDistinct mentions in {SENTENCES} sentences, by seed: {'; '.join(varied)}.\n"


def _mentions(order: synthesis.Order, kind: str, seeds: Sequence[int]) -> str:
    return ", ".join(str(synthesis.report(order, kind, seed)["diversity"]["distinct mentions"]) for seed in seeds)


POLITICS = ("politician", "person", "organisation", "politicalparty", "event", "election", "country", "location")
LEARNT = {
    "human": {"politician": ["statesman"], "person": ["individual"]},
    "body": {"organisation": ["institution"], "politicalparty": ["party"]},
    "occasion": {"event": ["happening"], "election": ["vote"]},
    "place": {"country": ["nation"], "location": ["region"]},
}
"""Labels above others, and aliases, that a model learns."""
UNSEEN = {
    "people": {"politician": ["officeholder"], "person": ["somebody"]},
    "group": {"organisation": ["association"], "politicalparty": ["political movement"]},
    "incident": {"event": ["affair"], "election": ["ballot"]},
    "area": {"country": ["state"], "location": ["site"]},
}
"""Those that it is asked for."""
SHORT, TRAINED_ON, ASKED_ABOUT = 250, 48, 120
"""Characters of a text at most, documents of crossner_politics to train on, and those that are scored."""
LESSONS = (*TINY, "--epochs", 3, "--batch-size", 8)


def dynamic(folder: Path, ner: Path, seeds: Sequence[int] = SEEDS) -> str:
    """DynamicNER: lists of labels above others and aliases that training did not have, and the plain list."""
    train, gold = _politics(folder, ner)
    trees = {"right": LEARNT, "dealt": _dealt(LEARNT), "unseen": UNSEEN}
    files = {name: _tree(folder / f"tree-{name}.yaml", tree) for name, tree in trees.items()}
    lists = made(folder / "dynamic.jsonl", "data relabel", gold, "--dynamic", "--labels", files["unseen"], "--seed", 7)
    ways = {
        "plain": ("--types", ",".join(POLITICS)),
        "right": ("--augment", "--labels", files["right"]),
        "dealt": ("--augment", "--labels", files["dealt"]),
    }

    def measured(seed: int, file: Path, *asked: object) -> Measured:
        found = []
        for way, options in ways.items():
            model = tuned(folder, f"labels-{way}-{seed}", train, *LESSONS, "--seed", seed, *options)
            found.append(scored(folder / f"labels-{way}-{seed}-{file.stem}.jsonl", model, file, *asked))
        return Measured(*found)

    rows = (
        Row("DynamicNER", "--augment, lists with unseen names", "without", "names dealt to other labels",
            lambda seed: measured(seed, lists, "--labels-field", "labels")),
        Row("DynamicNER", "--augment, the plain list", "without", "names dealt to other labels",
            lambda seed: measured(seed, gold, "--types", ",".join(POLITICS))),
    )  # fmt: skip
    return table(rows, seeds)


def _dealt(tree: dict[str, dict[str, list[str]]]) -> dict[str, dict[str, list[str]]]:
    """The tree with the labels above and the aliases of other labels."""
    leaves = [leaf for below in tree.values() for leaf in below]
    moved = iter([*leaves[3:], *leaves[:3]])
    return {top: {next(moved): aliases for aliases in below.values()} for top, below in tree.items()}


def _tree(path: Path, tree: dict[str, dict[str, list[str]]]) -> Path:
    named = {top: {leaf: {"aliases": names} for leaf, names in below.items()} for top, below in tree.items()}
    path.write_text(yaml.safe_dump(named, sort_keys=False), "utf-8")
    return path


COUNTS = (1, 4, 16)
"""Of virtual tokens."""


def virtual(folder: Path, ner: Path, seeds: Sequence[int] = SEEDS) -> str:
    """SPRING: virtual tokens before the frozen model, and random ones of the same lengths."""
    train, gold = _politics(folder, ner)
    types = ("--types", ",".join(POLITICS))
    without = scored(folder / "politics-untuned.jsonl", "small", gold, *types)

    def found(name: str, tokens: Path, count: int) -> list[DocumentCounts]:
        return scored(folder / f"{name}-{count}.jsonl", "small", gold, "--adapter", f"{tokens}:{count}", *types)

    @cache
    def learnt(seed: int) -> Path:
        options = ("--method", "virtual-tokens", "--tokens", COUNTS[-1], "--learning-rate", 0.02, *types)
        return trained(folder / f"tokens-{seed}", train, *LESSONS, "--seed", seed, *options)

    def measured(seed: int) -> Measured:
        sides = (learnt(seed), _random_tokens(learnt(seed), folder / f"tokens-random-{seed}", seed))
        return Measured(without, *(found(side.name, _exported(side), COUNTS[-1]) for side in sides))

    rows = (Row("SPRING", f"{COUNTS[-1]} virtual tokens", "none", "random ones of the same length", measured),)
    whole = table(rows, seeds)
    curve = [
        f"{count}: {100 * fmean(f1(found(learnt(seed).name, _exported(learnt(seed)), count)) for seed in seeds):.1f}"
        for count in COUNTS
    ]
    return f"{whole}\nF1 by the number of tokens, mean over seeds: 0: {100 * f1(without):.1f}, {', '.join(curve)}.\n"


def _exported(adapter: Path) -> Path:
    return made(adapter.with_suffix(".gguf"), "export", adapter, "--adapter-only", "--no-verify")


def _random_tokens(adapter: Path, folder: Path, seed: int) -> Path:
    """The folder of virtual tokens with others in it, of random directions and the same lengths."""
    if not folder.exists():
        rows = load_file(adapter / WEIGHTS)[PROMPT_EMBEDDINGS]
        drawn = torch.randn(rows.shape, generator=torch.Generator().manual_seed(seed))
        shutil.copytree(adapter, folder)
        save_file({PROMPT_EMBEDDINGS: drawn * (rows.norm(dim=1) / drawn.norm(dim=1))[:, None]}, folder / WEIGHTS)
    return folder


TAUGHT, TEACHING, TWEETS = 48, 160, 150
"""Documents of each of two sets that a student and a teacher learn from, and those that are scored."""
FUSION = 0.5
SETS: dict[str, dict[str, str]] = {
    "wnut17": {"person": "PER", "corporation": "ORG", "group": "ORG", "location": "LOC"},
    "btc": {label: label for label in NEWS},
}


def fusion(folder: Path, ner: Path, seeds: Sequence[int] = SEEDS, better: str = "base") -> str:
    """FuseLLM: two teachers tuned on more of two sets each, and a student that has a part of both; and a `better` model
    with another vocabulary as the teacher."""
    gold, train = _tweets(folder, ner), folder / "fused.jsonl"
    written(train, lambda: [each for name in SETS for each in _learnable(ner, name)[:TAUGHT]])
    tuned_on_more = [part for name in SETS for part in ("--teacher", _teacher(folder, ner, name))]
    types = ("--types", ",".join(NEWS))

    @cache
    def learnt(way: str, seed: int, *options: object) -> list[DocumentCounts]:
        lessons = (*TINY, "--learning-rate", GENTLE, "--epochs", 2, "--seed", seed, *types)
        model = tuned(folder, f"fused-{way}-{seed}", train, *lessons, *options)
        return scored(folder / f"fused-{way}-{seed}.jsonl", model, gold, *types)

    def measured(seed: int, by: str, *teachers: object) -> Measured:
        taught = (*teachers, "--fusion", FUSION)
        with _permuted(seed):
            control = learnt(f"permuted{by}", seed, *taught)
        return Measured(learnt("plain", seed), learnt(f"taught{by}", seed, *taught), control)

    rows = (
        Row("FuseLLM", f"two teachers, --fusion {FUSION}", "no teacher", "targets of other decisions",
            lambda seed: measured(seed, "", *tuned_on_more)),
        Row("FuseLLM", f"genner-{better} as the teacher", "no teacher", "targets of other decisions",
            lambda seed: measured(seed, f"-by-{better}", "--teacher", better)),
    )  # fmt: skip
    return table(rows, seeds)


@contextmanager
def _permuted(seed: int) -> Iterator[None]:
    """Teachers give each decision the target of another one of the same document, at which the same may be decided."""
    teach = Teachers.teach

    def elsewhere(self: Teachers, sample: Sample, example: Example) -> Example:
        return _elsewhere(teach(self, sample, example), Random(f"{seed} {sample.text}"))

    with patch.object(Teachers, "teach", elsewhere):
        yield


def _elsewhere(example: Example, rng: Random) -> Example:
    decisions = list(example.decisions)
    kinds: dict[object, list[int]] = {}
    for at, each in enumerate(decisions):
        if each.target:
            kinds.setdefault(_kind(each), []).append(at)
    for places in kinds.values():
        targets = [decisions[at].target for at in places]
        rng.shuffle(targets)
        for at, target in zip(places, targets, strict=True):
            decisions[at] = replace(decisions[at], target=target)
    return replace(example, decisions=tuple(decisions))


def _kind(decision: Decision) -> object:
    """What may be decided, and how it is grouped."""
    assert decision.meaning
    return frozenset(zip(decision.meaning.outcomes, decision.groups, strict=True))


PAIRED = 100
"""Documents of each set whose answers are compared with gold."""


def preferred(folder: Path, ner: Path, seeds: Sequence[int] = SEEDS) -> str:
    """Self-Selection's preferences: gold is preferred to the model's own answers by DPO."""
    gold, asked = _tweets(folder, ner), folder / "paired.jsonl"
    written(asked, lambda: [each for name in SETS for each in _learnable(ner, name)[:PAIRED]])
    types = ("--types", ",".join(NEWS))
    answers = made(folder / "answers.jsonl", "extract", asked, "--model", "small", "--no-calibration", *types)
    pairs = made(folder / "pairs.jsonl", "data preferences", asked, answers)
    untuned = scored(folder / "untuned.jsonl", "small", gold, *types)

    def learnt(way: str, seed: int, train: Path) -> list[DocumentCounts]:
        lessons = ("--text-weight", 0, "--learning-rate", GENTLE, "--epochs", 2, "--seed", seed, *types)
        model = tuned(folder, f"dpo-{way}-{seed}", train, *TINY, *lessons)
        return scored(folder / f"dpo-{way}-{seed}.jsonl", model, gold, *types)

    def measured(seed: int) -> Measured:
        swapped = written(folder / f"pairs-swapped-{seed}.jsonl", lambda: _swapped(pairs, seed))
        return Measured(untuned, learnt("right", seed, pairs), learnt("swapped", seed, swapped))

    what = f"DPO on {len(pairs.read_text('utf-8').splitlines())} pairs of gold and own mistakes"
    return table((Row("Self-Selection", what, "untuned", "half of the pairs swapped", measured),), seeds)


def _swapped(pairs: Path, seed: int) -> Iterator[Record]:
    rng = Random(seed)
    for line in pairs.read_text("utf-8").splitlines():
        record = json.loads(line)
        if rng.random() < 0.5:
            record["chosen"], record["rejected"] = record["rejected"], record["chosen"]
        yield record


def _politics(folder: Path, ner: Path) -> tuple[Path, Path]:
    """Short documents of crossner_politics to train on, and others to score."""

    def part(split: str, count: int) -> list[Record]:
        records = only(read_split(ner, "crossner_politics", split), {label: label for label in POLITICS})
        return sampled([each for each in records if len(each["text"]) <= SHORT], count)

    train = written(folder / "politics-train.jsonl", lambda: part("train", TRAINED_ON))
    return train, written(folder / "politics-valid.jsonl", lambda: part("valid", ASKED_ABOUT))


def _news(ner: Path, name: str, split: str) -> list[Record]:
    return only(read_split(ner, name, split), SETS.get(name, SETS["btc"]))


def _learnable(ner: Path, name: str) -> list[Record]:
    """The train split in random order, five documents with entities for each one without."""
    records = _news(ner, name, "train")
    records = sampled(records, len(records))
    full, empty = ([each for each in records if bool(each["entities"]) is there] for there in (True, False))
    return [each for at, one in enumerate(empty) for each in (*full[5 * at : 5 * at + 5], one) if 5 * at < len(full)]


def _tweets(folder: Path, ner: Path) -> Path:
    """Documents of both sets to score."""

    def valid() -> list[Record]:
        return [each for name in SETS for each in sampled(_news(ner, name, "valid"), TWEETS)]

    return written(folder / "tweets.jsonl", valid)


def _teacher(folder: Path, ner: Path, name: str) -> Path:
    train = written(folder / f"{name}.jsonl", lambda: _learnable(ner, name)[:TEACHING])
    return tuned(folder, name, train, *TINY, "--learning-rate", GENTLE, "--epochs", 2, "--types", ",".join(NEWS))
