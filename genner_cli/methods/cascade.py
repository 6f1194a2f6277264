"""A walk down a tree of labels, level by level (CascadeNER, arXiv 2409.11022).

Knows nothing of candidates and models: which of a few labels is right, it asks a function.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from genner_cli.types import Label, LabelNode, LabelTree


class Which(NamedTuple):
    """A question of the walk: which of these labels is right for item number `item`."""

    item: int
    labels: tuple[Label, ...]


AskWhich = Callable[[Sequence[Which]], Sequence[Sequence[float] | None]]
"""A score for each label of each question, in nats; None where there is no answer."""


class _Way(NamedTuple):
    """A way down: the log-probability so far, the nodes, and whether it ends here."""

    log_probability: float
    nodes: tuple[LabelNode, ...]
    ended: bool


def walk(tree: LabelTree, items: int, ask: AskWhich, *, beam: int = 1) -> list[str | None]:
    """The path of each item's label; None for one about which a question had no answer.

    Of each level, the `beam` ways with the highest products of probabilities are followed; probabilities are among the
    labels asked about. A node with `stop` is one of its own children's alternatives.
    """
    ways: list[list[_Way] | None] = [[_Way(0.0, (), ended=not tree.nodes)] for _ in range(items)]
    while open_ways := [(at, way) for at, those in enumerate(ways) for way in those or () if not way.ended]:
        answers = ask([Which(at, _labels(tree, way)) for at, way in open_ways])
        following: dict[int, list[_Way]] = {}
        for (at, way), scores in zip(open_ways, answers, strict=True):
            if scores is None:
                ways[at] = None
            else:
                following.setdefault(at, []).extend(_further(tree, way, scores))
        for at, found in following.items():
            if (those := ways[at]) is not None:
                every = [*(way for way in those if way.ended), *found]
                ways[at] = sorted(every, key=lambda way: -way.log_probability)[:beam]
    return [tree.path(those[0].nodes) if those else None for those in ways]


def _children(tree: LabelTree, way: _Way) -> tuple[LabelNode, ...]:
    return way.nodes[-1].children if way.nodes else tree.nodes


def _stops(way: _Way) -> bool:
    return bool(way.nodes) and way.nodes[-1].stop


def _labels(tree: LabelTree, way: _Way) -> tuple[Label, ...]:
    own = (way.nodes[-1].label,) if _stops(way) else ()
    return (*(node.label for node in _children(tree, way)), *own)


def _further(tree: LabelTree, way: _Way, scores: Sequence[float]) -> list[_Way]:
    highest = max(scores)
    total = highest + math.log(math.fsum(math.exp(score - highest) for score in scores))
    children = _children(tree, way)
    found = [
        _Way(way.log_probability + score - total, (*way.nodes, node), ended=not node.children)
        for node, score in zip(children, scores, strict=False)
    ]
    if _stops(way):
        found.append(_Way(way.log_probability + scores[-1] - total, way.nodes, ended=True))
    return found
