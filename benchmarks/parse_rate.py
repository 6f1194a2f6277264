"""How many completions parse, and how many entities stand in their text: all formats, flat and nested.

    python benchmarks/parse_rate.py CORPUS.jsonl.gz ... [--model FILE] [--documents 50] [--threads N]

Give a model of random weights too (`tests/random_model.py` makes one): the source lock must hold for it
as well. One line for each format and depth: documents, completions, failures, entities, entities not in the text.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from genner_cli.extraction import Task, extract
from genner_cli.files.reading import expand, read_documents
from genner_cli.formats import DEFAULT_DEPTH, FORMATS
from genner_cli.generation import EngineOptions, Generate
from genner_cli.running.llama import LlamaBackend
from genner_cli.running.spec import RunSpec
from genner_cli.types import Document


def sample(paths: list[str], count: int) -> Iterator[Document]:
    """The first documents of each file that have text."""
    for path in paths:
        for document in islice(read_documents([path]), count):
            if isinstance(document, Document):
                yield document


def measure(task: Task, generate: Generate, documents: list[Document]) -> str:
    """Runs the documents and counts."""
    completions = failures = entities = strangers = 0
    for result in extract(documents, task, generate):
        assert isinstance(result.document, Document)
        completions += len(result.completions)
        failures += result.error is not None
        entities += len(result.entities)
        strangers += sum(result.document.text[e.start : e.end] != e.text for e in result.entities)
    return f"{len(documents):6} {completions:11} {failures:8} {entities:8} {strangers:11}"


def main() -> None:
    """Reads the command line and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpora", nargs="+")
    parser.add_argument("--model")
    parser.add_argument("--documents", type=int, default=50)
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    documents = list(sample(expand(args.corpora), args.documents))
    print(f"{'format':12} depth {'texts':>6} completions failures entities not in text")
    with LlamaBackend().open(RunSpec(model=args.model, engine=EngineOptions(threads=args.threads))) as opened:
        for name in FORMATS:
            for depth in (1, DEFAULT_DEPTH):
                task = replace(opened.facts.task, format=name, depth=depth)
                print(f"{name:12} {depth:5} {measure(task, opened.generate, documents)}", flush=True)


if __name__ == "__main__":
    main()
