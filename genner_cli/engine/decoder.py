"""One slot's constrained choice: logits in, the best legal token out, or one drawn from the legal ones.

A token is legal only if the source lock and llama.cpp's grammar sampler both accept it. The most probable
token is asked first, then the next few; all legal ones are listed only when those are illegal, or where an
entity is being decided, whose score needs its alternatives. Where only one continuation is legal it is taken
without logits (`force`), and `draft` says what probably comes next. The lock's half of this is `constrained`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping
from itertools import accumulate
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from genner_cli import locking
from genner_cli.constrained import Choice, ConstrainedCompletion
from genner_cli.engine import llama
from genner_cli.engine.drafting import LONGEST, NO_DRAFT, Cut, Draft
from genner_cli.engine.head import Row
from genner_cli.engine.model import Model, llama_errors
from genner_cli.engine.sampling import Sampler
from genner_cli.engine.statistics import Statistics
from genner_cli.errors import DataError, UsageError
from genner_cli.generation import Constraint, Request
from genner_cli.locking import Places

Logits = NDArray[np.float32]


class Grammar:
    """llama.cpp's grammar sampler for one GBNF; `clone` is cheap (llama_sampler_clone)."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._candidate = llama.llama_token_data()
        data = ctypes.pointer(self._candidate)
        self._array = llama.llama_token_data_array(data=data, size=1, selected=-1, sorted=False)
        self._pointer = ctypes.byref(self._array)

    @classmethod
    def compile(cls, model: Model, gbnf: str) -> Grammar:
        """Raises UsageError where llama.cpp cannot read the grammar."""
        with llama_errors() as errors:
            handle = llama.llama_sampler_init_grammar(llama.llama_model_get_vocab(model.handle), gbnf.encode(), b"root")
            if not handle:
                raise UsageError(f"llama.cpp cannot read the grammar: {'; '.join(errors)}")
        return cls(handle)

    def clone(self) -> Grammar:
        """A grammar in the same state."""
        return Grammar(llama.llama_sampler_clone(self._handle))

    def allows(self, id: int) -> bool:
        """Whether this token may come next (llama_sampler_apply on one candidate)."""
        self._candidate.id = id
        self._candidate.logit = 1.0
        llama.llama_sampler_apply(self._handle, self._pointer)
        return bool(self._candidate.logit == 1.0)

    def accept(self, id: int) -> None:
        """Moves on; only for a token that `allows`, else llama.cpp throws and ends the process."""
        llama.llama_sampler_accept(self._handle, id)

    def free(self) -> None:
        """Frees the sampler."""
        llama.llama_sampler_free(self._handle)


class Decoder(ConstrainedCompletion):
    """The constraint of one request, from an empty completion to a whole one."""

    def __init__(
        self, model: Model, request: Request, grammar: Grammar, room: int, statistics: Statistics | None = None
    ) -> None:
        """`room`: tokens that fit, at most; raises DataError where no completion fits into it."""
        self._model = model
        self._grammar = grammar
        self._statistics = statistics or Statistics()
        self._cut = Cut(model)
        self._sampler = Sampler(request.sampling) if request.sampling else None
        super().__init__(request, model, room)
        self.draft()  # what begins later is the end of this text, which is cut already

    def take(self, row: Row) -> int:
        """Chooses the next token and moves on. The row must be a whole array unless `few`."""
        self._forced.clear()
        return self._move(self._choose(row))

    def draft(self) -> Draft:
        """The tokens that probably come next, at most LONGEST, in the vocabulary's own cut.

        Without the last one: in its place a longer token may come, or nothing is left to be chosen behind it.
        """
        if self._constraint is not Constraint.SOURCE:
            return NO_DRAFT
        data, start, end = locking.likely(self._lock, self._places)
        try:
            ids = self._cut.ids(data, len(self._places[0].rest))[:-1][:LONGEST]
        except (UnicodeDecodeError, DataError):
            return NO_DRAFT
        if not ids or end <= start or (start == 0 and end == len(data)):
            return Draft(ids, [end > start] * len(ids))
        begins = accumulate((len(self._vocabulary.pieces[id] or b"") for id in ids[:-1]), initial=0)
        return Draft(ids, [start <= at < end for at in begins])

    @property
    def few(self) -> bool:
        """Whether the logits of the legal tokens are enough for every choice."""
        return self._constraint is Constraint.SOURCE

    def free(self) -> None:
        """Frees the grammar."""
        self._grammar.free()

    def _move(self, choice: Choice) -> int:
        if self._constraint is not Constraint.OFF:
            started = perf_counter()
            self._grammar.accept(choice.id)
            self._statistics.grammar_seconds += perf_counter() - started
        if choice.id in self._model.end_ids:
            self.done = True
            return choice.id
        return super()._move(choice)

    def _choose(self, row: Row) -> Choice:
        if not self.few:
            return self._choose_unlocked(np.asarray(row))
        values = self._values(row)
        return self._scored(*self._best_of(self._drawn_from(values)), values)

    def _allows(self, id: int) -> bool:
        started = perf_counter()
        allowed = self._grammar.allows(id)
        self._statistics.grammar_seconds += perf_counter() - started
        return allowed

    def _values(self, row: Row) -> dict[int, float]:
        """The logits of all legal tokens."""
        ids = list(self._legal())
        return dict(zip(ids, row[ids].tolist(), strict=True))

    def _drawn_from(self, values: Mapping[int, float]) -> Mapping[int, float]:
        """The same values by token, so changed that the highest is the one that is drawn."""
        if not self._sampler:
            return values
        logits, ids = np.fromiter(values.values(), np.float32), np.fromiter(values, np.int64)
        drawn = self._sampler.perturbed(logits, ids, len(self._written))
        return dict(zip(values, drawn.tolist(), strict=True))

    def _scored(self, id: int, places: Places, values: Mapping[int, float]) -> Choice:
        started = perf_counter()
        scored = super()._scored(id, places, values)
        self._statistics.scoring_seconds += perf_counter() - started
        return scored

    def _choose_unlocked(self, logits: Logits) -> Choice:
        """The best under the grammar alone, or under nothing; scores are against the whole vocabulary."""
        highest = float(logits.max())
        total = highest + float(np.log(np.exp(logits - highest).sum()))
        values = (
            self._sampler.perturbed(logits, np.arange(len(logits)), len(self._written)) if self._sampler else logits
        )
        for id in _best_first(values):
            writable = self._bytes_of(id) is not None or id in self._model.end_ids
            if writable and (self._constraint is Constraint.OFF or self._allows(id)):
                return Choice(id, self._places, float(logits[id]) - total)
        raise DataError("the grammar allows no token of the vocabulary; choose another --format")


def _best_first(values: NDArray[np.floating]) -> Iterator[int]:
    """Ids of tokens, the highest value first; sorted only if that one is not taken."""
    yield int(values.argmax())
    yield from map(int, np.argsort(-values, kind="stable"))
