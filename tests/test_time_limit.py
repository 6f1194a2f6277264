"""--seconds-per-document: a slow document is an error record, and the others are as without a limit."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson
from fake_engine import completion
from resuming import write_documents

from genner_cli.extraction import extract
from genner_cli.generation import OUT_OF_TIME, Completion, Request
from genner_cli.prompting import general_prompt
from genner_cli.tasks import Task
from genner_cli.types import Document, Label, Reason

TASK = Task((Label("PER"),), general_prompt("Find."), "xml", chunk_bytes=64, seconds_per_document=0.2)


class SlowEngine:
    """Answers one request after the other, those about a text with SLOW after a while; it keeps to their limits."""

    def __init__(self, seconds: float) -> None:
        self.asked = 0
        self._seconds = seconds

    def generate(self, requests: Iterable[Request]) -> Iterator[tuple[int, Completion]]:
        for number, request in enumerate(requests):
            self.asked += 1
            text = request.rest[0].text
            needed = self._seconds if "SLOW" in text else 0.0
            limit = request.seconds if request.seconds is not None else needed
            time.sleep(min(needed, limit))
            yield number, Completion("", error=OUT_OF_TIME) if needed > limit else completion(text)


def test_a_document_with_many_chunks_is_given_up_and_those_around_it_are_not() -> None:
    engine = SlowEngine(0.05)
    slow = Document("SLOW sentence here, and so on it goes for ever. " * 100, "slow", source="a:2")
    results = list(extract([Document("Ann.", "1"), slow, Document("Bob.", "3")], TASK, engine.generate))
    assert [result.document.id for result in results] == ["1", "slow", "3"]
    assert [result.reason for result in results] == [None, Reason.ENGINE, None]
    assert (results[1].error or "").startswith("a:2: it took longer than 0.2 s")
    assert engine.asked < 12, "its other chunks are not asked about"


def test_a_single_slow_chunk_is_given_up() -> None:
    result, other = extract([Document("SLOW.", "1"), Document("Bob.", "2")], TASK, SlowEngine(30).generate)
    assert (result.reason, other.reason) == (Reason.ENGINE, None)


def test_extract_gives_up_a_long_document_and_reads_those_around_it(genner: Any, tmp_path: Path) -> None:
    long = {"id": "long", "text": "Ann Lee met Bob Ray in Rome, and they flew to London with Eve. " * 20_000}
    short = [{"id": n, "text": f"Ann Lee met Bob Ray in Rome on day {n}."} for n in range(3)]
    docs, out = write_documents(tmp_path / "d.jsonl", [short[0], long, *short[1:]]), tmp_path / "out.jsonl"
    call = ("extract", docs, "--types", "PER,ORG,LOC", "-o", out)
    run = genner(*call, "--seconds-per-document", "5")
    records = [orjson.loads(line) for line in out.read_bytes().splitlines()]
    assert (run.status, [record["id"] for record in records]) == (1, [0, "long", 1, 2])
    assert "it took longer than 5 s" in records[1]["error"]["message"]
    assert ["error" in record for record in records] == [False, True, False, False]
    genner("extract", write_documents(tmp_path / "s.jsonl", short), *call[2:4], "-o", tmp_path / "alone.jsonl")
    alone = [orjson.loads(line) for line in (tmp_path / "alone.jsonl").read_bytes().splitlines()]
    assert [[e["text"] for e in r["entities"]] for r in alone] == [
        [e["text"] for e in r["entities"]] for r in (records[0], *records[2:])
    ]
