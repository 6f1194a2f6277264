"""One request's constrained greedy choice, from an empty completion to a whole one, without llama.cpp.

Chooses as `engine.decoder` does with the constraint "source": `legal` says which logits are needed, `take` chooses
among them, `force` goes on where no logits are needed. Knows nothing of torch.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from itertools import accumulate

from genner_cli import locking
from genner_cli.errors import DataError, UsageError
from genner_cli.generation import Completion, Constraint, Request
from genner_cli.locking import Places
from genner_cli.training.tokens import Tokens


class Choosing:
    """What is written of a completion, and what may come next."""

    def __init__(self, request: Request, tokens: Tokens, room: int) -> None:
        """`room`: the most tokens that fit. Raises DataError where no completion fits into it, UsageError for another
        constraint than "source" and where the vocabulary lacks the format's markup."""
        if request.constraint is not Constraint.SOURCE:
            raise UsageError(f"constraint {request.constraint}: transformers models decode with 'source' only")
        self._tokens = tokens
        self._lock = request.lock.segmented(tokens.pieces)
        if self._lock.markup - tokens.vocabulary.added.keys():
            raise UsageError("the model has no markup tokens for this output format; choose another --format")
        self._places = locking.begin(self._lock)
        needed = locking.remaining(self._lock, self._places)
        if needed > room:
            raise DataError(
                f"the text needs up to {needed} tokens and {room} fit; choose shorter chunks or another output format"
            )
        self._tokens_left = min(room, needed + request.allowance)
        self._written: list[bytes] = []
        self._log_probabilities: list[float | None] = []
        self._margin = float("inf")
        self._choices: dict[int, Places] | None = None
        self._forced: deque[int] = deque()

    @property
    def done(self) -> bool:
        """Whether the completion is whole."""
        return locking.finished(self._lock, self._places)

    @property
    def legal(self) -> list[int]:
        """The tokens that may come next, in order; empty where the vocabulary lacks what must."""
        return list(self._legal())

    def take(self, logits: Sequence[float]) -> int:
        """Chooses among the legal tokens, whose logits these are, and moves on. Raises DataError if there are none."""
        if not self._legal():
            raise DataError("no token of the vocabulary may come next; the vocabulary lacks a byte of this text")
        best = max(range(len(logits)), key=logits.__getitem__)
        id, after = list(self._legal().items())[best]
        others = [*logits[:best], *logits[best + 1 :]]
        if others:
            self._margin = min(self._margin, logits[best] - max(others))
        scored = self._lock.by_token or self._inside(self._places) or self._inside(after)
        self._forced.clear()
        return self._move(id, after, _log_probability(logits, best) if scored else None)

    def force(self) -> list[int]:
        """Moves on over the tokens that need no logits (`engine.decoder.Decoder.force`)."""
        found = []
        while not self.done and (forced := self._next_forced()):
            found.append(self._move(*forced, 0.0))
        return found

    def completion(self, prompt_tokens: int) -> Completion:
        """What was written so far. Unlike the engine's, the margin is that of every choice."""
        text = b"".join(self._written).decode(errors="replace")
        ends = tuple(accumulate(map(len, self._written)))
        return Completion(text, ends, tuple(self._log_probabilities), prompt_tokens, self._margin)

    def _next_forced(self) -> tuple[int, Places] | None:
        if self._lock.by_token:
            legal = self._legal()
            return next(iter(legal.items())) if len(legal) == 1 else None
        if not self._forced:
            self._forced.extend(locking.forced_tokens(self._lock, self._places, self._tokens.plain))
        if not self._forced:
            return None
        id = self._forced.popleft()
        data = self._tokens.vocabulary.bytes_of(id, self._lock)
        after = locking.advance(self._lock, self._places, data) if data else ()
        return (id, after) if after and locking.remaining(self._lock, after) < self._tokens_left else None

    def _legal(self) -> dict[int, Places]:
        if self._choices is None:
            self._choices = self._tokens.vocabulary.choices(self._lock, self._places, self._tokens_left)
        return self._choices

    def _inside(self, places: Places) -> bool:
        return locking.inside(self._lock, places)

    def _move(self, id: int, places: Places, log_probability: float | None) -> int:
        self._tokens_left -= 1
        self._places = places
        self._choices = None
        self._written.append(self._tokens.vocabulary.bytes_of(id, self._lock) or b"")
        self._log_probabilities.append(log_probability)
        return id


def _log_probability(logits: Sequence[float], chosen: int) -> float:
    highest = max(logits)
    return min(0.0, logits[chosen] - highest - math.log(math.fsum(math.exp(logit - highest) for logit in logits)))
