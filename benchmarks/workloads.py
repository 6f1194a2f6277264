"""The documents that benchmarks run on, and requests for them as extraction makes them."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from genner_cli.engine.gguf_header import read_header
from genner_cli.extraction import extract
from genner_cli.files.labels import parse_types, read_label_tree
from genner_cli.generation import Completion, Request
from genner_cli.running.llama import open_model
from genner_cli.running.spec import RunSpec
from genner_cli.types import Document, Label

DOCUMENTS = Path(__file__).parent / "documents"


@dataclass(frozen=True, slots=True)
class Workload:
    """Texts, and labels and output format to ask for; without, those that the model asks for by default."""

    name: str
    texts: tuple[str, ...]
    labels: tuple[Label, ...] = ()
    format: str | None = None

    def requests(self, path: Path) -> list[Request]:
        """The requests that extraction makes for the texts with this model, in order."""
        found: list[Request] = []

        def record(requests: Iterable[Request]) -> Iterator[tuple[int, Completion]]:
            for number, request in enumerate(requests):
                found.append(request)
                yield number, Completion("", error="only recorded")

        spec = RunSpec(inputs=(), model=str(path), labels=self.labels or None, format=self.format)
        with open_model(spec) as (facts, _):
            for _ in extract((Document(text) for text in self.texts), facts.task, record):
                pass
        return found


def workloads(sentences: int, articles: int) -> Iterator[Workload]:
    """Short sentences, long articles, and the sentences with many labels; a seeded sample of them."""
    short = _sample("short.jsonl", sentences)
    yield Workload("short sentences", short)
    yield Workload("long articles", _sample("long.jsonl", articles))
    yield Workload("many labels", short, read_label_tree(str(DOCUMENTS / "many_labels.yaml")).leaves())


def workloads_of(path: Path, sentences: int, formats: Sequence[str]) -> Iterator[Workload]:
    """Short sentences for any model: in the format and with the labels that it was trained on; where it was not, in
    these formats."""
    if any(key.startswith("genner.") for key in read_header(path).metadata):
        yield Workload("own format, short", _sample("short.jsonl", sentences))
        return
    for format in formats:
        yield Workload(f"{format}, short", _sample("short.jsonl", sentences), tuple(parse_types("PER,ORG,LOC")), format)


def _sample(name: str, count: int) -> tuple[str, ...]:
    texts = [json.loads(line)["text"] for line in (DOCUMENTS / name).read_text(encoding="utf-8").splitlines()]
    return tuple(random.Random(0).sample(texts, min(count, len(texts))))
