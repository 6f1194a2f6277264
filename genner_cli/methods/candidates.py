"""Candidates: entities that somebody proposes, with who proposes them and who agrees.

Their union, their overlaps, the ways to resolve one, and what votes come to. Knows nothing of models and files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from genner_cli.types import Entity

MOST_SPANS = 8
"""Candidates of a component among which options are made."""
MOST_OPTIONS = 5
"""Options of a component that are asked about (arXiv 2512.10043 cuts to five)."""

VALID, LABEL, BOUNDARY, OVERLAP, BEST = ASKS = ("valid", "label", "boundary", "overlap", "best")
"""What a judge can be asked about candidates."""
Votes = Mapping[str, Mapping[str, Any]]
"""What was asked -> who was asked -> the answer; None for one that could not be given."""
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A proposed entity; `sources` propose it. `score`: the highest that one of them gave it."""

    start: int
    end: int
    label: str
    sources: tuple[str, ...] = ()
    votes: Votes = field(default_factory=dict)
    score: float | None = None

    @property
    def key(self) -> tuple[int, int, str]:
        """What makes it another candidate; in this order they are sorted."""
        return (self.start, self.end, self.label)

    def voted(self, ask: str, voter: str, answer: Any) -> Candidate:
        """The same with one vote more."""
        return replace(self, votes={**self.votes, ask: {**self.votes.get(ask, {}), voter: answer}})

    def yes(self, ask: str = VALID) -> int:
        """How many voters said yes, with an answer above 0."""
        return sum(answer is not None and answer > 0 for answer in self.votes.get(ask, {}).values())


def union(proposals: Mapping[str, Iterable[Entity]]) -> list[Candidate]:
    """The candidates of several sources, each once, in order."""
    found = (
        Candidate(each.start, each.end, each.label, (source,), score=each.score)
        for source, entities in proposals.items()
        for each in dict.fromkeys(entities)
    )
    return merged(found)


