"""One very long document: memory is a multiple of its size, and nothing takes time that grows faster than it does."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import orjson
import pytest
from asking import news

from genner_cli.chunking import split
from genner_cli.extraction import extract
from genner_cli.files.manifest import Settings
from genner_cli.files.reading import read_documents
from genner_cli.files.resuming import ResumableOutput
from genner_cli.files.writing import encode
from genner_cli.generation import Completion, Request
from genner_cli.ledger import outcome_of
from genner_cli.merging import merge
from genner_cli.prompting import GENERAL_PROMPT
from genner_cli.tasks import Task
from genner_cli.types import Entity, Label

TASK = Task((Label("PER"), Label("ORG")), GENERAL_PROMPT, "inserted")
NAME = re.compile(r"[A-Z][a-z]+(?: [A-Z][a-z]+)+")
SHORT, LONG = 20_000, 1_500_000
MULTIPLES = {"jsonl": 15, "jsonl.gz": 15, "parquet": 30}
"""Peak of memory, in sizes of an English text; 10 and, of which some is of any size, 23 were measured."""


def prose(size: int) -> str:
    sentences = " ".join(news(30, 200)).encode("ascii", "ignore").decode() + "\n"
    return (sentences * (size // len(sentences) + 1))[:size]


def mark(requests: Iterable[Request | None]) -> Iterator[tuple[int, Completion]]:
    """An engine that marks names of two words, with a token for each three bytes, as a model has."""
    for number, request in enumerate(requests):
        assert request
        text = NAME.sub(r"⟦\g<0>⦂PER⟧", request.rest[0].text)
        ends = (*range(3, len(text.encode()), 3), len(text.encode()))
        yield number, Completion(text, ends, (None,) * len(ends))


def peak(act: Callable[[], object]) -> int:
    """Bytes that Python has allocated at most meanwhile."""
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def extracted(folder: Path, name: str, size: int) -> None:
    """From file to file: reading, chunks, answers, merging, record, journal, packing. All but the engine, which sees a
    chunk at a time."""
    source = folder / f"{size}.in.jsonl"
    source.write_bytes(orjson.dumps({"id": "long", "text": prose(size)}))
    with ResumableOutput(str(folder / f"{size}.{name}")) as output:
        output.begin(Settings({}))
        for result in extract(output.rest(read_documents([str(source)])), TASK, mark):
            assert len(result.entities) > size / 300
            output.write(encode(result), result.document, outcome_of(result))
            del result
        output.finish()


def highest() -> int:
    """Bytes of memory that this process has had at most; `getrusage` would tell of its parent as well."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def measure(folder: str, name: str) -> None:
    """Prints by how much the peak of this process grows with a long document, after a short one."""
    extracted(Path(folder), name, SHORT)
    before = highest()
    extracted(Path(folder), name, LONG)
    print(highest() - before)


@pytest.mark.parametrize("name", MULTIPLES)
def test_a_long_document_takes_a_multiple_of_its_size_from_file_to_file(tmp_path: Path, name: str) -> None:
    code = f"import test_long_documents as t; t.measure({str(tmp_path)!r}, {name!r})"
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert LONG < int(done.stdout) < MULTIPLES[name] * LONG, int(done.stdout) / LONG


@pytest.mark.parametrize("kind", ["prose", "short lines", "one line without blanks", "blanks"])
def test_chunks_are_cut_with_a_few_sentences_in_memory(kind: str) -> None:
    text = {
        "prose": prose(100_000),
        "short lines": "Ann\nof Rome\n" * 10_000,
        "one line without blanks": "x" * 100_000,
        "blanks": "Ann " + " " * 100_000 + "ran.",
    }[kind]
    count = 0

    def run() -> None:
        nonlocal count
        for chunk in split(text, 1000):
            assert len(chunk.text.encode()) <= 1000
            count += 1

    assert peak(run) < (1_000_000 if kind == "blanks" else 250_000)
    assert count > (1 if kind == "blanks" else 80)


def seconds(act: Callable[[], object]) -> float:
    """The best of three."""
    times = []
    for _ in range(3):
        begun = time.process_time()
        act()
        times.append(time.process_time() - begun)
    return min(times)


def conflicting(count: int) -> list[Entity]:
    """Every second entity takes the place of the one before, as with passes that overlap."""
    return [Entity(2 * at, 2 * at + 3, "PER", "xxx", 0.1 + 0.8 * (at % 2)) for at in range(count)]


@pytest.mark.parametrize("kind", ["splitting", "merging"])
def test_ten_times_the_length_takes_no_more_than_some_ten_times_the_time(kind: str) -> None:
    def run(scale: int) -> Callable[[], object]:
        if kind == "splitting":
            text = "Ann of Rome\n" * 2000 * scale
            return lambda: sum(1 for _ in split(text, 1000))
        entities = conflicting(2000 * scale)
        return lambda: merge(entities, 1)

    assert seconds(run(10)) < 30 * seconds(run(1)), "100 times if it were quadratic"
