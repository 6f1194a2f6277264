"""A completion under a source lock while it is being written: what stands, and which tokens may come next.

The half of constrained decoding that computes no logits. `engine.decoder` (llama.cpp) and `training.decoding`
(transformers) build on it. Knows nothing of either.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple, Protocol

from genner_cli import locking
from genner_cli.errors import DataError, UsageError
from genner_cli.generation import Completion, Constraint, Request
from genner_cli.locking import Places, Vocabulary


class Tokenizer(Protocol):
    """One model's tokenizer. `plain` gives the ids of a text read as plain characters, `pieces` their bytes."""

    @property
    def vocabulary(self) -> Vocabulary: ...

    def plain(self, text: str) -> Sequence[int]: ...

    def pieces(self, text: str) -> Sequence[bytes]: ...


class Choice(NamedTuple):
    """A chosen token; the places after it under the lock; its log-probability where it was computed."""

    id: int
    places: Places
    log_probability: float | None = None


class ConstrainedCompletion:
    """The completion of one request, from empty to `done`. Subclasses choose the tokens."""

    def __init__(self, request: Request, tokenizer: Tokenizer, room: int) -> None:
        """`room`: tokens that fit, at most. Raises DataError where no completion fits into it, UsageError where the
        vocabulary lacks the format's markup."""
        self._constraint = request.constraint
        self._tokenizer = tokenizer
        self._vocabulary = tokenizer.vocabulary
        self._lock = request.lock.segmented(tokenizer.pieces)
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
        self._legal_here: dict[int, Places] | None = None
        self._forced: deque[int] = deque()
        self.done = self._is_whole()

    @property
    def inside(self) -> bool:
        """Whether an entity is open."""
        return locking.inside(self._lock, self._places)

    def force(self) -> int | None:
        """Moves on over the next token if it needs no logits; None where they must choose.

        A lock `by_token` forces where one token is legal. Elsewhere tokens may end anywhere, and text that must
        come next is written in its canonical tokens, but for the last one, in whose place a longer token may come.
        """
        if self._constraint is not Constraint.SOURCE or self.done:
            return None
        if self._lock.by_token:
            legal = self._legal()
            id = next(iter(legal)) if len(legal) == 1 else None
        else:
            if not self._forced:
                self._forced.extend(locking.forced_tokens(self._lock, self._places, self._tokenizer.plain))
            id = self._forced.popleft() if self._forced else None
        places = () if id is None else self._behind(id)
        if id is None or not places:
            self._forced.clear()
            return None
        return self._move(Choice(id, places, 0.0))

    def completion(self, prompt_tokens: int) -> Completion:
        """What has been written so far."""
        text = b"".join(self._written).decode(errors="replace")
        ends = tuple(accumulate(map(len, self._written)))
        cut = self._constraint is not Constraint.SOURCE and self._tokens_left <= 0
        return Completion(text, ends, tuple(self._log_probabilities), prompt_tokens, self._margin, cut=cut)

    def _is_whole(self) -> bool:
        if self._constraint is Constraint.SOURCE:
            return locking.finished(self._lock, self._places)
        return self._tokens_left <= 0

    def _bytes_of(self, id: int) -> bytes | None:
        return self._vocabulary.bytes_of(id, self._lock)

    def _allows(self, id: int) -> bool:
        """Whether something besides the lock lets this token come next; for subclasses."""
        return True

    def _legal(self) -> dict[int, Places]:
        """All tokens that the lock lets come next, in order of their ids, with the places they lead to."""
        if self._legal_here is None:
            self._legal_here = self._vocabulary.choices(self._lock, self._places, self._tokens_left)
        return self._legal_here

    def _behind(self, id: int) -> Places:
        """The places behind this token; none where it is not legal."""
        if self._legal_here is not None:
            places = self._legal_here.get(id, ())
        else:
            data = self._bytes_of(id)
            places = locking.advance(self._lock, self._places, data) if data else ()
            if places and locking.remaining(self._lock, places) >= self._tokens_left:
                return ()
        return places if places and self._allows(id) else ()

    def _best_of(self, values: Mapping[int, float]) -> tuple[int, Places]:
        """The most probable legal token, and the places behind it; values: logits by token id."""
        best = max(values, key=values.__getitem__, default=None)
        if best is not None and (places := self._behind(best)):  # mostly
            return best, places
        for id in sorted(values, key=lambda id: -values[id]):
            if places := self._behind(id):
                return id, places
        raise DataError("no token of the vocabulary may come next; the vocabulary lacks a byte of this text")

    def _scored(self, id: int, places: Places, values: Mapping[int, float]) -> Choice:
        """The choice of a legal token, with its log-probability among all of them, whose logits these are, if it is
        within an entity or the legal tokens are few. Notes how close it was."""
        value = values[id]
        others = [other for each, other in values.items() if each != id]
        if others:
            self._margin = min(self._margin, value - max(others))
        if not (self._lock.by_token or self.inside or locking.inside(self._lock, places)):
            return Choice(id, places)
        highest = max(values.values())
        total = highest + math.log(math.fsum([math.exp(each - highest) for each in values.values()]))
        return Choice(id, places, min(0.0, value - total))

    def _move(self, choice: Choice) -> int:
        self._tokens_left -= 1
        self._places = choice.places
        self._legal_here = None
        self._written.append(self._bytes_of(choice.id) or b"")
        self._log_probabilities.append(choice.log_probability)
        self.done = self._is_whole()
        return choice.id
