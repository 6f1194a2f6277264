"""Labelled documents -> train, valid and test, with near-duplicates in one of them, and each label in all of them.

Documents that share a run of eight words go together (`runs.links`). Labels are dealt out by iterative
stratification (Sechidis, Tsoumakas and Vlahavas 2011): the rarest label first, each group of documents to a side
without that label, or else to the one that lacks most of it. The first side, the one to train on, comes before the
others: a group with a label that it does not have yet goes there, so that no other side has a label that it lacks.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from genner_cli.data.runs import links
from genner_cli.errors import UsageError
from genner_cli.types import Document

Side = str


@dataclass(frozen=True, slots=True)
class Split:
    """The numbers of the documents on each side, in input order; `largest`: documents of the largest group."""

    sides: dict[Side, list[int]]
    largest: int


def split(documents: Sequence[Document], shares: Mapping[Side, float], *, seed: int = 0) -> Split:
    """Deals out all documents. Shares are above 0 and add up to 1, else UsageError is raised.

    The first side has every label that another side has. The same documents, shares and seed give the same sides. A
    side may be off its share by the size of a group.
    """
    _check(shares)
    groups = grouped(len(documents), links(document.text for document in documents))
    random.Random(seed).shuffle(groups)
    counts = [_labels(documents, group) for group in groups]
    sides: dict[Side, list[int]] = {side: [] for side in shares}
    for side, group in _dealt(groups, counts, shares):
        sides[side] += group
    return Split({side: sorted(numbers) for side, numbers in sides.items()}, max(map(len, groups), default=0))


def _check(shares: Mapping[Side, float]) -> None:
    if min(shares.values()) <= 0 or abs(sum(shares.values()) - 1) > 1e-6:
        given = ", ".join(f"{side} {share:g}" for side, share in shares.items())
        raise UsageError(f"the shares are {given}; give shares above 0 that add up to 1")


def grouped(count: int, pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """The numbers below `count` in groups: those that pairs connect, directly or through others, are together."""
    leader = list(range(count))

    def find(number: int) -> int:
        while leader[number] != number:
            leader[number] = leader[leader[number]]
            number = leader[number]
        return number

    for one, other in pairs:
        first, second = sorted((find(one), find(other)))
        leader[second] = first
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for number in range(count):
        groups[find(number)].append(number)
    return list(groups.values())


def _labels(documents: Sequence[Document], group: Sequence[int]) -> Counter[str]:
    """In how many documents of the group each label occurs; "" stands for all of them."""
    counts = Counter({"": len(group)})
    for number in group:
        counts.update({entity.label for entity in documents[number].entities})
    return counts


def _dealt(
    groups: Sequence[list[int]], counts: Sequence[Counter[str]], shares: Mapping[Side, float]
) -> Iterable[tuple[Side, list[int]]]:
    """Every group with its side: those with the rarest label first, large groups before small ones."""
    first = next(iter(shares))
    total: Counter[str] = sum(counts, Counter())
    lacking = {side: {label: share * count for label, count in total.items()} for side, share in shares.items()}
    lost = {(side, label) for side in shares for label in total}
    having: defaultdict[str, list[int]] = defaultdict(list)
    for number, count in enumerate(counts):
        having[min(count, key=lambda label: (total[label], label))].append(number)
    for label in sorted(having, key=lambda label: (total[label], label)):
        for number in sorted(having[label], key=lambda number: -len(groups[number])):
            side = max(shares, key=lambda side: ((side, label) in lost, lacking[side][label], lacking[side][""]))
            if any((first, name) in lost for name in counts[number]):
                side = first
            for name, occurrences in counts[number].items():
                lacking[side][name] -= occurrences
                lost.discard((side, name))
            yield side, groups[number]
