"""Whether batching changes what is found: one slot against sixteen, input order against shuffled.

    python benchmarks/same_output.py CORPUS.jsonl.gz ... [--model FILE] [--documents 1000] [--threads N]

Counts documents whose entities differ from those of one slot in input order, names each with the smallest margin
between the chosen and another legal token, and gives the largest difference of scores where entities agree.
"""

from __future__ import annotations

import argparse
import random
from itertools import islice

from genner_cli.extraction import entities_of
from genner_cli.files.reading import expand, read_documents
from genner_cli.formats import output_format
from genner_cli.generation import Completion, EngineOptions, Request
from genner_cli.running.llama import LlamaBackend
from genner_cli.running.spec import RunSpec
from genner_cli.types import Document, Entity


def completions(texts: list[str], order: list[int], spec: RunSpec) -> list[tuple[list[Entity], Completion]]:
    """What is found in each text, the texts having been run in this order."""
    with LlamaBackend().open(spec) as opened:
        task = opened.facts.task
        output = output_format(task.format)
        prefix, grammar = task.prompt.prefix(task.labels), output.grammar(task.names)
        requests = (
            Request(
                prefix, task.prompt.rest(texts[at]), grammar, output.lock(texts[at], task.names), 2 * len(texts[at])
            )
            for at in order
        )
        found = {order[number]: completion for number, completion in opened.generate(requests)}
        return [(entities_of(found[at], text, task), found[at]) for at, text in enumerate(texts)]


def main() -> None:
    """Reads the command line and prints the differences."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpora", nargs="+")
    parser.add_argument("--model")
    parser.add_argument("--documents", type=int, default=1000)
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    records = islice(read_documents(expand(args.corpora)), args.documents)
    texts = [record.text for record in records if isinstance(record, Document)]
    order = list(range(len(texts)))
    shuffled = random.Random(0).sample(order, len(order))
    alone = completions(texts, order, RunSpec(model=args.model, engine=EngineOptions(1, threads=args.threads)))
    for name, sequence in (("16 slots", order), ("16 slots, shuffled", shuffled)):
        spec = RunSpec(model=args.model, engine=EngineOptions(16, threads=args.threads))
        together = completions(texts, sequence, spec)
        differing = [at for at in order if together[at][0] != alone[at][0]]
        drift = max(
            abs((a.score or 0) - (b.score or 0))
            for at in order
            if at not in differing
            for a, b in zip(together[at][0], alone[at][0], strict=True)
        )
        print(f"{name}: {len(differing)} of {len(texts)} documents differ; scores differ by at most {drift:.4f}")
        for at in differing:
            print(f"  document {at}: margin {min(together[at][1].margin, alone[at][1].margin):.5f}")


if __name__ == "__main__":
    main()
