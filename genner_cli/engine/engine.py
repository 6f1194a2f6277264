"""Continuous batching: requests in, completions out as they finish.

Every `llama_decode` carries one new token of each running slot and as many prompt tokens of the next
ones as fit. A slot that is done takes the next request at once. Knows nothing of labels or documents.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from genner_cli.engine.context import PREFIX, Context
from genner_cli.engine.decoder import Decoder, Grammar, Logits
from genner_cli.engine.model import Model
from genner_cli.errors import DataError, GennerError, UsageError
from genner_cli.generation import Completion, EngineOptions, Request
from genner_cli.types import Piece


@dataclass(slots=True)
class _Job:
    """A request with its tokens; started again from here if it has to make room."""

    number: int
    request: Request
    prompt: list[int]


@dataclass(slots=True)
class _Slot:
    """A running sequence: prompt tokens still to be decoded, or the next token to be."""

    sequence: int
    job: _Job
    decoder: Decoder
    position: int
    pending: deque[int] = field(default_factory=deque)


class Engine:
    """Runs requests on one model. `close` frees what llama.cpp holds; also a context manager."""

    def __init__(self, model: Model, options: EngineOptions) -> None:
        self._model = model
        self._context = Context(model, options, options.threads or os.cpu_count() or 1)
        self._options = options
        self._slots: list[_Slot] = []
        self._free = list(range(options.slots, 0, -1))
        self._prefix: tuple[Piece, ...] | None = None
        self._prefix_length = 0
        self._grammars: dict[str, Grammar] = {}
        self.tokens_decoded = 0

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Frees the context and the grammars; the model stays loaded."""
        self._drop_all()
        for grammar in self._grammars.values():
            grammar.free()
        self._grammars.clear()
        self._context.close()

    def generate(self, requests: Iterable[Request | None]) -> Iterator[tuple[int, Completion]]:
        """Completions with the numbers (from 0) of their requests, in the order they finish.

        Requests are drawn only when a slot is free, and start in order; None is answered at once by an
        empty completion. A request that cannot be done
        gives a completion with `error`. Raises UsageError for a grammar that llama.cpp cannot read.
        """
        source = enumerate(requests)
        waiting: deque[_Job] = deque()
        exhausted = False
        try:
            while True:
                yield from self._admit(waiting)
                while self._free and not waiting and not exhausted:
                    number, request = next(source, (-1, None))
                    exhausted = number < 0
                    if request:
                        waiting.append(_Job(number, request, self._model.prompt(request.rest)))
                        yield from self._admit(waiting)
                    elif not exhausted:
                        yield number, Completion("")
                        break  # so that many of them do not hold up the slots
                if self._slots:
                    yield from self._step(waiting)
                elif exhausted and not waiting:
                    return
        finally:
            self._drop_all()

    def _admit(self, waiting: deque[_Job]) -> Iterator[tuple[int, Completion]]:
        """Starts waiting jobs while there is a slot and room for what they will probably need."""
        while waiting and self._free:
            job = waiting[0]
            if job.request.prefix != self._prefix:
                if self._slots:
                    return
                self._read_prefix(job.request.prefix)
            if self._slots and self._cells() + self._expected(job) > self._options.context:
                return
            waiting.popleft()
            try:
                self._start(job)
            except DataError as error:
                yield job.number, Completion("", prompt_tokens=len(job.prompt), error=str(error))

    def _cells(self) -> int:
        """KV cells that the running slots will probably fill, or hold already if that is more, with the prefix."""
        held = ((slot, slot.position - self._prefix_length + len(slot.pending)) for slot in self._slots)
        return self._prefix_length + sum(max(self._expected(slot.job), cells) for slot, cells in held)

    @staticmethod
    def _expected(job: _Job) -> int:
        return 2 * len(job.prompt) + len(job.prompt) // 2 + 16

    def _start(self, job: _Job) -> None:
        limit = min(self._options.context, self._model.trained_context)
        room = limit - self._prefix_length - len(job.prompt)
        grammar = self._grammar(job.request.grammar)
        try:
            decoder = Decoder(self._model, job.request, grammar, room)
        except GennerError:
            grammar.free()
            raise
        sequence = self._free.pop()
        self._context.share_prefix(sequence)
        self._slots.append(_Slot(sequence, job, decoder, self._prefix_length, deque(job.prompt)))

    def _grammar(self, gbnf: str) -> Grammar:
        """A fresh grammar sampler; each GBNF is read once and cloned."""
        if gbnf not in self._grammars:
            self._grammars[gbnf] = Grammar.compile(self._model, gbnf)
        return self._grammars[gbnf].clone()

    def _read_prefix(self, prefix: tuple[Piece, ...]) -> None:
        ids = self._model.begin_ids + self._model.prompt(prefix)
        if len(ids) >= self._options.context:
            raise UsageError(f"the labels take {len(ids)} tokens; ask for fewer or choose a larger --context")
        self._context.forget(PREFIX)
        for start in range(0, len(ids), self._context.capacity):
            part = ids[start : start + self._context.capacity]
            for position, id in enumerate(part, start):
                self._context.add(id, position, PREFIX, output=False)
            self._context.decode()
        self._prefix, self._prefix_length = prefix, len(ids)

    def _step(self, waiting: deque[_Job]) -> Iterator[tuple[int, Completion]]:
        """One llama_decode and a choice for every slot whose prompt it completes."""
        chosen = self._fill()
        decoded = self._context.filled
        logits = self._context.decode()
        if logits is None:
            self._make_room(waiting)
            return
        self.tokens_decoded += decoded
        for slot, count in chosen:
            for _ in range(count):
                slot.pending.popleft()
            slot.position += count
        ready = [slot for slot, _ in chosen if not slot.pending]
        for slot, row in zip(ready, logits, strict=True):
            completion = self._advance(slot, row)
            if completion:
                yield slot.job.number, completion

    def _fill(self) -> list[tuple[_Slot, int]]:
        """Fills the batch: running slots first, then prompts in order. Gives tokens taken by slot."""
        chosen = []
        for slot in sorted(self._slots, key=lambda slot: len(slot.pending) > 1):
            count = min(len(slot.pending), self._context.capacity - self._context.filled)
            for offset in range(count):
                last = offset + 1 == len(slot.pending)
                self._context.add(slot.pending[offset], slot.position + offset, slot.sequence, output=last)
            if count:
                chosen.append((slot, count))
        return chosen

    def _advance(self, slot: _Slot, logits: Logits) -> Completion | None:
        try:
            slot.pending.append(slot.decoder.take(logits))
        except DataError as error:
            completion = Completion("", prompt_tokens=len(slot.job.prompt), error=str(error))
        else:
            if not slot.decoder.done:
                return None
            completion = slot.decoder.completion(len(slot.job.prompt))
        self._drop(slot)
        return completion

    def _make_room(self, waiting: deque[_Job]) -> None:
        """Puts the youngest slot's job back; greedy decoding will write the same again."""
        if len(self._slots) < 2:
            raise DataError("the KV cache is too small for one document; choose a larger --context")
        slot = self._slots[-1]
        waiting.appendleft(slot.job)
        self._drop(slot)

    def _drop(self, slot: _Slot) -> None:
        slot.decoder.free()
        self._context.forget(slot.sequence)
        self._slots.remove(slot)
        self._free.append(slot.sequence)

    def _drop_all(self) -> None:
        for slot in list(self._slots):
            self._drop(slot)
