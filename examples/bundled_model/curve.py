"""F1 against tokens trained: of the models that train.py keeps on its way, or of GGUFs.

    python curve.py runs/bundled --ner DIR [--documents 300]
    python curve.py early-adapter.gguf late-adapter.gguf --ner DIR [--documents 100] [--only btc,uner_ewt]

Strict micro F1 on documents of valid splits, drawn once, of all that is found (no thresholds). In a run of train.py the
learning rate is still high at all models but the last. Of an adapter's GGUF, the model is that of the adapter and its
base in Q8_0.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from calibrate import runnable
from corpora import NAMES, labels_of, named, read
from export import export
from train import BATCH_TOKENS, BATCHES

from genner_cli.formats import DEFAULT_DEPTH
from genner_cli.generation import EngineOptions
from genner_cli.running.backend import extractions
from genner_cli.running.llama import LlamaBackend
from genner_cli.running.spec import RunSpec
from genner_cli.scoring import score
from genner_cli.training.loop import read_log
from genner_cli.types import Document

SETS = ("btc", "uner_ewt", "wnut17", "bc5cdr", "stackoverflow", "litbank")
NESTED = ("litbank", "gum")
CROSSNER = "crossner"
"""Its five domains, of which the average is given."""


def f1(model: Path, ner: Path, name: str, documents: int) -> float:
    """On a sample of a valid split; whole documents are few and long."""
    gold = read(ner, name, "valid")
    Random(0).shuffle(gold)
    gold = gold[: documents if name != "litbank" else 4]
    names = {label: names[0] for label, names in NAMES[name].items() if names}
    depth = DEFAULT_DEPTH if name in NESTED else 1
    spec = RunSpec(labels=tuple(labels_of(name)), model=str(model), depth=depth, no_calibration=True)
    with LlamaBackend().open(spec) as opened:
        found = [result.entities for result in extractions(opened, (Document(d.text, d.id) for d in gold))]
    return score(zip((named(document.entities, names) for document in gold), found, strict=True)).micro.f1


def figure(model: Path, ner: Path, name: str, documents: int) -> float:
    """F1 in percent."""
    sets = [each for each in NAMES if each.startswith(CROSSNER)] if name == CROSSNER else [name]
    return round(100 * sum(f1(model, ner, each, documents) for each in sets) / len(sets), 1)


def models(path: Path) -> Iterator[tuple[dict[str, object], Path]]:
    """A GGUF itself; of a folder, the models of train.py's run in it, in the order of their steps."""
    if path.is_file():
        yield {"model": path.name}, path
        return
    last = len(read_log(path / "training_log.jsonl"))
    steps = {int(folder.name.split("-")[1]): folder for folder in path.glob("model-*")} | {last: path / "model"}
    for step, folder in sorted(steps.items()):
        yield {"step": step, "tokens": step * BATCHES * BATCH_TOKENS}, folder


@contextmanager
def as_gguf(path: Path) -> Iterator[Path]:
    """A model that runs."""
    if path.is_dir():
        with tempfile.TemporaryDirectory() as place:
            yield export(path, Path(place) / "model.gguf")
    else:
        with runnable(path, EngineOptions()) as model:
            yield model


def main() -> None:
    """Reads the command line, prints one JSON line a model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "models", type=Path, nargs="+", metavar="MODEL", help="a GGUF, or the folder of a run of train.py"
    )
    parser.add_argument("--ner", type=Path, required=True)
    parser.add_argument("--documents", type=int, default=300)
    parser.add_argument("--only", default=",".join(SETS), metavar="SETS")
    args = parser.parse_args()
    for about, path in (each for given in args.models for each in models(given)):
        with as_gguf(path) as model:
            figures = {name: figure(model, args.ner, name, args.documents) for name in args.only.split(",")}
        print(json.dumps({**about, "f1": figures}), flush=True)


if __name__ == "__main__":
    main()
