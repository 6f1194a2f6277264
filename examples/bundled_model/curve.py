"""F1 against tokens trained, from the models that train.py keeps on its way.

    python curve.py runs/bundled --ner DIR [--documents 300]

Strict micro F1 on documents of valid splits, drawn once. The learning rate is still high at all but the last.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from random import Random

from corpora import NAMES, labels_of, named, read
from export import export
from train import BATCH_TOKENS, BATCHES

from genner_cli.formats import DEFAULT_DEPTH
from genner_cli.running.backend import extractions
from genner_cli.running.llama import LlamaBackend
from genner_cli.running.spec import RunSpec
from genner_cli.scoring import score
from genner_cli.training.loop import read_log
from genner_cli.types import Document

SETS = ("btc", "uner_ewt", "wnut17", "bc5cdr", "stackoverflow", "litbank")


def f1(model: Path, ner: Path, name: str, documents: int) -> float:
    """On a sample of a valid split; whole documents are few and long."""
    gold = read(ner, name, "valid")
    Random(0).shuffle(gold)
    gold = gold[: documents if name != "litbank" else 4]
    names = {label: names[0] for label, names in NAMES[name].items() if names}
    depth = DEFAULT_DEPTH if name == "litbank" else 1
    spec = RunSpec(labels=tuple(labels_of(name)), model=str(model), depth=depth)
    with LlamaBackend().open(spec) as opened:
        found = [result.entities for result in extractions(opened, (Document(d.text, d.id) for d in gold))]
    return score(zip((named(document.entities, names) for document in gold), found, strict=True)).micro.f1


def main() -> None:
    """Reads the command line, prints one JSON line a model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--ner", type=Path, required=True)
    parser.add_argument("--documents", type=int, default=300)
    args = parser.parse_args()
    last = len(read_log(args.run / "training_log.jsonl"))
    steps = {int(folder.name.split("-")[1]): folder for folder in args.run.glob("model-*")} | {last: args.run / "model"}
    for step, folder in sorted(steps.items()):
        with tempfile.TemporaryDirectory() as place:
            model = export(folder, Path(place) / "model.gguf")
            figures = {name: round(100 * f1(model, args.ner, name, args.documents), 1) for name in SETS}
        print(json.dumps({"step": step, "tokens": step * BATCHES * BATCH_TOKENS, "f1": figures}), flush=True)


if __name__ == "__main__":
    main()
