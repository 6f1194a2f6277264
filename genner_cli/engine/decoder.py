"""One slot's constrained greedy choice: logits in, the best legal token out.

A token is legal only if the source lock and llama.cpp's grammar sampler both accept it. The most probable
token is asked first, then the next few; all legal ones are listed only when those are illegal, or where an
entity is being decided, whose score needs its alternatives.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from itertools import chain
from typing import NamedTuple

import llama_cpp as llama
import numpy as np
from numpy.typing import NDArray

from genner_cli import locking
from genner_cli.engine.model import Model, llama_errors
from genner_cli.errors import DataError, UsageError
from genner_cli.generation import Completion, Constraint, Request
from genner_cli.locking import Places

Logits = NDArray[np.float32]

FIRST_FEW = 8
CLOSE_CALL = 0.5
"""Where the best token leads the second by less, the margin among legal tokens is looked at (logits)."""


class Grammar:
    """llama.cpp's grammar sampler for one GBNF; `clone` is cheap (llama_sampler_clone)."""

    def __init__(self, handle: llama.llama_sampler_p) -> None:
        self._handle = handle
        self._candidate = (llama.llama_token_data * 1)()
        self._array = llama.llama_token_data_array(data=self._candidate, size=1, selected=-1, sorted=False)
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
        self._candidate[0].id = id
        self._candidate[0].logit = 1.0
        llama.llama_sampler_apply(self._handle, self._pointer)
        return bool(self._candidate[0].logit == 1.0)

    def accept(self, id: int) -> None:
        """Moves on; only for a token that `allows`, else llama.cpp throws and ends the process."""
        llama.llama_sampler_accept(self._handle, id)

    def free(self) -> None:
        """Frees the sampler."""
        llama.llama_sampler_free(self._handle)


class Choice(NamedTuple):
    """A chosen token; the places after it under the lock; its log-probability where it was asked for."""

    id: int
    places: Places
    log_probability: float | None


class Decoder:
    """The constraint of one request, from an empty completion to a whole one."""

    def __init__(self, model: Model, request: Request, grammar: Grammar, room: int) -> None:
        """`room`: the most tokens that fit; raises DataError where no completion fits into it."""
        self._model = model
        self._vocabulary = model.vocabulary
        self._constraint = request.constraint
        self._grammar = grammar
        self._lock = request.lock.segmented(model.pieces)
        self._places = locking.begin(self._lock)
        needed = locking.remaining(self._lock, self._places)
        if needed > room:
            raise DataError(
                f"the text needs up to {needed} tokens and {room} fit;"
                " choose a larger --context, shorter chunks, or another output format"
            )
        if self._lock.markup - self._vocabulary.added.keys():
            raise UsageError("the model has no markup tokens for this output format; choose another --format")
        self._tokens_left = min(room, needed + request.allowance)
        self._written: list[bytes] = []
        self._log_probabilities: list[float | None] = []
        self._margin = float("inf")
        self.done = self._is_whole()

    def take(self, logits: Logits) -> int:
        """Chooses the next token and moves on. logits: (vocabulary,)."""
        choice = self._choose(logits)
        self._tokens_left -= 1
        self._places = choice.places
        if self._constraint is not Constraint.OFF:
            self._grammar.accept(choice.id)
        if choice.id in self._model.end_ids:
            self.done = True
            return choice.id
        self._written.append(self._bytes_of(choice.id) or b"")
        self._log_probabilities.append(choice.log_probability)
        self.done = self._is_whole()
        return choice.id

    def completion(self, prompt_tokens: int) -> Completion:
        """What was written so far."""
        ends, end = [], 0
        for piece in self._written:
            end += len(piece)
            ends.append(end)
        text = b"".join(self._written).decode(errors="replace")
        return Completion(text, tuple(ends), tuple(self._log_probabilities), prompt_tokens, self._margin)

    def free(self) -> None:
        """Frees the grammar."""
        self._grammar.free()

    def _is_whole(self) -> bool:
        if self._constraint is Constraint.SOURCE:
            return locking.finished(self._lock, self._places)
        return self._tokens_left <= 0

    def _bytes_of(self, id: int) -> bytes | None:
        return self._vocabulary.bytes_of(id, self._lock)

    def _choose(self, logits: Logits) -> Choice:
        if self._constraint is not Constraint.SOURCE:
            return self._choose_unlocked(logits)
        if self._lock.by_token:
            legal = self._legal()
            return self._scored(self._first_legal(self._by_logit(logits, legal)), logits, legal)
        choice = self._probable(logits) or self._first_legal(self._by_logit(logits, self._legal()))
        if locking.inside(self._lock, self._places) or locking.inside(self._lock, choice.places):
            return self._scored(choice, logits, self._legal())
        return choice

    def _probable(self, logits: Logits) -> Choice | None:
        """The most probable token if it is legal, else the first legal one of the next few."""
        best = int(logits.argmax())
        choice = self._if_legal(best)
        if choice is None:
            few = min(FIRST_FEW, len(logits))
            candidates = np.argpartition(logits, -few)[-few:].tolist()
            return next((found for id in self._by_logit(logits, candidates) if (found := self._if_legal(id))), None)
        highest, logits[best] = logits[best], -np.inf
        second, logits[best] = logits.max(), highest
        if highest - second < CLOSE_CALL:
            self._note_margin(logits, self._legal(), best)
        return choice

    def _if_legal(self, id: int) -> Choice | None:
        data = self._bytes_of(id)
        places = locking.advance(self._lock, self._places, data) if data else ()
        if not places or locking.remaining(self._lock, places) >= self._tokens_left:
            return None
        return Choice(id, places, None) if self._grammar.allows(id) else None

    def _first_legal(self, ids: Iterable[int]) -> Choice:
        for id in ids:
            choice = self._if_legal(id)
            if choice:
                return choice
        raise DataError("no token of the vocabulary may come next; the vocabulary lacks a byte of this text")

    def _legal(self) -> list[int]:
        return self._vocabulary.legal(self._lock, self._places, self._tokens_left)

    @staticmethod
    def _by_logit(logits: Logits, ids: list[int]) -> list[int]:
        return ids if len(ids) == 1 else [ids[at] for at in np.argsort(-logits[ids], kind="stable")]

    def _scored(self, choice: Choice, logits: Logits, legal: list[int]) -> Choice:
        if len(legal) == 1:
            return choice._replace(log_probability=0.0)
        self._note_margin(logits, legal, choice.id)
        values = logits[legal].astype(np.float64)
        total = float(np.logaddexp.reduce(values))
        return choice._replace(log_probability=min(0.0, float(logits[choice.id]) - total))

    def _note_margin(self, logits: Logits, legal: list[int], chosen: int) -> None:
        others = [id for id in legal if id != chosen]
        if others:
            self._margin = min(self._margin, float(logits[chosen] - logits[others].max()))

    def _choose_unlocked(self, logits: Logits) -> Choice:
        """Greedy under the grammar alone, or under nothing; scores are against the whole vocabulary."""
        highest = float(logits.max())
        total = highest + float(np.log(np.exp(logits - highest).sum()))
        for id in chain((int(logits.argmax()),), (int(id) for id in np.argsort(-logits, kind="stable"))):
            writable = self._bytes_of(id) is not None or id in self._model.end_ids
            if writable and (self._constraint is Constraint.OFF or self._grammar.allows(id)):
                return Choice(id, self._places, float(logits[id]) - total)
        raise DataError("the grammar allows no token of the vocabulary; choose another --format")