def merged(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Equal candidates made one, with the sources and the votes of all, in order."""
    known: dict[tuple[int, int, str], Candidate] = {}
    for each in candidates:
        known[each.key] = _joined(known[each.key], each) if each.key in known else each
    return [known[key] for key in sorted(known)]


def _joined(one: Candidate, other: Candidate) -> Candidate:
    scores = [each.score for each in (one, other) if each.score is not None]
    return replace(
        one,
        sources=tuple(dict.fromkeys((*one.sources, *other.sources))),
        votes={**other.votes, **one.votes},
        score=max(scores, default=None),
    )


def components(candidates: Iterable[Candidate]) -> Iterator[list[Candidate]]:
    """Runs of candidates that overlap, directly or by way of others, in order."""
    run: list[Candidate] = []
    end = 0
    for each in sorted(candidates, key=lambda one: one.key):
        if run and each.start >= end:
            yield run
            run = []
        end = max(end, each.end) if run else each.end
        run.append(each)
    if run:
        yield run


def options(component: Sequence[Candidate], most: int = MOST_OPTIONS) -> list[tuple[Candidate, ...]]:
    """The best ways to resolve an overlap, the best first: sets of disjoint candidates to which none can be added.

    Of more than `MOST_SPANS` candidates those with the most yes votes count; the others fill what room these leave.
    """
    ranked = sorted(component, key=lambda each: (-each.yes(), each.start - each.end, each.key))
    sets = _disjoint(sorted(ranked[:MOST_SPANS], key=lambda each: each.key))
    return sorted((_filled(each, ranked[MOST_SPANS:]) for each in sets), key=preference)[:most]


def _filled(option: tuple[Candidate, ...], others: Iterable[Candidate]) -> tuple[Candidate, ...]:
    """The option with each of the others, in turn, that overlaps nothing in it."""
    chosen = list(option)
    for other in others:
        if all(other.end <= each.start or each.end <= other.start for each in chosen):
            chosen.append(other)
    return tuple(sorted(chosen, key=lambda each: each.key))


def preference(option: Sequence[Candidate]) -> tuple[Any, ...]:
    """Of equally good options the one that sorts first: more yes votes, more sources, the longer total, the first in
    the text."""
    length = sum(each.end - each.start for each in option)
    sources = sum(len(each.sources) for each in option)
    return (-sum(each.yes() for each in option), -sources, -length, [each.key for each in option])


def _disjoint(candidates: Sequence[Candidate]) -> list[tuple[Candidate, ...]]:
    """The maximal sets of disjoint candidates, which come in order."""
    found: list[tuple[Candidate, ...]] = []

    def extend(chosen: tuple[Candidate, ...]) -> None:
        end = chosen[-1].end if chosen else 0
        free = [each for each in candidates if each.start >= end]
        # One that begins behind the end of another free one would leave that out, and the set would not be maximal.
        limit = min((each.end for each in free), default=0)
        if not free:
            found.append(chosen)
        for each in free:
            if each.start < limit:
                extend((*chosen, each))

    extend(())
    return found


def preferred(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Without overlaps, resolved by `preference` alone."""
    return [each for component in components(candidates) for each in options(component, most=1)[0]]


def is_majority(answers: Mapping[str, float | None]) -> bool:
    """Whether more than half of all who were asked said yes; one without an answer counts as no."""
    return 2 * sum(answer is not None and answer > 0 for answer in answers.values()) > len(answers)


def plurality(answers: Iterable[Key | None], tied: Callable[[Key], Any]) -> Key | None:
    """The most frequent answer; of equally frequent ones that whose `tied` sorts first. None where nobody answered."""
    counts = Counter(answer for answer in answers if answer is not None)
    return min(counts, key=lambda answer: (-counts[answer], tied(answer))) if counts else None


def valid(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Those that the majority of the voters finds right."""
    return [each for each in candidates if is_majority(each.votes.get(VALID, {}))]


def labelled(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Each with the label that most voters chose: of tied ones its own, else the first by name. One without an answer
    keeps its own."""
    found = []
    for each in candidates:
        label = plurality(each.votes.get(LABEL, {}).values(), lambda name, own=each.label: (name != own, name))  # type: ignore[misc]
        found.append(replace(each, label=label or each.label))
    return merged(found)


def bounded(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Each with the boundaries that most voters chose: of tied ones its own, else the longer, else the first."""
    found = []
    for each in candidates:
        answers = (tuple(answer) if answer else None for answer in each.votes.get(BOUNDARY, {}).values())
        own = (each.start, each.end)
        span = plurality(answers, lambda span, own=own: (span != own, span[0] - span[1], span))  # type: ignore[misc]
        start, end = span or own
        found.append(replace(each, start=start, end=end))
    return merged(found)


def resolved(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Without overlaps: of each component the option that most deciders chose.

    A decider's answer for a candidate is above 0 where its option has it, and says by how much that option was better
    than the best without (nats). Of tied options the one with the higher sum wins, then `preference`.
    """
    return [each for component in components(candidates) for each in _decided(component)]


def _decided(component: Sequence[Candidate]) -> tuple[Candidate, ...]:
    possible = options(component)
    if len(possible) == 1:
        return possible[0]
    deciders = {name for each in component for name in each.votes.get(OVERLAP, {})}
    by_keys = {tuple(each.key for each in option): option for option in possible}
    chosen = (_option_of(name, component) for name in sorted(deciders))

    def tied(keys: tuple[tuple[int, int, str], ...]) -> tuple[Any, ...]:
        sums = (answer or 0.0 for each in by_keys[keys] for answer in each.votes.get(OVERLAP, {}).values())
        return (-sum(sums), preference(by_keys[keys]))

    won = plurality((keys for keys in chosen if keys in by_keys), tied)
    return by_keys[won] if won else possible[0]


def _option_of(decider: str, component: Iterable[Candidate]) -> tuple[tuple[int, int, str], ...]:
    answers = ((each.key, each.votes.get(OVERLAP, {}).get(decider)) for each in component)
    return tuple(key for key, answer in answers if answer is not None and answer > 0)


def margins(possible: Sequence[Sequence[Candidate]], scores: Sequence[float]) -> dict[tuple[int, int, str], float]:
    """By candidate, how much better the best option with it is than the best without it (nats), above 0 for those of
    the chosen option only; of equal scores the earlier option is chosen."""
    first = max(range(len(possible)), key=lambda at: (scores[at], -at))
    chosen = {each.key for each in possible[first]}
    found = {}
    for key in sorted({each.key for option in possible for each in option}):
        having = [score for option, score in zip(possible, scores, strict=True) if key in {e.key for e in option}]
        others = [score for option, score in zip(possible, scores, strict=True) if key not in {e.key for e in option}]
        margin = max(having) - max(others, default=min(scores))
        found[key] = max(margin, LEAST) if key in chosen else min(margin, 0.0)
    return found


LEAST = 1e-6
"""The margin of an option that is chosen for its place alone."""


def differing(
    first: Iterable[Candidate], second: Iterable[Candidate], *, whole: bool = False
) -> Iterator[tuple[tuple[Candidate, ...], tuple[Candidate, ...]]]:
    """Where two answers differ: what each has there that the other has not. `whole`: all such places as one."""
    one, other = {each.key: each for each in first}, {each.key: each for each in second}
    apart = [each for key, each in {**one, **other}.items() if (key in one) != (key in other)]
    for group in [apart] if whole and apart else components(apart):
        yield (
            tuple(each for each in group if each.key in one),
            tuple(each for each in group if each.key in other),
        )


def selected(candidates: Sequence[Candidate], sources: Sequence[str], *, whole: bool = False) -> list[Candidate]:
    """What two sources agree on, and where they differ what more voters prefer; of tied ones what is preferred by more
    (nats), then `preference`. A voter's answer for a candidate is by how much its side was better than the other."""
    kept = [each for each in candidates if set(sources) <= set(each.sources)]
    first, second = proposed(candidates, sources)
    for one, other in differing(first, second, whole=whole):
        kept += other if _disfavour(other) < _disfavour(one) else one
    return sorted(kept, key=lambda each: each.key)


def proposed(candidates: Sequence[Candidate], sources: Sequence[str]) -> list[list[Candidate]]:
    """The candidates of each source."""
    return [[each for each in candidates if source in each.sources] for source in sources]


def _disfavour(side: Sequence[Candidate]) -> tuple[Any, ...]:
    answers = [answer for answer in (side[0].votes.get(BEST, {}).values() if side else ()) if answer is not None]
    return (-sum((answer > 0) - (answer < 0) for answer in answers), -sum(answers), preference(side))
