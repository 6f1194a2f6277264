"""Whether two ways to run a model write the same tokens, but for near ties."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NamedTuple, Self

from genner_cli.engine.engine import Engine
from genner_cli.engine.model import Model
from genner_cli.generation import EngineOptions, Reading, Request

NOISE = 0.05
"""Logits of the same position may differ by so much between batches."""


class Text(NamedTuple):
    """A completion and the number of its UTF-8 bytes up to the end of each token, as far as these are known."""

    text: str
    ends: Sequence[int]

    @classmethod
    def of(cls, text: str, pieces: Sequence[bytes]) -> Self:
        """A text whose tokens, perhaps but for the last one, are `pieces`."""
        ends, size = [], 0
        for piece in pieces:
            size += len(piece)
            ends.append(size)
        whole = len(text.encode())
        return cls(text, [*ends, whole] if size < whole else ends)

    @property
    def pieces(self) -> list[bytes]:
        """The bytes of each token."""
        data = self.text.encode()
        return [data[start:end] for start, end in zip([0, *self.ends], self.ends, strict=False)]


def check(
    model: Model,
    options: EngineOptions,
    what: str,
    requests: Sequence[Request],
    ours: Sequence[Text],
    theirs: Sequence[Text],
) -> int:
    """Ends the program where texts differ, as far as both go, though the first tokens that differ are no near tie.
    Names those that differ from a near tie on, and gives their number."""
    near_ties = 0
    for number, (request, our, their) in enumerate(zip(requests, ours, theirs, strict=True)):
        if _differ(our, their):
            gap = logits_apart(model, options, request, our, their)
            message = f"{what} differ on text {number} of {len(ours)}, where logits are {gap:.4f} apart:"
            message += f"\n{our.text!r}\n{their.text!r}"
            if gap >= NOISE:
                sys.exit(message)
            print(f"{message}\n(a near tie)")
            near_ties += 1
    return near_ties


def _differ(our: Text, their: Text) -> bool:
    return any(one != other for one, other in zip(our.text, their.text, strict=False))


def logits_apart(model: Model, options: EngineOptions, request: Request, our: Text, their: Text) -> float:
    """How far apart the logits of the first two tokens are that differ; infinity where one up to them is unknown."""
    known = model.vocabulary
    ours, theirs = ([known.added.get(piece, known.id_of(piece)) for piece in text.pieces] for text in (our, their))
    at = next(number for number, (one, other) in enumerate(zip(ours, theirs, strict=False)) if one != other)
    pair = ours[at], theirs[at]
    if None in (*ours[: at + 1], theirs[at]):
        return float("inf")
    reading = Reading(request.prefix, request.rest, tuple(ours[: at + 1]), ((at, pair),))
    with Engine(model, options) as engine:
        (((one, other),),) = engine.read([reading])
    return abs(one - other)
