"""A completion that is given -> the log-probabilities of what was legal at its decisions (teacher forcing).

One pass over prompt and completion, whose tokens are decoded as many at a time as a batch holds. Knows nothing of what
the completion says.
"""

from __future__ import annotations

import numpy as np

from genner_cli.engine.context import Context
from genner_cli.engine.head import Row
from genner_cli.engine.model import Model
from genner_cli.errors import DataError
from genner_cli.generation import Reading


def read(
    model: Model, context: Context, sequence: int, prefix_length: int, room: int, reading: Reading
) -> tuple[tuple[float, ...], ...]:
    """For each of `reading.legal`, the log-probabilities of its ids among themselves. The prefix stands in the context
    already; `room`: tokens that fit behind it. Raises DataError where the reading does not."""
    prompt = model.prompt(reading.rest)
    ids = [*prompt, *reading.ids[:-1]]  # behind the last one nothing is chosen
    if not prompt or len(ids) > room:
        raise DataError(f"the text takes {len(ids)} tokens, and {room} fit; make chunks shorter (--chunk-bytes)")
    legal = {len(prompt) - 1 + at: list(allowed) for at, allowed in reading.legal}
    context.share_prefix(sequence)
    found: list[tuple[float, ...]] = []
    try:
        for start in range(0, len(ids), context.capacity):
            part = ids[start : start + context.capacity]
            outputs = max(0, min(len(part), start + len(part) - (len(prompt) - 1)))
            context.add(part, prefix_length + start, sequence, outputs=outputs, few=True)
            rows = context.decode()
            assert rows is not None, "what fits has room"
            numbers = range(start + len(part) - outputs, start + len(part))
            found += [_logs(row, legal[at]) for at, row in zip(numbers, rows, strict=True) if at in legal]
    finally:
        context.forget(sequence)
    return tuple(found)


def _logs(row: Row, ids: list[int]) -> tuple[float, ...]:
    logits = np.asarray(row[ids], np.float64)
    return tuple((logits - np.logaddexp.reduce(logits)).tolist())
