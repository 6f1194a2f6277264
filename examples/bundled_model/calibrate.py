"""Fits a bundled model's calibration on valid splits, and writes it into the metadata of its GGUF.

    python calibrate.py genner-small.gguf --ner DIR [--documents 500]

Of an adapter's GGUF, the model is that of the adapter and its base in Q8_0. The model is asked for PER, ORG and LOC
on SETS. Prints what `genner calibrate` prints, for each set and for all; the weights stay as they are.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from corpora import NAMES, named, read
from gguf_metadata import with_pairs

from convert.merged import is_adapter, whole_model
from convert.quantize import quantize
from genner_cli.calibration import Fitted, calibration_tables, expected_error, fit, judged
from genner_cli.commands.terminal import show
from genner_cli.files.calibrations import KEY, own_calibration_value
from genner_cli.generation import EngineOptions
from genner_cli.running.backend import extractions
from genner_cli.running.examples import asked_options
from genner_cli.running.llama import LlamaBackend
from genner_cli.running.spec import RunSpec
from genner_cli.types import Calibration, Document, Extraction, Knot, Label, ScoreMap

SETS = ("uner_ewt", "wnut17")
"""Valid splits of web texts and of comments. btc's is left out: it is the final split of that set."""
LABELS = ("PER", "ORG", "LOC")
DIGITS = 4


def gold(ner: Path, name: str, count: int) -> list[Document]:
    """A sample of a valid split with the entities of LABELS."""
    documents = read(ner, name, "valid")
    Random(0).shuffle(documents)
    names = {label: called[0] for label, called in NAMES[name].items() if called and called[0] in LABELS}
    return [replace(document, entities=named(document.entities, names)) for document in documents[:count]]


def fitted(model: Path, ner: Path, count: int, engine: EngineOptions) -> tuple[Fitted, Mapping[str, str]]:
    """What is learnt from all sets together, and how the model was asked."""
    spec = RunSpec(labels=tuple(map(Label, LABELS)), model=str(model), no_calibration=True, engine=engine)
    found: list[Extraction] = []
    with LlamaBackend().open(spec) as opened:
        for name in SETS:
            of_set = list(extractions(opened, gold(ner, name, count)))
            error = expected_error([point for each in of_set for point in judged(each)])
            print(f"{name}: {len(of_set)} documents, calibration error of the raw scores {error:.3f}", flush=True)
            found += of_set
        return fit(found), asked_options(opened.facts.task, spec)


def rounded(calibration: Calibration) -> Calibration:
    """To DIGITS, for LABELS alone; knots whose scores become equal are one."""
    knots = {round(score, DIGITS): round(value, DIGITS) for score, value in calibration.map.knots}
    thresholds = {label: round(score, DIGITS) for label, score in calibration.thresholds.items()}
    return Calibration(ScoreMap(tuple(Knot(*pair) for pair in knots.items())), thresholds, LABELS)


@contextmanager
def runnable(path: Path, engine: EngineOptions) -> Iterator[Path]:
    """The model itself, or that of an adapter and its base, in Q8_0."""
    if not is_adapter(path):
        yield path
        return
    with (
        TemporaryDirectory() as work,
        whole_model(path, base=None, download=False, engine=engine, say=print) as model,
    ):
        yield quantize(model, Path(work) / "model.gguf", "Q8_0", threads=engine.threads)


def main() -> None:
    """Reads the command line, calibrates and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--ner", type=Path, required=True, metavar="DIR")
    parser.add_argument("--documents", type=int, default=500, help="of each set, at most")
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    engine = EngineOptions(threads=args.threads)
    with runnable(args.model, engine) as model:
        found, asked = fitted(model, args.ner, args.documents, engine)
    show(calibration_tables(found, None))
    with_pairs(args.model, {KEY: json.dumps(own_calibration_value(rounded(found.calibration), asked))})
    print(f"{args.model}: {KEY} is written")


if __name__ == "__main__":
    main()
