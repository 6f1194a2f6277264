"""A pack of examples -> tensors: token ids, which tokens see each other, and what is to be learnt where.

Knows nothing of models and losses.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch

from genner_cli.training.examples import Decision, Example
from genner_cli.training.packing import Pack

LENGTH_STEP = 32
"""Rows are padded to a multiple of this: oneDNN keeps a kernel for every shape that it has met."""
TEXT_STRIDE = 4
"""One in this many tokens of the documents' own text takes part in the ordinary loss."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of tokens; `at` counts tokens over all rows, one row after the other.

    ids, positions: (rows, length), positions from 0 in each example; groups, owners: (rows, length), or None where each
    row is one example: a token sees those before it of its group that have its owner or owner 0, the shared prefix.
    completion_at, completion: (tokens,) the token before each one that a completion has, and that one; text_at, text:
    the same of the documents' text. decision_at: (decisions,); legal: (decisions, most legal tokens), the right one
    first, -1 as padding; opens: (decisions,), whether the right one opens an entity. parts: (decisions, most legal
    tokens), the group of each, -1 for none; targets: (decisions, most groups), a teacher's probability of each, all 0
    where there is none; both None where no decision has a target. completion_of, decision_of: the number of the example
    in the pack that each completion token and each decision belongs to; references: (examples,) see `Example`.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    groups: torch.Tensor | None
    owners: torch.Tensor | None
    completion_at: torch.Tensor
    completion: torch.Tensor
    text_at: torch.Tensor
    text: torch.Tensor
    decision_at: torch.Tensor
    legal: torch.Tensor
    opens: torch.Tensor
    completion_of: torch.Tensor
    decision_of: torch.Tensor
    references: torch.Tensor
    parts: torch.Tensor | None = None
    targets: torch.Tensor | None = None

    @classmethod
    def of(cls, pack: Pack, pad_id: int = 0) -> Batch:
        """Lays out a pack."""
        rows = [_Row() for _ in pack.rows]
        for row, groups in zip(rows, pack.rows, strict=True):
            for number, group in enumerate(groups):
                row.add(number, group)
        length = -(-max(len(row.ids) for row in rows) // LENGTH_STEP) * LENGTH_STEP
        several = any(len(groups) > 1 or len(groups[0]) > 1 for groups in pack.rows)
        decisions = [pair for number, row in enumerate(rows) for pair in row.decisions(number * length)]
        completion = [pair for number, row in enumerate(rows) for pair in row.completion(number * length)]
        text = [pair for number, row in enumerate(rows) for pair in row.text(number * length)]
        legal = _table([decision.legal for _, decision in decisions], None, -1)
        return cls(
            ids=_table([row.ids for row in rows], length, pad_id),
            positions=_table([row.positions for row in rows], length, 0),
            groups=_table([row.groups for row in rows], length, -1) if several else None,
            owners=_table([row.owners for row in rows], length, 0) if several else None,
            completion_at=torch.tensor([at for at, _ in completion], dtype=torch.long),
            completion=torch.tensor([id for _, id in completion], dtype=torch.long),
            text_at=torch.tensor([at for at, _ in text], dtype=torch.long),
            text=torch.tensor([id for _, id in text], dtype=torch.long),
            decision_at=torch.tensor([at for at, _ in decisions], dtype=torch.long),
            legal=legal,
            opens=torch.tensor([decision.opens for _, decision in decisions], dtype=torch.bool),
            completion_of=_numbers([len(each.ids) - each.completion_start for each in pack.examples]),
            decision_of=_numbers([len(each.decisions) for each in pack.examples]),
            references=torch.tensor([each.reference for each in pack.examples], dtype=torch.float64),
            **_taught([decision for _, decision in decisions], legal.shape[1]),
        )

    def to(self, device: torch.device) -> Batch:
        """The batch on a device."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        moved: dict[str, Any] = {name: None if value is None else value.to(device) for name, value in values.items()}
        return Batch(**moved)

    def sees(self, window: int | None = None) -> torch.Tensor | None:
        """(rows, 1, length, length): whether a token (third) sees another (fourth), no further back than `window`.

        None where each sees all that stand before it in its row. Padding sees itself, so that nothing is divided by 0.
        """
        if self.groups is None or self.owners is None:
            return None
        groups, owners = self.groups, self.owners
        same = (groups[:, :, None] == groups[:, None]) & (groups >= 0)[:, :, None]
        own = (owners[:, :, None] == owners[:, None]) | (owners == 0)[:, None]
        before = torch.ones(2 * (groups.shape[1],), dtype=torch.bool, device=groups.device).tril()
        found = same & own & before
        if window is not None:
            found &= self.positions[:, :, None] - self.positions[:, None] < window
        return (found | torch.eye(groups.shape[1], dtype=torch.bool, device=groups.device))[:, None]


def text_positions(example: Example) -> range:
    """Every TEXT_STRIDE-th token between the shared prefix and the completion."""
    return range(max(1, example.prefix + len(example.ids) % TEXT_STRIDE), example.completion_start, TEXT_STRIDE)


@dataclass(slots=True)
class _Placed:
    """An example in a row: its token number i stands at i + `shift`, but those of the prefix."""

    example: Example
    shift: int
    prefix_end: int

    def before(self, position: int) -> int:
        """Where the token before one of the example's own stands."""
        return position - 1 + self.shift if position > self.example.prefix else self.prefix_end - 1


class _Row:
    """A row under construction."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.positions: list[int] = []
        self.groups: list[int] = []
        self.owners: list[int] = []
        self._placed: list[_Placed] = []

    def add(self, number: int, group: Sequence[Example]) -> None:
        """Puts a group at the end."""
        prefix = group[0].prefix
        self._extend(group[0].ids[:prefix], range(prefix), number, owner=0)
        end = len(self.ids)
        for owner, example in enumerate(group, 1):
            self._placed.append(_Placed(example, len(self.ids) - prefix, end))
            self._extend(example.ids[prefix:], range(prefix, len(example.ids)), number, owner=owner)

    def _extend(self, ids: Sequence[int], positions: Sequence[int], number: int, *, owner: int) -> None:
        self.ids += ids
        self.positions += positions
        self.groups += [number] * len(ids)
        self.owners += [owner] * len(ids)

    def completion(self, start: int) -> Iterable[tuple[int, int]]:
        """The token before each one of a completion, and that one's id; the row's first token is number `start`."""
        for placed in self._placed:
            example = placed.example
            for position in range(example.completion_start, len(example.ids)):
                yield start + placed.before(position), example.ids[position]

    def text(self, start: int) -> Iterable[tuple[int, int]]:
        """The same of the document's text."""
        for placed in self._placed:
            for position in text_positions(placed.example):
                yield start + placed.before(position), placed.example.ids[position]

    def decisions(self, start: int) -> Iterable[tuple[int, Decision]]:
        """The token before each decision, and the decision."""
        for placed in self._placed:
            for decision in placed.example.decisions:
                yield start + placed.before(decision.position), decision


def _numbers(counts: Sequence[int]) -> torch.Tensor:
    """Each number, from 0, as often as it counts."""
    return torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))


def _taught(decisions: Sequence[Decision], width: int) -> dict[str, torch.Tensor]:
    """What teachers say of decisions, if anything."""
    most = max((len(decision.target) for decision in decisions), default=0)
    if not most:
        return {}
    targets = torch.zeros(len(decisions), most)
    for row, decision in zip(targets, decisions, strict=True):
        row[: len(decision.target)] = torch.tensor(decision.target)
    return {"parts": _table([decision.groups for decision in decisions], width, -1), "targets": targets}


def _table(rows: Sequence[Sequence[int]], length: int | None, padding: int) -> torch.Tensor:
    """(rows, length); the length of the longest where None is given."""
    most = max(map(len, rows), default=1) if length is None else length
    return torch.tensor([[*row, *[padding] * (most - len(row))] for row in rows], dtype=torch.long).reshape(-1, most)
