"""Labelled documents -> predictions for each, by a model that was trained on the others.

What stands in one fold is predicted by a model of the other folds, so that its scores are those of texts that were
never seen, and can be calibrated on the gold entities. Each fold is a training, an export and an extraction, of which
each resumes where it was interrupted; what a fold has found is kept until all have. Knows nothing of the terminal.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from convert.export import export
from convert.request import ExportOptions
from genner_cli.calibration import FEWEST_ENTITIES, fit_map, judged
from genner_cli.data.splitting import split
from genner_cli.errors import ModelError, UsageError
from genner_cli.files.gold import write_gold
from genner_cli.files.hashing import hash_files
from genner_cli.files.hints import FOLDS, TRAINING_DATA
from genner_cli.files.manifest import Manifest, Settings
from genner_cli.files.predictions import read_predictions
from genner_cli.files.resuming import COMPLETE
from genner_cli.files.whole import make_folder, write_whole
from genner_cli.files.writing import Writer
from genner_cli.generation import EngineOptions
from genner_cli.running.llama import LlamaBackend
from genner_cli.running.local import run
from genner_cli.running.spec import RunSpec
from genner_cli.training.gold import Files, Gold
from genner_cli.training.options import TrainOptions
from genner_cli.training.run import Job, TrainingProgress, train
from genner_cli.types import Extraction, ScoreMap

SILENT = TrainingProgress()


@dataclass(frozen=True)
class Folds:
    """What is predicted, and how. `base`: a transformers folder, which `reference` names; `gold`: all the documents;
    `work`: the folder of what is not done yet.
    """

    base: Path
    reference: str
    gold: Gold
    output: Path
    options: TrainOptions
    engine: EngineOptions
    count: int = 5

    @property
    def work(self) -> Path:
        return self.output.with_name(f"{self.output.name}.folds")

    @cached_property
    def sides(self) -> list[list[int]]:
        """The numbers of the documents of each fold: near-duplicates together, labels in all as far as possible."""
        shares = {str(number): 1 / self.count for number in range(1, self.count + 1)}
        return list(split(self.gold.train, shares, seed=self.options.seed).sides.values())

    def settings(self) -> dict[str, Any]:
        """What an interrupted run must not differ in, as JSON values."""
        data = hash_files(map(Path, self.gold.files.train))
        labels = {label.name: label.definition for label in self.gold.labels}
        return dict(json.loads(json.dumps({"base": self.reference, "data": data, "labels": labels, FOLDS: self.count,
                                           "label tree": self.gold.tree.value(),
                                           "training": asdict(self.options)})))  # fmt: skip


def predict(folds: Folds, progress: TrainingProgress = SILENT) -> int:
    """Writes the predictions, one record for each document, in order, and a manifest beside them; gives the number of
    entities. What an interrupted run has done is not done again.

    Raises UsageError where the output is there already, or was begun with other options.
    """
    _begin(folds)
    for number in range(folds.count):
        if not _found(folds, number).exists():
            progress.stage(f"fold {number + 1} of {folds.count}")
            _predict_fold(folds, number, progress)
    progress.stage("joining the folds")
    results = [list(read_predictions([str(_found(folds, number))])) for number in range(folds.count)]
    maps = _maps(folds, results)
    found = _write(folds, results, maps)
    shutil.rmtree(folds.work)
    return found


def _begin(folds: Folds) -> None:
    if folds.output.exists():
        raise UsageError(f"{folds.output} is there already; name another file after -o, or remove it")
    if any(not side for side in folds.sides):
        raise UsageError(
            f"{len(folds.gold.train)} documents do not make {folds.count} folds; give more, or fewer folds"
        )
    file, settings = folds.work / "folds.json", folds.settings()
    if file.exists():
        begun = json.loads(file.read_text(encoding="utf-8"))
        differing = [name for name in settings if begun.get(name) != settings[name]]
        if differing:
            raise UsageError(
                f"{folds.work} holds other folds ({', '.join(differing)} changed); give the same options, or remove it"
            )
    else:
        make_folder(folds.work)
        write_whole(file, json.dumps(settings, ensure_ascii=False))


def _found(folds: Folds, number: int) -> Path:
    return folds.work / f"{number}.jsonl"


def _predict_fold(folds: Folds, number: int, progress: TrainingProgress) -> None:
    """Trains on the other folds, and extracts from this one."""
    held_out = set(folds.sides[number])
    documents = list(enumerate(folds.gold.train))
    others = tuple(document for at, document in documents if at not in held_out)
    folder, gguf = folds.work / f"{number}.model", folds.work / f"{number}.gguf"
    if not gguf.exists():
        data, asked = folds.work / f"{number}.train.jsonl", folds.work / f"{number}.asked.jsonl"
        write_gold(data, others)
        write_gold(asked, [document for at, document in documents if at in held_out])
        if not (folder / "genner.json").exists():
            gold = replace(folds.gold, files=Files((str(data),)), train=others, valid=())
            train(Job(folds.base, folds.reference, gold, folder, folds.options, resume=True), progress)
        report = export(folder, gguf, ExportOptions(types=("F16",), base=str(folds.base), engine=folds.engine))
        if not report.passed:
            raise ModelError(f"{folder}: its GGUF failed the parity checks; run genner export on it, which shows them")
    spec = RunSpec(
        inputs=(str(folds.work / f"{number}.asked.jsonl"),), model=str(gguf), labels=folds.gold.labels,
        depth=folds.options.depth, output=str(_found(folds, number)), engine=folds.engine,
    )  # fmt: skip
    run(spec, LlamaBackend())
    shutil.rmtree(folder)
    gguf.unlink()


def _maps(folds: Folds, results: Sequence[Sequence[Extraction]]) -> list[ScoreMap] | None:
    """For each fold, what a score means, learnt on the others; None where these have too few entities."""
    points = []
    for side, extractions in zip(folds.sides, results, strict=True):
        gold = [folds.gold.train[at] for at in side]
        pairs = (replace(each, document=document) for each, document in zip(extractions, gold, strict=True))
        points.append([point for each in pairs if each.error is None for point in judged(each)])
    others = [[p for at, each in enumerate(points) if at != number for p in each] for number in range(folds.count)]
    return None if min(map(len, others)) < FEWEST_ENTITIES else list(map(fit_map, others))


def _write(folds: Folds, results: Sequence[Sequence[Extraction]], maps: Sequence[ScoreMap] | None) -> int:
    """The records in the order of the documents; those that failed, with their errors."""
    records: dict[int, Extraction] = {}
    for number, (side, extractions) in enumerate(zip(folds.sides, results, strict=True)):
        for at, extraction in zip(side, extractions, strict=True):
            scored = ((e, e.score) for e in extraction.entities)
            mapped = (replace(e, score=maps[number](s)) if maps and s is not None else e for e, s in scored)
            document = replace(folds.gold.train[at], entities=())
            records[at] = replace(extraction, document=document, entities=tuple(mapped))
    spec = RunSpec(text_field=folds.gold.files.text_field, id_field=folds.gold.files.id_field)
    with Writer(str(folds.output), inputs=folds.gold.files.train) as writer:
        for at in range(len(folds.gold.train)):
            writer.write(spec.line(records[at]))
    settings = folds.settings()
    calibration = f"on the gold entities of the other folds: {maps!r}" if maps else None
    model = {"file": None, FOLDS: folds.count, TRAINING_DATA: [settings["data"]]}
    options = {**settings, "calibration": calibration}
    Manifest(Settings(options, model=model), COMPLETE, None, {}).write(f"{folds.output}.run.json")
    return sum(len(each.entities) for each in records.values())
