"""Scores a model on the valid splits that its labels cover: strict F1, flat or nested as each set is.

    python evaluate.py --ner DIR [--model FILE] [--only btc,uner_ewt] [--chunk BYTES] [--overlap BYTES]

The label maps stand in corpora.py. `obedience`: how many of the entities of one label, found when all
labels are asked for, are found and no others when that label is asked for alone.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from corpora import CORPORA, EVALUATED_ONLY, labels_of, read

from genner_cli.api import ExtractOptions, open_extractor
from genner_cli.formats.carriable import DEFAULT_DEPTH
from genner_cli.generation import EngineOptions
from genner_cli.scoring import Scores, score
from genner_cli.types import Document, Entity, Label

NESTED = {"gum_docs", "litbank"}
SETS = ("btc", "uner_ewt", "wnut17", "multiconer1", "gum_docs", "litbank")


def extracted(documents: list[Document], options: ExtractOptions) -> list[tuple[Entity, ...]]:
    """The entities of each document; stops at the first that fails."""
    with open_extractor(options) as extractor:
        results = list(extractor.extract(documents))
    failed = [result.error for result in results if result.error]
    if failed:
        raise SystemExit(f"{len(failed)} documents failed, the first: {failed[0]}")
    return [result.entities for result in results]


def evaluate(folder: Path, name: str, options: ExtractOptions) -> Scores:
    """Strict scores on the valid split of a corpus."""
    documents = read(folder, name, "valid")
    found = extracted(documents, options)
    return score(zip((document.entities for document in documents), found, strict=True))


def obedience(folder: Path, name: str, options: ExtractOptions, label: Label) -> float:
    """F1 between what is found for a label alone and what is found for it among all."""
    documents = read(folder, name, "valid")
    among_all = extracted(documents, options)
    alone = extracted(documents, replace_labels(options, (label,)))
    pairs = ([e for e in found if e.label == label.name] for found in among_all)
    return score(zip(pairs, alone, strict=True)).micro.f1


def replace_labels(options: ExtractOptions, labels: tuple[Label, ...]) -> ExtractOptions:
    """The same options for other labels."""
    return ExtractOptions(labels=labels, model=options.model, depth=options.depth, engine=options.engine)


def main() -> None:
    """Reads the command line, prints one JSON line a set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ner", type=Path, required=True)
    parser.add_argument("--model")
    parser.add_argument("--only", default=",".join(SETS))
    parser.add_argument("--chunk", type=int)
    parser.add_argument("--overlap", type=int)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--obedience", action="store_true")
    args = parser.parse_args()
    assert set(args.only.split(",")) <= set(CORPORA | EVALUATED_ONLY)
    for name in args.only.split(","):
        options = ExtractOptions(
            labels=tuple(labels_of(name)),
            model=args.model,
            depth=DEFAULT_DEPTH if name in NESTED else 1,
            chunk_bytes=args.chunk,
            overlap_bytes=args.overlap,
            engine=EngineOptions(threads=args.threads),
        )
        scores = evaluate(args.ner, name, options)
        line = {
            "set": name,
            "precision": round(100 * scores.micro.precision, 1),
            "recall": round(100 * scores.micro.recall, 1),
            "f1": round(100 * scores.micro.f1, 1),
            "labels": {label: round(100 * counts.f1, 1) for label, counts in scores.labels.items()},
        }
        if args.obedience:
            line["obedience"] = {
                label.name: round(100 * obedience(args.ner, name, options, label), 1) for label in options.labels or ()
            }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
