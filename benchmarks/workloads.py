"""The documents that benchmarks run on, and requests for them as extraction makes them."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from genner_cli.chunking import split
from genner_cli.engine.model import Model
from genner_cli.files.labels import read_labels
from genner_cli.formats import output_format
from genner_cli.generation import Request
from genner_cli.prompting import Instructions
from genner_cli.types import Label

DOCUMENTS = Path(__file__).parent / "documents"


@dataclass(frozen=True, slots=True)
class Workload:
    """Texts, and labels to ask for; without, those that the model asks for by default."""

    name: str
    texts: tuple[str, ...]
    labels: tuple[Label, ...] = ()

    def requests(self, model: Model) -> list[Request]:
        """One request for each chunk of each text."""
        instructions = Instructions.from_metadata(model.metadata)
        assert instructions, "benchmarks need a model with genner metadata"
        labels = self.labels or [label for label in instructions.labels if label.name in instructions.default_labels]
        output, names = output_format(instructions.format), [label.name for label in labels]
        prefix, grammar = instructions.prompt.prefix(labels), output.grammar(names)
        chunks = (chunk.text for text in self.texts for chunk in split(text, instructions.chunk_bytes))
        return [
            Request(
                prefix=prefix,
                rest=instructions.prompt.rest(chunk),
                grammar=grammar,
                lock=output.lock(chunk, names),
                allowance=2 * len(chunk) + 64,
            )
            for chunk in chunks
        ]


def workloads(sentences: int, articles: int) -> Iterator[Workload]:
    """Short sentences, long articles, and the sentences with many labels; a seeded sample of them."""
    short = _sample("short.jsonl", sentences)
    yield Workload("short sentences", short)
    yield Workload("long articles", _sample("long.jsonl", articles))
    yield Workload("many labels", short, tuple(read_labels(str(DOCUMENTS / "many_labels.yaml"))))


def _sample(name: str, count: int) -> tuple[str, ...]:
    texts = [json.loads(line)["text"] for line in (DOCUMENTS / name).read_text(encoding="utf-8").splitlines()]
    return tuple(random.Random(0).sample(texts, min(count, len(texts))))
