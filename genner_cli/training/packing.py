"""Examples -> packs that are computed at a time: in a row without padding, what several begin with computed once.

A prefix that examples share stands once in a row, each example's own tokens behind it; which tokens see each other is
given by `Batch` (`batches.py`). So losses and gradients are those of the examples one by one. Knows nothing of torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from random import Random

from genner_cli.training.examples import Example

WINDOW = 32
"""Batches of examples that are sorted by length at once where examples are padded."""


@dataclass(frozen=True, slots=True)
class Pack:
    """`rows` of groups of examples; those of a group begin with the same prefix, which is computed once."""

    rows: tuple[tuple[tuple[Example, ...], ...], ...]

    @property
    def examples(self) -> Iterator[Example]:
        """All of them."""
        return (example for row in self.rows for group in row for example in group)


def prefix_of(example: Example) -> tuple[int, ...]:
    """The ids that other examples may begin with too."""
    return example.ids[: example.prefix]


def in_a_row(examples: Iterable[Example], tokens: int) -> list[Pack]:
    """Packs of one row of at most `tokens` behind its first prefix, or of one example where that has more; the longest
    examples first."""
    rows: list[dict[tuple[int, ...], list[Example]]] = []
    room: list[int] = []
    for example in sorted(examples, key=lambda example: -len(example.ids)):
        prefix = prefix_of(example)
        tail = len(example.ids) - len(prefix)
        needs = (tail if prefix in row else tail + len(prefix) for row in rows)
        at = next((at for at, need in enumerate(needs) if need <= room[at]), len(rows))
        if at == len(rows):
            rows.append({})
            room.append(tokens + len(prefix))
        room[at] -= tail if prefix in rows[at] else tail + len(prefix)
        rows[at].setdefault(prefix, []).append(example)
    return [Pack((tuple(map(tuple, row.values())),)) for row in rows]


def side_by_side(examples: Iterable[Example], tokens: int) -> list[Pack]:
    """Packs of rows of one example each, of at most `tokens` with their padding; lengths are alike in a pack."""
    packs: list[list[Example]] = []
    for example in sorted(examples, key=lambda example: -len(example.ids)):
        if packs and len(packs[-1][0].ids) * (len(packs[-1]) + 1) <= tokens:
            packs[-1].append(example)
        else:
            packs.append([example])
    return [Pack(tuple(((example,),) for example in pack)) for pack in packs]


def in_pairs(examples: Sequence[Example], tokens: int, *, packed: bool) -> list[Pack]:
    """Packs of pairs, each two examples that follow each other: at most `tokens` behind the first prefix, or one pair.

    In one row without padding if `packed`; both of a pair must begin with the same prefix then.
    """
    packs: list[list[Example]] = []
    size = tokens + 1
    for first, second in zip(examples[::2], examples[1::2], strict=True):
        added = len(first.ids) + len(second.ids) - first.prefix - second.prefix
        if size + added > tokens or prefix_of(packs[-1][0]) != prefix_of(first):
            packs.append([])
            size = 0
        packs[-1] += first, second
        size += added
    return [Pack(((tuple(pack),),) if packed else tuple(((example,),) for example in pack)) for pack in packs]


def order(lengths: Sequence[int], batch: int, seed: str, *, by_length: bool) -> list[list[int]]:
    """The numbers of the examples of each step of an epoch; `by_length` puts examples of like length together."""
    random = Random(seed)
    numbers = list(range(len(lengths)))
    random.shuffle(numbers)
    if by_length:
        windows = _cut(numbers, WINDOW * batch)
        numbers = [number for window in windows for number in sorted(window, key=lambda number: -lengths[number])]
    steps = list(_cut(numbers, batch))
    if by_length:
        random.shuffle(steps)
    return steps


def _cut(numbers: Sequence[int], size: int) -> Iterator[list[int]]:
    for _, part in groupby(enumerate(numbers), key=lambda pair: pair[0] // size):
        yield [number for _, number in part]
