"""Who takes which role in an ensemble: chosen greedily on documents with gold entities (after arXiv 2512.10043).

Takes candidates with the votes of all models; so no combination has to be asked again. Knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations
from typing import NamedTuple, TypeVar

from genner_cli.methods.candidates import (
    OVERLAP,
    VALID,
    Candidate,
    is_majority,
    preferred,
    resolved,
)

T = TypeVar("T")
Key = tuple[int, int, str]
Members = tuple[tuple[str, ...], tuple[str, ...]]
"""Extractors and voters, or deciders and nobody."""
KEEP_ALL = -1e6
"""The threshold of a voter that says yes to everything."""
AT_ONCE = 2
"""Members that a step adds, at most: where one voter more would never raise F1, two may make a majority."""


@dataclass(frozen=True, slots=True)
class Polled:
    """A document: its gold entities, and candidates with the votes of all models."""

    gold: frozenset[Key]
    candidates: tuple[Candidate, ...]


class Roles(NamedTuple):
    """`extractors`, `voters`: names; `thresholds`: of the voters; `f1`: on the documents that they were chosen on."""

    extractors: tuple[str, ...]
    voters: tuple[str, ...]
    thresholds: Mapping[str, float]
    f1: float


def f1(documents: Iterable[Polled], keep: Callable[[Sequence[Candidate]], Iterable[Candidate]]) -> float:
    """Strict micro F1 of what is kept of the candidates."""
    hits = wanted = found = 0
    for document in documents:
        kept = {each.key for each in keep(document.candidates)}
        hits += len(kept & document.gold)
        wanted += len(document.gold)
        found += len(kept)
    return 2 * hits / max(1, wanted + found)


def threshold(documents: Sequence[Polled], voter: str) -> float:
    """The log-odds above which this voter's yes gives the best F1, halfway between two candidates; the lowest of
    equally good ones."""
    scored = [
        (odds, each.key in document.gold)
        for document in documents
        for each in document.candidates
        if (odds := each.votes.get(VALID, {}).get(voter)) is not None
    ]
    scored.sort(reverse=True)
    wanted = sum(len(document.gold) for document in documents)
    best, chosen, hits = -1.0, KEEP_ALL, 0
    for at, (odds, right) in enumerate(scored, 1):
        hits += right
        following = scored[at][0] if at < len(scored) else None
        if following == odds:
            continue
        value = 2 * hits / max(1, wanted + at)
        if value >= best:
            best, chosen = value, KEEP_ALL if following is None else (odds + following) / 2
    return chosen


def judged(
    candidates: Iterable[Candidate], extractors: Collection[str], voters: Sequence[str], thresholds: Mapping[str, float]
) -> list[Candidate]:
    """The candidates of these extractors that most of these voters find right, by their thresholds."""
    kept = []
    for each in candidates:
        sources = tuple(source for source in each.sources if source in extractors)
        given = {name: each.votes.get(VALID, {}).get(name) for name in voters}
        votes = {name: None if odds is None else odds - thresholds.get(name, 0.0) for name, odds in given.items()}
        if sources and is_majority(votes):
            kept.append(replace(each, sources=sources, votes={**each.votes, VALID: votes}))
    return kept


def choose_roles(documents: Sequence[Polled], extractors: Sequence[str], voters: Sequence[str]) -> Roles:
    """Extractors and voters by forward selection: the best pair, then whoever raises F1 most, as long as anybody does;
    of equally good ones the fewest, and those named first. Overlaps are resolved without being asked about."""
    thresholds = {name: threshold(documents, name) for name in voters}

    def value(members: tuple[tuple[str, ...], tuple[str, ...]]) -> float:
        return f1(documents, lambda found: preferred(judged(found, *members, thresholds)))

    pairs: list[Members] = [((one,), (other,)) for one in extractors for other in voters]
    best, score = _best(pairs, value)
    while True:
        wider = _additions(best, extractors, voters)
        found, found_score = _best(wider, value) if wider else (best, score)
        if found_score <= score:
            return Roles(*best, {name: thresholds[name] for name in best[1]}, score)
        best, score = found, found_score


def fitted(roles: Roles, documents: Sequence[Polled]) -> Roles:
    """The same members with thresholds, and F1, by the votes that these documents have."""
    thresholds = {name: threshold(documents, name) for name in roles.voters}
    value = f1(documents, lambda found: preferred(judged(found, roles.extractors, roles.voters, thresholds)))
    return roles._replace(thresholds=thresholds, f1=value)


def choose_deciders(documents: Sequence[Polled], deciders: Sequence[str]) -> tuple[tuple[str, ...], float]:
    """The deciders, none where they do not raise F1, and the F1 with them; `documents` have the votes on overlaps."""

    def value(names: tuple[str, ...]) -> float:
        return f1(documents, lambda found: resolved(by_deciders(found, names)))

    best: tuple[str, ...] = ()
    score = value(best)
    while wider := [chosen for chosen, _ in _additions((best, ()), deciders, ())]:
        found, found_score = _best(wider, value)
        if found_score <= score:
            break
        best, score = found, found_score
    return best, score


def by_deciders(candidates: Iterable[Candidate], names: Collection[str]) -> list[Candidate]:
    """With the votes on overlaps of these alone."""
    return [
        replace(
            each, votes={**each.votes, OVERLAP: {n: v for n, v in each.votes.get(OVERLAP, {}).items() if n in names}}
        )
        for each in candidates
    ]


def _additions(members: Members, extractors: Sequence[str], voters: Sequence[str]) -> list[Members]:
    """The members with one or two more, fewer first."""
    first, second = members
    left = [
        *((name, True) for name in extractors if name not in first),
        *((n, False) for n in voters if n not in second),
    ]
    chosen = chain.from_iterable(combinations(left, count) for count in range(1, AT_ONCE + 1))
    return [
        ((*first, *(n for n, extracts in added if extracts)), (*second, *(n for n, extracts in added if not extracts)))
        for added in chosen
    ]


def _best(choices: Sequence[T], value: Callable[[T], float]) -> tuple[T, float]:
    """The choice of the highest value, the first of equally good ones."""
    values = [value(each) for each in choices]
    at = max(range(len(values)), key=lambda number: (values[number], -number))
    return choices[at], values[at]
