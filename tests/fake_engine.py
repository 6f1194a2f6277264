"""An engine without a model, for tests of everything that is handed `generate`."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from math import log

from genner_cli.generation import Completion, Request

Handler = Callable[[Request], Completion | str]


class FakeEngine:
    """Answers requests from a function, `slots` at a time, in shuffled order.

    Like the real one it draws a request only when a slot is free. `requests` are those it was asked, in order.
    """

    def __init__(self, handler: Handler, *, slots: int = 4, seed: int = 0) -> None:
        self._handler = handler
        self._slots = slots
        self._random = random.Random(seed)
        self.requests: list[Request] = []

    def generate(self, requests: Iterable[Request]) -> Iterator[tuple[int, Completion]]:
        """Completions with the numbers of their requests (`generation.Generate`)."""
        running: list[tuple[int, Request]] = []
        for number, request in enumerate(requests):
            self.requests.append(request)
            running.append((number, request))
            if len(running) == self._slots:
                yield self._finish(running)
        while running:
            yield self._finish(running)

    def _finish(self, running: list[tuple[int, Request]]) -> tuple[int, Completion]:
        number, request = running.pop(self._random.randrange(len(running)))
        answer = self._handler(request)
        return number, answer if isinstance(answer, Completion) else completion(answer)


def completion(text: str, probability: float = 1.0) -> Completion:
    """A completion of one token for each byte, each as probable as this."""
    ends = tuple(range(1, len(text.encode()) + 1))
    return Completion(text, ends, tuple(log(probability) for _ in ends))


def text_of(request: Request) -> str:
    """The text that a request asks about."""
    return request.rest[0].text
