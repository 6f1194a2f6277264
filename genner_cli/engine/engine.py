"""Continuous batching: requests in, completions out as they finish.

Every `llama_decode` carries the new tokens of each running slot, tokens that it will probably choose next
(`drafting`), and as many prompt tokens of the next slots as fit. A slot that is done takes the next request at
once. Knows nothing of labels or documents.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from time import perf_counter

from genner_cli.engine.context import PREFIX, Context
from genner_cli.engine.decoder import Decoder, Grammar
from genner_cli.engine.drafting import Acceptance, StepCosts, lengths
from genner_cli.engine.head import Row
from genner_cli.engine.invariance import invariance
from genner_cli.engine.model import Model
from genner_cli.engine.reading import read
from genner_cli.engine.scoring import Scorer
from genner_cli.engine.slot import Job, Slot
from genner_cli.engine.statistics import Costs, Statistics
from genner_cli.engine.step_times import clock_of, step_times
from genner_cli.errors import DataError, GennerError, UsageError
from genner_cli.generation import OUT_OF_TIME, Answer, Completion, EngineOptions, Question, Reading, Request
from genner_cli.types import Piece

GRAMMARS = 256
"""Grammars that are kept compiled, where each document may ask for other labels."""


class Engine:
    """Runs requests on one model. `close` frees what llama.cpp holds; also a context manager."""

    def __init__(self, model: Model, options: EngineOptions) -> None:
        self._model = model
        threads = options.thread_count
        self.invariance = invariance(model, options, threads)
        self._context = Context(model, options, threads, self.invariance.rows)
        self._options = options
        self._slots: list[Slot] = []
        self._free = list(range(options.slots, 0, -1))
        self._prefix: tuple[Piece, ...] | None = None
        self._prefix_length = 0
        self._grammars: dict[str, Grammar] = {}
        self._clock = clock_of(options, threads)
        times = step_times(model, options, threads, self.invariance.rows)
        self._costs = StepCosts(times, self._context.capacity)
        self._acceptance = Acceptance(model.vocabulary.pieces)
        self._running = False
        self.statistics = Statistics()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def costs(self) -> Costs:
        """What a step costs, as far as measured."""
        return Costs(self._costs.row, self._costs.cell)

    def close(self) -> None:
        """Frees the context and the grammars; the model stays loaded."""
        self._drop_all()
        for grammar in self._grammars.values():
            grammar.free()
        self._grammars.clear()
        self._context.close()

    def generate(self, requests: Iterable[Request]) -> Iterator[tuple[int, Completion]]:
        """Completions with the numbers (from 0) of their requests, in the order they finish.

        Requests are drawn only when a slot is free, and start in order. A request that cannot be done gives a
        completion with `error`. Raises UsageError for a grammar that llama.cpp cannot read, and while an earlier run on
        this engine is neither finished nor closed.
        """
        with self._occupied():
            source = enumerate(requests)
            waiting: deque[Job] = deque()
            exhausted = False
            while True:
                yield from self._admit(waiting)
                while self._free and not waiting and not exhausted:
                    number, request = next(source, (-1, None))
                    exhausted = request is None
                    if request:
                        try:
                            waiting.append(Job(number, request, self._model.prompt(request.rest)))
                        except DataError as error:
                            yield number, Completion("", error=str(error))
                        yield from self._admit(waiting)
                if self._slots:
                    yield from self._step(waiting)
                elif exhausted and not waiting:
                    return

    def score(self, questions: Iterable[Question]) -> Iterator[tuple[int, Answer]]:
        """Answers with the numbers (from 0) of their questions, in the order they finish.

        Questions with one prefix that follow each other share it. Raises UsageError while another run is under way.
        """
        with self._occupied():
            for prefix, group in groupby(enumerate(questions), key=lambda numbered: numbered[1].prefix):
                self._read_prefix(prefix)
                yield from Scorer(self._model, self._context, self._free, self._prefix_length, self._room).run(group)

    def read(self, readings: Iterable[Reading]) -> Iterator[tuple[tuple[float, ...], ...]]:
        """The log-probabilities (nats) of each reading's legal ids among those beside them, in order.

        Readings with one prefix that follow each other share it. Raises UsageError while another run is under way, and
        DataError for a reading that does not fit into the context.
        """
        with self._occupied():
            for reading in readings:
                self._read_prefix(reading.prefix)
                yield read(self._model, self._context, self._free[-1], self._prefix_length, self._room, reading)

    @contextmanager
    def _occupied(self) -> Iterator[None]:
        """One run at a time; whatever is left of it is dropped."""
        if self._running:
            raise UsageError("the engine is still at work on other requests; finish or close that run first")
        self._running = True
        try:
            yield
        finally:
            self._drop_all()
            self._running = False

    def _admit(self, waiting: deque[Job]) -> Iterator[tuple[int, Completion]]:
        """Starts waiting jobs while there is a slot and room for what they will probably need."""
        while waiting and self._free:
            job = waiting[0]
            if self._slots and (job.request.prefix != self._prefix or not self._has_room(job)):
                return
            self._read_prefix(job.request.prefix)
            waiting.popleft()
            try:
                slot = self._start(job)
            except DataError as error:
                yield job.number, Completion("", prompt_tokens=len(job.prompt), error=str(error))
            else:
                if slot.decoder.done:
                    yield self._finish(slot)

    def _has_room(self, job: Job) -> bool:
        """Whether the cache can hold one job more, and the others would not be held up by its cells."""
        needed, cells = job.expected_cells, self._cells()
        if cells + needed > self._options.context:
            return False
        cells -= self._prefix_length
        return self._costs.slot_pays(len(self._slots), cells, needed, self.statistics.width)

    def _cells(self) -> int:
        """KV cells that the running slots will probably fill, or hold already if that is more, with the prefix."""
        held = ((slot, slot.position - self._prefix_length + len(slot.pending)) for slot in self._slots)
        return self._prefix_length + sum(max(slot.job.expected_cells, cells) for slot, cells in held)

    def _held(self) -> int:
        """KV cells in use."""
        return self._prefix_length + sum(slot.position - self._prefix_length for slot in self._slots)

    def _others(self, taken: Sequence[tuple[Slot, int]]) -> int:
        """Cells of other slots, summed over the tokens of a step."""
        held = self._held()
        return sum((count + slot.drafted) * (held - slot.position) for slot, count in taken)

    def _start(self, job: Job) -> Slot:
        room = self._room - len(job.prompt)
        grammar = self._grammar(job.request.grammar)
        try:
            decoder = Decoder(self._model, job.request, grammar, room, self.statistics)
        except GennerError:
            grammar.free()
            raise
        sequence = self._free.pop()
        self._context.share_prefix(sequence)
        slot = Slot(sequence, job, decoder, self._prefix_length, self._acceptance, self.statistics)
        self._slots.append(slot)
        self.statistics.requests += 1
        self.statistics.prompt += len(job.prompt)
        self.statistics.retrieved += len(self._model.prompt(job.request.rest[: job.request.retrieved]))
        self.statistics.hints += len(self._model.prompt(job.request.rest[-2:-1])) if job.request.hinted else 0
        self.statistics.reused += self._prefix_length
        return slot

    def _grammar(self, gbnf: str) -> Grammar:
        """A fresh grammar sampler; each GBNF is read once and cloned, but for those that were needed long ago."""
        if gbnf not in self._grammars:
            if len(self._grammars) == GRAMMARS:
                self._grammars.pop(next(iter(self._grammars))).free()
            self._grammars[gbnf] = Grammar.compile(self._model, gbnf)
        return self._grammars[gbnf].clone()

    @property
    def _room(self) -> int:
        """Tokens that a sequence may have behind the prefix."""
        return self._longest - self._prefix_length

    @property
    def _longest(self) -> int:
        """Tokens of the longest sequence."""
        return min(self._options.context, self._model.trained_context)

    def _read_prefix(self, prefix: tuple[Piece, ...]) -> None:
        """Decodes a prefix into the sequence that the others share, unless it stands there already."""
        if prefix == self._prefix:
            return
        ids, virtual = self._model.prefix_ids(prefix), self._model.virtual_tokens
        length = self._model.prefix_length(prefix)
        if length >= self._longest:
            raise UsageError(
                f"instruction, labels and examples take {length:,} tokens of {self._longest:,}; shorten them, or choose"
                " a larger --context if the model allows it"
            )
        self._context.forget(PREFIX)
        started = perf_counter()
        for start in range(0, len(ids), self._context.capacity):
            part = ids[start : start + self._context.capacity]
            self._context.add(part, start, PREFIX, outputs=0)
            self._context.decode()
        for start in range(0, len(virtual), self._context.capacity):
            rows = virtual[start : start + self._context.capacity]
            self._context.decode_embeddings(rows, len(ids) + start, PREFIX)
        self.statistics.decode_seconds += perf_counter() - started
        self._prefix, self._prefix_length = prefix, length
        self.statistics.prefix += length

    def _step(self, waiting: deque[Job]) -> Iterator[tuple[int, Completion]]:
        """One llama_decode, and all choices that it allows."""
        began = self._clock()
        taken = self._fill()
        tokens, others = self._context.filled, self._others(taken)
        started = perf_counter()
        logits = self._context.decode()
        if logits is None:
            yield from self._make_room(waiting)
            if self._slots:
                yield from self._step(waiting)  # before anybody is let in again, so that the others get on
            return
        self._costs.note(tokens, len(logits), others, self._clock() - began)
        self.statistics.note_step(tokens, len(logits), others, perf_counter() - started)
        row = 0
        for slot, count in taken:
            slot.decoded(count)
            if not slot.pending:
                rows, row = logits[row : row + 1 + slot.drafted], row + 1 + slot.drafted
                yield from self._advance(slot, rows)
        for slot in [slot for slot in self._slots if slot.out_of_time]:
            yield self._finish(slot, OUT_OF_TIME)

    def _fill(self) -> list[tuple[Slot, int]]:
        """Fills the batch: slots with the fewest tokens to decode first, then drafts. Gives tokens taken by slot."""
        room = max(self._costs.best_size, min(len(self._slots), self._context.capacity))
        taken = []
        for slot in sorted(self._slots, key=lambda slot: len(slot.pending)):
            count = min(len(slot.pending), room)
            room -= count
            if count:
                taken.append((slot, count))
        pending = sum(count for _, count in taken)
        self._draft([slot for slot, count in taken if count == len(slot.pending)], pending, room)
        for slot, count in taken:
            if count == len(slot.pending):
                outputs, few = 1 + slot.drafted, slot.decoder.few
                self._context.add(slot.to_decode, slot.position, slot.sequence, outputs, few=few)
            else:
                self._context.add(slot.pending[:count], slot.position, slot.sequence, outputs=0)
        return taken

    def _draft(self, slots: list[Slot], pending: int, room: int) -> None:
        """Decides for each slot how much of its draft is decoded along; nothing where a wrong one could not be taken
        back. `pending`: tokens of the step so far."""
        if self._model.recurrent:
            return
        held, waiting = self._held(), sum(len(slot.pending) for slot in self._slots)
        room = max(0, min(room, self._options.context - held - waiting))
        chances = [slot.look_ahead() for slot in slots]
        others = held * (len(slots) - 1) // max(1, len(slots))
        for slot, count in zip(slots, lengths(chances, self._costs, pending, room, others), strict=True):
            slot.drafted = count

    def _advance(self, slot: Slot, rows: Sequence[Row]) -> Iterator[tuple[int, Completion]]:
        """Chooses a token for each row, as far as the draft is right: 1 + drafted of them."""
        started = perf_counter()
        self.statistics.advances += 1
        error = None
        try:
            if not slot.choose(rows):
                self._context.forget(slot.sequence, slot.position)
        except DataError as refusal:
            error = str(refusal)
        self.statistics.choosing_seconds += perf_counter() - started
        if error or slot.decoder.done:
            yield self._finish(slot, error)

    def _make_room(self, waiting: deque[Job]) -> Iterator[tuple[int, Completion]]:
        """Puts the youngest slot's job back; greedy or drawn by seed, it writes the same again. The last one fails."""
        slot = self._slots[-1]
        if len(self._slots) == 1:
            yield self._finish(slot, "the KV cache is too small for this document; choose a larger --context")
        else:
            waiting.appendleft(slot.job)
            self._drop(slot)

    def _finish(self, slot: Slot, error: str | None = None) -> tuple[int, Completion]:
        """Frees the slot and gives what came of its request."""
        prompt_tokens = len(slot.job.prompt)
        failed = Completion("", prompt_tokens=prompt_tokens, error=error)
        completion = failed if error else slot.decoder.completion(prompt_tokens)
        self.statistics.written += len(completion.ends)
        self._drop(slot)
        return slot.job.number, completion

    def _drop(self, slot: Slot) -> None:
        slot.decoder.free()
        self._context.forget(slot.sequence)
        self._slots.remove(slot)
        self._free.append(slot.sequence)

    def _drop_all(self) -> None:
        for slot in list(self._slots):
            self._drop(slot)
