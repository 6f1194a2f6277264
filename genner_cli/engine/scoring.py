"""Closed questions: the log-probability of each of several whole answers after a prompt.

Several questions are walked side by side in one context. The options of a question are a trie of tokens, of which each
node is decoded once: its row of logits gives the log-probabilities of what may follow it, over the whole vocabulary,
and of the end of the text. A whole option counts with its end, so that one that begins another is not favoured. Knows
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
from genner_cli.generation import Answer, Continuation, Question
from genner_cli.locking import follow


@dataclass(slots=True)
class _Node:
    """A token of one or more options, `depth` tokens after the prompt, and the options that end with it."""

    token: int
    depth: int
    log_probability: float = 0.0
    following: dict[int, _Node] = field(default_factory=dict)
    ended: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Forced:
    """A token of a continuation. `right`: the legal ones in its place that write what is asked for, that is itself and,
    at the end, those that write more behind it: `]` and `],`."""

    token: int
    right: Sequence[int]
    legal: Sequence[int]


@dataclass(slots=True)
class _Job:
    """A question in tokens, or what is wrong with it. `forced`: the tokens of a continuation."""

    number: int
    prompt: list[int] = field(default_factory=list)
    options: list[list[int]] = field(default_factory=list)
    whole: bool = True
    forced: list[_Forced] = field(default_factory=list)
    error: str | None = None

    @property
    def needed(self) -> int:
        """Tokens in the KV cache, at most."""
        return len(self.prompt) + max(map(len, self.options), default=0) + len(self.forced)


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
    rows_read: int = 0

    def outputs_since(self, start: int) -> int:
        """Rows of logits that the tokens from this position on give: one behind the prompt or an option's token, or one
        for each token of a continuation."""
        if self.job.forced:
            return max(0, self.position - max(start, self.prompt_end - 1))
        return int(not self.pending)

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

    def read_forced(self, rows: Sequence[NDArray[np.float32]]) -> None:
        """Takes rows of logits, one before each token of the continuation; the first also says how probable all other
        tokens are in its place."""
        for row in rows:
            forced = self.job.forced[self.rows_read]
            total = _sum(row, forced.legal)
            self.found[0] += _sum(row, forced.right) - total
            if not self.rows_read:
                self.found[1] = _sum(row, [id for id in forced.legal if id not in forced.right]) - total
            self.rows_read += 1

    def read(self, row: NDArray[np.float32], ends: Sequence[int]) -> None:
        """Takes what follows the last node: the next tokens of options, or their end."""
        logits = row.astype(np.float64)
        logs = logits - np.logaddexp.reduce(logits)
        whole = self.job.whole
        end = float(np.logaddexp.reduce(logs[list(ends)])) if whole and self.node.ended else 0.0
        self._found(self.node, end)
        for node in reversed(self.node.following.values()):
            node.log_probability = self.node.log_probability + float(logs[node.token])
            if whole or node.following:
                self.waiting.append(node)
            else:
                self._found(node)

    def _found(self, node: _Node, end: float = 0.0) -> None:
        for option in node.ended:
            self.found[option] = node.log_probability + end


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
            options = [self._model.prompt(option) for option in question.options]
            before, forced = self._under_lock(question.continuation) if question.continuation else ([], [])
        except DataError as error:
            return _Job(number, error=str(error))
        job = _Job(number, prompt + before, options, question.whole, forced)
        if not prompt:
            job.error = "the question is empty"
        elif job.needed > self._room:
            job.error = f"the question takes {job.needed} tokens, and {self._room} fit; choose a larger --context"
        return job

    def _under_lock(self, asked: Continuation) -> tuple[list[int], list[_Forced]]:
        """The tokens of what is written, and of what is asked for: those that have a byte of it."""
        lock, vocabulary = asked.lock.segmented(self._model.pieces), self._model.vocabulary
        canonical = None if lock.by_token else self._model.plain(asked.completion)
        start, stop = (len(asked.completion[:at].encode()) for at in (asked.start, asked.end))
        end = 0
        before: list[int] = []
        forced: list[_Forced] = []
        for id, _, places, _ in follow(asked.completion, lock, vocabulary, canonical, legal=False):
            data = vocabulary.bytes_of(id, lock) or b""
            begin, end = end, end + len(data)
            if end <= start:
                before.append(id)
                continue
            legal, right = vocabulary.legal(lock, places), [id]
            if end >= stop:
                needed = data[: stop - begin]
                right = [other for other in legal if (vocabulary.bytes_of(other, lock) or b"").startswith(needed)]
            forced.append(_Forced(id, right, legal))
            if end >= stop:
                break
        return before, forced

    def _fits(self, job: _Job) -> bool:
        return sum(walk.job.needed for walk in self._walks) + job.needed <= self._room

    def _start(self, job: _Job) -> None:
        sequence = self._free.pop()
        self._context.share_prefix(sequence)
        found = [0.0, float("-inf")] if job.forced else [float("-inf")] * len(job.options)
        start = self._prefix_length
        pending = job.prompt + [forced.token for forced in job.forced[:-1]]
        walk = _Walk(sequence, job, start + len(job.prompt), start, pending, _trie(job.options), found)
        self._walks.append(walk)

    def _step(self) -> Iterator[tuple[int, Answer]]:
        """One llama_decode."""
        room = self._context.capacity
        read: list[tuple[_Walk, int]] = []
        for walk in self._walks:
            if not room:
                break
            tokens = walk.next_tokens(self._context, room)
            start = walk.position
            walk.position += len(tokens)
            outputs = walk.outputs_since(start)
            self._context.add(tokens, start, walk.sequence, outputs=outputs)
            room -= len(tokens)
            read.append((walk, outputs))
        rows = self._context.decode()
        assert rows is not None, "what was reserved fits"
        yield from self._read(read, [np.asarray(row, np.float32) for row in rows])

    def _read(
        self, read: Sequence[tuple[_Walk, int]], rows: Sequence[NDArray[np.float32]]
    ) -> Iterator[tuple[int, Answer]]:
        """Takes the rows of each walk, in order, and ends those that are done."""
        at = 0
        for walk, outputs in read:
            if walk.job.forced:
                walk.read_forced(rows[at : at + outputs])
            elif outputs:
                walk.read(rows[at], self._model.end_ids)
            at += outputs
            if not walk.pending and not walk.waiting:
                self._drop(walk)
                yield walk.job.number, Answer(tuple(walk.found), len(walk.job.prompt))

    def _drop(self, walk: _Walk) -> None:
        self._context.forget(walk.sequence)
        self._walks.remove(walk)
        self._free.append(walk.sequence)


def _sum(row: NDArray[np.float32], ids: Sequence[int]) -> float:
    """The logarithm of the sum of what these logits are the logarithms of."""
    return float(np.logaddexp.reduce(row[list(ids)].astype(np.float64), initial=-np.inf))


def _trie(options: Sequence[Sequence[int]]) -> _Node:
    """The root, which stands for the prompt's last token."""
    root = _Node(-1, 0)
    for number, tokens in enumerate(options):
        node = root
        for token in tokens:
            node = node.following.setdefault(token, _Node(token, node.depth + 1))
        node.ended.append(number)
    return root
