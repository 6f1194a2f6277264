"""What waits for a slow document before it: bounded in documents and in characters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import pytest
from asking import default_labels, instructions_of, news
from conftest import ONE_THREAD
from fake_engine import completion, text_of

from genner_cli import extraction
from genner_cli.engine.engine import Engine
from genner_cli.engine.model import Model
from genner_cli.extraction import WAITING_DOCUMENTS, DocumentOrFailure, extract
from genner_cli.generation import Completion, Generate, Request
from genner_cli.prompting import GENERAL_PROMPT
from genner_cli.tasks import Task
from genner_cli.types import Document, Extraction, FailedDocument, Label

SLOW = "A slow one."
TASK = Task((Label("PER"),), GENERAL_PROMPT, "xml")


class Drawn:
    """Documents that count how many of them, and how many characters, are drawn and not given back."""

    def __init__(self, documents: Iterable[DocumentOrFailure]) -> None:
        self._documents = documents
        self.waiting = self.most = self.characters = self.most_characters = 0

    def __iter__(self) -> Iterator[DocumentOrFailure]:
        for document in self._documents:
            self._note(document, 1)
            yield document

    def _note(self, document: DocumentOrFailure, sign: int) -> None:
        self.waiting += sign
        self.characters += sign * (len(document.text) if isinstance(document, Document) else 0)
        self.most = max(self.most, self.waiting)
        self.most_characters = max(self.most_characters, self.characters)

    def extracted(self, task: Task, generate: Generate) -> list[Extraction]:
        results = []
        for result in extract(self, task, generate):
            self._note(result.document, -1)
            results.append(result)
        return results


def slow_first(slots: int, steps: int) -> Generate:
    """An engine that answers a slow request only after this many steps, and others after one."""

    def generate(requests: Iterable[Request]) -> Iterator[tuple[int, Completion]]:
        running: list[tuple[int, Request, int]] = []
        source = enumerate(requests)
        step, drawn = 0, next(source, None)
        while running or drawn:
            step += 1
            while drawn and len(running) < slots:
                number, request = drawn
                running.append((number, request, step + (steps if text_of(request) == SLOW else 1)))
                drawn = next(source, None)
            for item in [item for item in running if item[2] <= step]:
                running.remove(item)
                yield item[0], completion(text_of(item[1]))

    return generate


@pytest.mark.parametrize("later", ["blank", "failed", "short"])
def test_so_many_documents_wait_at_most(later: str) -> None:
    kinds: dict[str, DocumentOrFailure] = {
        "blank": Document(" \n"),
        "failed": FailedDocument("not JSON", "f:2"),
        "short": Document("Ann ran."),
    }
    documents = [Document(SLOW), *[kinds[later]] * 5000]
    drawn = Drawn(documents)
    results = drawn.extracted(TASK, slow_first(4, 3000))
    assert [result.document for result in results] == documents
    assert drawn.most == WAITING_DOCUMENTS


def test_so_many_characters_wait_at_most_and_one_document_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "WAITING_CHARACTERS", 8000)
    big = 1000
    documents = [Document(SLOW), *[Document(" " * big)] * 40]
    drawn = Drawn(documents)
    assert len(drawn.extracted(TASK, slow_first(4, 3000))) == 41
    assert 8000 <= drawn.most_characters < 8000 + big


@pytest.mark.parametrize("passes", [1, 3])
def test_a_window_that_fills_early_is_asked_about_and_nothing_stands_still(
    passes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were a block of several passes waited for that the window has no room for, it would wait for ever."""
    monkeypatch.setattr(extraction, "WAITING_DOCUMENTS", 7)
    labels = tuple((Label(name),) for name in "ABC")[:passes]
    task = replace(TASK, labels=tuple(label for each in labels for label in each), passes=labels)
    documents = [Document(f"Ann ran {number}." if number % 3 else "  ") for number in range(50)]
    drawn = Drawn(documents)
    results = drawn.extracted(task, slow_first(4, 20))
    assert [result.document for result in results] == documents
    assert not any(result.error for result in results)
    assert drawn.most == 7


def test_the_real_engine_bounds_what_waits_for_a_slow_document(bundled: Model) -> None:
    """The slow one is some chunks long; without the bound several thousand of the others would be drawn meanwhile."""
    instructions = instructions_of(bundled)
    task = Task(tuple(default_labels(bundled)), instructions.prompt, instructions.format)
    slow = Document(" ".join(news(30, 110))[:3000])
    documents = [slow, *[Document("  ", str(number)) for number in range(6000)], Document("Ann Smith met Bob.")]
    drawn = Drawn(documents)
    with Engine(bundled, replace(ONE_THREAD, slots=4)) as engine:
        results = drawn.extracted(task, engine.generate)
    assert [result.document for result in results] == documents
    assert results[0].entities
    assert results[0].chunks > 3
    assert drawn.most == WAITING_DOCUMENTS
