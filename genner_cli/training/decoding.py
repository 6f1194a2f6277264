"""A transformers model as an engine: requests in, completions out, as `engine.Engine` would write them.

Decodes greedily under the source lock, several sequences side by side on one KV cache. Knows nothing of labels
and documents, but for `evaluate`, which runs extraction on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby

import torch
from transformers import DynamicCache, PreTrainedModel

from genner_cli.constrained import ConstrainedCompletion
from genner_cli.engine.statistics import Costs, Statistics
from genner_cli.errors import DataError, UsageError
from genner_cli.generation import Completion, Constraint, Request
from genner_cli.prompting import Instructions
from genner_cli.running.backend import ModelFacts, OpenedEngine, extractions
from genner_cli.running.spec import RunSpec
from genner_cli.running.task import make_task
from genner_cli.scoring import Scores, score
from genner_cli.training.head import logits_of
from genner_cli.training.tokens import Tokens
from genner_cli.training.virtual_tokens import ids_of, inputs, virtual_tokens
from genner_cli.types import Document, Piece

WINDOW = 8
"""Batches of requests that are drawn at once and sorted by length, so that those of a batch end at about one time."""


def evaluate(backend: TorchBackend, documents: Iterable[Document], spec: RunSpec) -> Scores:
    """Strict scores of what the model extracts against the documents' own entities.

    A document that fails counts as one in which nothing was found.
    """
    with backend.open(spec) as opened:
        found = list(extractions(opened, documents))
    return score((e.document.entities, e.entities) for e in found if isinstance(e.document, Document))


class TorchBackend:
    """A transformers model in memory as a backend (`running.backend`), asked as its instructions say."""

    def __init__(self, model: PreTrainedModel, tokens: Tokens, instructions: Instructions, *, batch: int = 8) -> None:
        """`batch`: sequences side by side."""
        self._model = model
        self._tokens = tokens
        self._instructions = instructions
        self._batch = batch

    @contextmanager
    def open(self, spec: RunSpec, /) -> Iterator[OpenedEngine]:
        """The model in evaluation mode; afterwards it is in the mode it was in. Raises UsageError for labels that it
        does not know, where the spec is strict about them."""
        engine = TorchEngine(self._model, self._tokens, batch=self._batch)
        task = make_task(spec, self._instructions, context=engine.context, prefix_tokens=engine.prefix_tokens)
        training = self._model.training
        self._model.eval()
        try:
            yield OpenedEngine(ModelFacts(task, context=engine.context), engine)
        finally:
            self._model.train(training)


class TorchDecoder(ConstrainedCompletion):
    """One sequence's greedy choice among the legal tokens, as `engine.decoder.Decoder` makes it.

    Unlike there, the completion's margin is that of every choice.
    """

    def __init__(self, request: Request, tokens: Tokens, room: int) -> None:
        """`room`: tokens that fit, at most. Raises DataError where no completion fits into it, UsageError for another
        constraint than "source" and where the vocabulary lacks the format's markup."""
        if request.constraint is not Constraint.SOURCE or request.sampling:
            raise UsageError(
                f"constraint {request.constraint}: transformers models decode with 'source' only, greedily"
            )
        super().__init__(request, tokens, room)

    @property
    def legal(self) -> list[int]:
        """The tokens that may come next, in order; empty where the vocabulary lacks what must."""
        return list(self._legal())

    def take(self, logits: Sequence[float]) -> int:
        """Chooses among the legal tokens, whose logits these are, and moves on. Raises DataError if there are none."""
        values = dict(zip(self._legal(), logits, strict=True))
        choice = self._scored(*self._best_of(values), values)
        self._forced.clear()
        return self._move(choice)


@dataclass(slots=True)
class _Row:
    """A request in progress; `pending`: tokens that are still to be fed, of the prompt or chosen."""

    number: int
    prefix: tuple[Piece, ...]
    prompt_tokens: int
    pending: list[int]
    decoder: TorchDecoder


