"""Closed questions: the log-probability of each of several whole answers after a prompt.

Several questions are walked side by side in one context. The options of a question are a trie of tokens, of which each
node is decoded once: its row of logits gives the log-probabilities of what may follow it, over the whole vocabulary,
and of the end of the text. An option counts with its end, so that one that begins another is not favoured. Knows
nothing of what is asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from genner_cli.engine.context import Context
from genner_cli.engine.model import Model
from genner_cli.errors import DataError
from genner_cli.generation import Answer, Question


@dataclass(slots=True)
class _Node:
    """A token of one or more options, `depth` tokens after the prompt, and the options that end with it."""

    token: int
    depth: int
    log_probability: float = 0.0
    following: dict[int, _Node] = field(default_factory=dict)
    ended: list[int] = field(default_factory=list)


@dataclass(slots=True)
class _Job:
    """A question in tokens, or what is wrong with it."""

    number: int
    prompt: list[int] = field(default_factory=list)
    options: list[list[int]] = field(default_factory=list)
    error: str | None = None

    @property
    def needed(self) -> int:
        """Tokens in the KV cache, at most."""
        return len(self.prompt) + max(map(len, self.options), default=0)


@dataclass(slots=True)
class _Walk:
    """A question that is being answered. `prompt_end`, `position`: tokens in the KV cache, of prefix and prompt, and so
    far; `pending`: prompt tokens still to be decoded; `waiting`: nodes whose log-probability is known and that are not
    decoded."""

    sequence: int
    job: _Job
    prompt_end: int
    position: int
    pending: list[int]
    node: _Node
    found: list[float]
    waiting: list[_Node] = field(default_factory=list)

    def next_tokens(self, context: Context, room: int) -> list[int]:
        """Takes up to `room` tokens that come next; of options one at a time, after what it does not follow is
        forgotten."""
        if self.pending:
            taken, self.pending = self.pending[:room], self.pending[room:]
            return taken
        self.node = self.waiting.pop()
        start = self.prompt_end + self.node.depth - 1
        if start < self.position:
            context.forget(self.sequence, start)
            self.position = start
        return [self.node.token]

    def read(self, row: NDArray[np.float32], ends: Sequence[int]) -> None:
        """Takes what follows the last node: the next tokens of options, or their end."""
        logits = row.astype(np.float64)
        logs = logits - np.logaddexp.reduce(logits)
        for option in self.node.ended:
            self.found[option] = self.node.log_probability + float(np.logaddexp.reduce(logs[list(ends)]))
        for node in reversed(self.node.following.values()):
            node.log_probability = self.node.log_probability + float(logs[node.token])
            self.waiting.append(node)


class Scorer:
    """Answers questions of one prefix after the other, with the slots of a context.

    `room`: tokens of the KV cache beside the prefix, whose length is `prefix_length`.
    """

    def __init__(self, model: Model, context: Context, free: list[int], prefix_length: int, room: int) -> None:
        self._model, self._context, self._free = model, context, free
        self._prefix_length, self._room = prefix_length, room
        self._walks: list[_Walk] = []

    def run(self, questions: Iterable[tuple[int, Question]]) -> Iterator[tuple[int, Answer]]:
        """Answers with the numbers of their questions, in the order they finish. Frees all slots at its end."""
        jobs = (self._job(number, question) for number, question in questions)
        job = next(jobs, None)
        try:
            while job or self._walks:
                while job and self._free and (job.error or self._fits(job)):
                    if job.error:
                        yield job.number, Answer((), len(job.prompt), job.error)
                    else:
                        self._start(job)
                    job = next(jobs, None)
                if self._walks:
                    yield from self._step()
        finally:
            for walk in list(self._walks):
                self._drop(walk)

    def _job(self, number: int, question: Question) -> _Job:
        try:
            prompt = self._model.prompt(question.rest)
            options = [self._model.plain(option) for option in question.options]
        except DataError as error:
            return _Job(number, error=str(error))
        job = _Job(number, prompt, options)
        if not prompt:
            job.error = "the question is empty"
        elif job.needed > self._room:
            job.error = f"the question takes {job.needed} tokens, and {self._room} fit; choose a larger --context"
        return job

    def _fits(self, job: _Job) -> bool:
        return sum(walk.job.needed for walk in self._walks) + job.needed <= self._room

    def _start(self, job: _Job) -> None:
        sequence = self._free.pop()
        self._context.share_prefix(sequence)
        found = [float("-inf")] * len(job.options)
        start = self._prefix_length
        walk = _Walk(sequence, job, start + len(job.prompt), start, list(job.prompt), _trie(job.options), found)
        self._walks.append(walk)

    def _step(self) -> Iterator[tuple[int, Answer]]:
        """One llama_decode."""
        room = self._context.capacity
        read: list[_Walk] = []
        for walk in self._walks:
            if not room:
                break
            tokens = walk.next_tokens(self._context, room)
            whole = not walk.pending
            self._context.add(tokens, walk.position, walk.sequence, outputs=int(whole))
            walk.position += len(tokens)
            room -= len(tokens)
            if whole:
                read.append(walk)
        rows = self._context.decode()
        assert rows is not None, "what was reserved fits"
        for walk, row in zip(read, rows, strict=True):
            walk.read(np.asarray(row, np.float32), self._model.end_ids)
            if not walk.waiting:
                self._drop(walk)
                yield walk.job.number, Answer(tuple(walk.found), len(walk.job.prompt))

    def _drop(self, walk: _Walk) -> None:
        self._context.forget(walk.sequence)
        self._walks.remove(walk)
        self._free.append(walk.sequence)


def _trie(options: Sequence[Sequence[int]]) -> _Node:
    """The root, which stands for the prompt's last token."""
    root = _Node(-1, 0)
    for number, tokens in enumerate(options):
        node = root
        for token in tokens:
            node = node.following.setdefault(token, _Node(token, node.depth + 1))
        node.ended.append(number)
    return root
