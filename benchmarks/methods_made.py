"""Data, models and predictions of the table of methods, each made once in a folder and taken from there afterwards."""

from __future__ import annotations

import gzip
import json
import os
import random
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from genner_cli.commands import app
from genner_cli.files.gold import read_gold_files
from genner_cli.files.predictions import read_predictions
from genner_cli.files.whole import write_whole
from genner_cli.openmp import short_waits
from genner_cli.pairing import in_order
from genner_cli.provenance import MODEL_METADATA_FILE
from genner_cli.scoring import document_counts
from genner_cli.scoring.figures import DocumentCounts

Record = dict[str, Any]

os.environ.update(short_waits(os.environ))  # as the command line does before torch and llama.cpp are loaded


def genner(*arguments: object) -> None:
    """Runs a command of genner in this process, so that its libraries are loaded once; ends it where that fails."""
    if status := app(list(map(str, arguments)), standalone_mode=False):
        sys.exit(status)


def made(path: Path, command: str, *arguments: object) -> Path:
    """The output of a command of genner, which is run if it is not there."""
    if not path.exists():
        genner(*command.split(), *arguments, "-o", path)
    return path


def trained(adapter: Path, train: Path, *options: object) -> Path:
    """The folder of an adapter of the bundled model; a training that was interrupted is resumed."""
    if not (adapter / MODEL_METADATA_FILE).exists():
        genner("train", train, "--base", "small", *options, "-o", adapter, *["--resume"] * adapter.exists())
    return adapter


def tuned(folder: Path, name: str, train: Path, *options: object) -> Path:
    """The GGUF of a fine-tune of the bundled model, in its own type of weights."""
    gguf = folder / f"{name}.gguf"
    if not gguf.exists():
        adapter = trained(folder / f"{name}-adapter", train, *options)
        genner("export", adapter, "--quantize", "Q8_0", "--no-verify", "-o", gguf)
    return gguf


def scored(path: Path, model: object, gold: Path, *options: object) -> list[DocumentCounts]:
    """Strict counts of each gold document, by what a model extracts."""
    made(path, "extract", gold, "--model", model, "--no-calibration", "--threads", 1, *options)
    documents = read_gold_files([str(gold)], text_field="text", id_field="id")
    return [document_counts(each) for each in in_order(documents, read_predictions([str(path)]))]


def read_split(ner: Path, name: str, split: str) -> list[Record]:
    """The records of a split of a data set."""
    with gzip.open(ner / name / f"{split}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def sampled(records: Sequence[Record], count: int, seed: int = 0) -> list[Record]:
    """At most `count` of them in random order."""
    return random.Random(seed).sample(records, min(count, len(records)))


def written(path: Path, records: Callable[[], Iterable[Record]]) -> Path:
    """A file of what a function gives, which is called if it is not there."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, "".join(json.dumps(each) + "\n" for each in records()))
    return path


def only(records: Iterable[Record], names: Mapping[str, str]) -> list[Record]:
    """The records with the entities of these labels, renamed."""
    return [
        {**each, "entities": [{**e, "label": names[e["label"]]} for e in each["entities"] if e["label"] in names]}
        for each in records
    ]