class TorchEngine:
    """Runs requests on one decoder in evaluation mode; `generate` is a `generation.Generate`."""

    def __init__(self, model: PreTrainedModel, tokens: Tokens, *, batch: int = 8) -> None:
        """`batch`: sequences side by side."""
        self._model = model
        self._tokens = tokens
        self._batch = batch
        self.context: int = model.config.get_text_config().max_position_embeddings
        self.statistics = Statistics()
        self.costs = Costs(0.0, 0.0)

    def prefix_tokens(self, prefix: tuple[Piece, ...]) -> int:
        """The tokens of a prompt's fixed part."""
        return len(self._prefix_ids(prefix))

    def generate(self, requests: Iterable[Request], /) -> Iterator[tuple[int, Completion]]:
        """Completions with the numbers (from 0) of their requests, in the order they finish.

        A request that cannot be done gives a completion with `error`. Raises UsageError for another constraint than
        "source", and where the vocabulary lacks a format's markup.
        """
        waiting: list[_Row] = []
        for number, request in enumerate(requests):
            try:
                waiting.append(self._start(number, request))
            except DataError as error:
                yield number, Completion("", error=str(error))
            if len(waiting) == WINDOW * self._batch:
                yield from self._run(waiting)
                waiting = []
        yield from self._run(waiting)

    def _start(self, number: int, request: Request) -> _Row:
        prefix, rest = self._prefix_ids(request.prefix), self._tokens.prompt(request.rest)
        decoder = TorchDecoder(request, self._tokens, self.context - len(prefix) - len(rest))
        self.statistics.requests += 1
        self.statistics.prompt += len(rest)
        return _Row(number, request.prefix, len(rest), rest + _forced(decoder), decoder)

    def _prefix_ids(self, prefix: tuple[Piece, ...]) -> list[int]:
        rows = virtual_tokens(self._model)
        return self._tokens.begins + self._tokens.prompt(prefix) + ids_of(0 if rows is None else len(rows))

    def _run(self, rows: Iterable[_Row]) -> Iterator[tuple[int, Completion]]:
        """All completions; the prefix that requests in a row have in common is fed once."""
        for prefix, same in groupby(rows, key=lambda row: row.prefix):
            first = _Sequences.of(self._model, self._prefix_ids(prefix))
            ordered = sorted(same, key=lambda row: -len(row.pending))
            for start in range(0, len(ordered), self._batch):
                yield from self._run_batch(first, ordered[start : start + self._batch])

    def _run_batch(self, first: _Sequences, rows: list[_Row]) -> Iterator[tuple[int, Completion]]:
        sequences = first.repeated(len(rows))
        going = [at for at, row in enumerate(rows) if not row.decoder.done]
        yield from (self._finished(row) for row in rows if row.decoder.done)
        while going:
            sequences.keep(going)
            rows = [rows[at] for at in going]
            states = sequences.feed([row.pending for row in rows])
            going = []
            for at, logits in enumerate(_logits(self._model, states, [row.decoder.legal for row in rows])):
                row = rows[at]
                try:
                    row.pending = [row.decoder.take(logits), *_forced(row.decoder)]
                except DataError as error:
                    yield row.number, Completion("", prompt_tokens=row.prompt_tokens, error=str(error))
                    continue
                if row.decoder.done:
                    yield self._finished(row)
                else:
                    going.append(at)

    def _finished(self, row: _Row) -> tuple[int, Completion]:
        completion = row.decoder.completion(row.prompt_tokens)
        self.statistics.written += len(completion.ends)
        return row.number, completion


def _forced(decoder: TorchDecoder) -> list[int]:
    """Moves on over the tokens that need no logits."""
    return list(iter(decoder.force, None))


class _Sequences:
    """Sequences side by side in one KV cache.

    Each sequence is `lengths[at]` cells in a row that end before `ends[at]`. Before tokens are fed, all are moved to
    the end of the cache, so that what is fed follows without a gap: attention that looks back a certain number of
    cells (sliding windows) sees the tokens that it should.
    """

    def __init__(self, model: PreTrainedModel, cache: DynamicCache, lengths: list[int]) -> None:
        self._model = model
        self._cache = cache
        self._lengths = lengths
        self._ends = lengths.copy()

    @classmethod
    def of(cls, model: PreTrainedModel, ids: list[int]) -> _Sequences:
        """One sequence. The cache is made without the model's config: no layer then forgets what is behind its window
        before the sequences are moved."""
        sequences = cls(model, DynamicCache(), [0])
        if ids:
            sequences.feed([ids])
        return sequences

    @torch.inference_mode()
    def repeated(self, count: int) -> _Sequences:
        """As many copies of the first sequence; it stays as it is."""
        cache = DynamicCache()
        for number, layer in enumerate(self._cache.layers):
            cache.update(layer.keys.expand(count, -1, -1, -1), layer.values.expand(count, -1, -1, -1), number)
        return _Sequences(self._model, cache, self._lengths * count)

    @torch.inference_mode()
    def keep(self, rows: Sequence[int]) -> None:
        """Forgets all other sequences, and moves these to the end of the cache."""
        longest = max(self._lengths[row] for row in rows)
        if len(rows) < len(self._ends) or any(end != self._cache.get_seq_length() for end in self._ends):
            first = torch.tensor([[self._ends[row] - longest] for row in rows], device=self._model.device)
            cells = (first + torch.arange(longest, device=self._model.device)).clamp(min=0)[:, None, :, None]
            for layer in self._cache.layers:
                layer.keys = layer.keys[list(rows)].take_along_dim(cells, dim=2)
                layer.values = layer.values[list(rows)].take_along_dim(cells, dim=2)
            self._lengths = [self._lengths[row] for row in rows]
            self._ends = [longest] * len(rows)

    @torch.inference_mode()
    def feed(self, tokens: Sequence[list[int]]) -> torch.Tensor:
        """Decodes tokens behind each sequence; gives the hidden state (sequences, width) of the last of each."""
        most, past, device = max(map(len, tokens)), self._cache.get_seq_length(), self._model.device
        counts = torch.tensor([len(ids) for ids in tokens], device=device)[:, None]
        lengths = torch.tensor(self._lengths, device=device)[:, None]
        cells, new = torch.arange(past + most, device=device), torch.arange(most, device=device)
        hidden = self._model.get_decoder()(
            **inputs(self._model, torch.tensor([ids + [0] * (most - len(ids)) for ids in tokens], device=device)),
            attention_mask=cells >= past - lengths,
            position_ids=lengths + torch.minimum(new, counts - 1),
            past_key_values=self._cache,
            use_cache=True,
        ).last_hidden_state
        self._lengths = [length + len(ids) for length, ids in zip(self._lengths, tokens, strict=True)]
        self._ends = [past + len(ids) for ids in tokens]
        states: torch.Tensor = hidden[torch.arange(len(tokens), device=device), counts[:, 0] - 1]
        return states


@torch.inference_mode()
def _logits(model: PreTrainedModel, states: torch.Tensor, legal: Sequence[list[int]]) -> list[list[float]]:
    """The logits of each sequence's legal tokens; states: (sequences, width)."""
    most = max(1, *map(len, legal))
    ids = torch.tensor([[*row, *[0] * (most - len(row))] for row in legal], device=states.device)
    found = logits_of(model, states, ids).tolist()
    return [row[: len(ids)] for row, ids in zip(found, legal, strict=True)]
