"""What a teacher finds likely at each decision -> targets for a student, whose tokens may be others (FuseLLM, arXiv
2401.10491).

Where FuseLLM aligns the tokens of two tokenizers by edit distance, here nothing is aligned: under the lock both models
take the same decisions about the same text (`formats.shared.meaning`), so a teacher's probabilities of the outcomes are
those that the student's tokens should have. Where one tokenizer cannot say as much as the other, outcomes are taken
together. Knows nothing of torch and of where a teacher's logits come from.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from genner_cli.files.teaching import Answer, Belief
from genner_cli.formats.shared.meaning import UNDECIDED
from genner_cli.training.examples import Decision, Example, Meaning

UNCLEAR = 0.01
"""Where more of a teacher's probability lies on tokens that decide nothing (another spelling), it gives no target."""

Outcomes = tuple[str, ...]


def answer(example: Example, log_probabilities: Sequence[Sequence[float]]) -> Answer:
    """What a teacher says of an example in its own tokens; `log_probabilities`: of each decision's legal tokens, in
    their order, among all legal ones (nats)."""
    found = [
        view
        for decision, row in zip(example.decisions, log_probabilities, strict=True)
        if decision.meaning and (view := _View.of(decision.meaning, [math.exp(value) for value in row]))
    ]
    beliefs, cost = [], 0.0
    for view in _whole(found):
        right = view.masses.get(view.right, 0.0)
        total = math.fsum(view.masses.values())
        cost -= math.log(max(right, _LEAST) / total) if view.counts else 0.0
        if view.unclear <= UNCLEAR:
            logs = (math.log(max(mass, _LEAST) / total) for mass in view.masses.values())
            beliefs.append(Belief(view.situation, tuple(view.masses), tuple(logs)))
    return Answer(cost, tuple(beliefs))


_LEAST = 1e-30


class _View(NamedTuple):
    """The probabilities of groups of outcomes at one decision; `right` is () where the token that was written decides
    nothing. `unclear`: the probability of all tokens that decide nothing. `counts`: whether it is part of the cost."""

    situation: tuple[object, ...]
    masses: Mapping[Outcomes, float]
    right: Outcomes
    unclear: float
    counts: bool = True

    @classmethod
    def of(cls, meaning: Meaning, probabilities: Sequence[float]) -> _View | None:
        """None where nothing is decided."""
        numbers, groups = grouped(meaning.outcomes)
        masses = dict.fromkeys(groups, 0.0)
        for number, probability in zip(numbers, probabilities, strict=True):
            if number >= 0:
                masses[groups[number]] += probability
        unclear = math.fsum(p for number, p in zip(numbers, probabilities, strict=True) if number < 0)
        right = groups[numbers[0]] if numbers[0] >= 0 else ()
        if len(groups) < 2 and right:
            return None
        return cls(meaning.situation, masses, right, unclear)

    def continued(self, later: _View) -> _View | None:
        """The decision as a whole, where what was written is white space behind which it is taken. None where the two
        do not fit together."""
        masses = {outcomes: mass * self.unclear for outcomes, mass in later.masses.items()}
        for outcomes, mass in self.masses.items():
            if outcomes not in masses and any(set(outcomes) & set(others) for others in masses):
                return None
            masses[outcomes] = masses.get(outcomes, 0.0) + mass
        return _View(self.situation, masses, later.right, later.unclear)


def _whole(views: Iterable[_View]) -> Iterator[_View]:
    """Views with a right outcome; one that is taken in two tokens is given as a whole, and its second part as well,
    which does not count again."""
    waiting: _View | None = None
    for view in views:
        if waiting and waiting.situation[1:] == view.situation[1:]:
            whole = waiting.continued(view)
            if whole:
                yield whole
            if waiting.situation[0] != view.situation[0]:
                yield view._replace(counts=whole is None)
            waiting = None
        elif view.right:
            yield view
        else:
            waiting = None if view.situation[2] else view


def grouped(outcomes: Sequence[Outcomes]) -> tuple[list[int], list[Outcomes]]:
    """The group of each token, -1 for one that decides nothing, and the outcomes of each group: those that one token
    may mean are in one group."""
    every = {outcome for each in outcomes for outcome in each} - {UNDECIDED}
    decides = [UNDECIDED not in each and (len(each) == 1 or set(each) < every) for each in outcomes]
    groups = joined([each for each, decided in zip(outcomes, decides, strict=True) if decided])
    number = {outcome: at for at, group in enumerate(groups) for outcome in group}
    return [number[each[0]] if decided else -1 for each, decided in zip(outcomes, decides, strict=True)], groups


def joined(sets: Iterable[Outcomes]) -> list[Outcomes]:
    """The finest partition in which each of the sets lies in one part; parts in the order of their outcomes."""
    parts: list[set[str]] = []
    for each in sets:
        touching = [part for part in parts if part & set(each)]
        parts = [part for part in parts if not part & set(each)] + [set(each).union(*touching)]
    return sorted(tuple(sorted(part)) for part in parts)


def taught(example: Example, answer: Answer) -> Example:
    """The example with a target at each decision that the teacher answers as well."""
    beliefs = {belief.situation: belief for belief in answer.beliefs}
    return replace(example, decisions=tuple(_taught(decision, beliefs) for decision in example.decisions))


def _taught(decision: Decision, beliefs: Mapping[tuple[object, ...], Belief]) -> Decision:
    belief = beliefs.get(decision.meaning.situation) if decision.meaning else None
    if decision.meaning is None or belief is None:
        return decision
    numbers, groups = grouped(decision.meaning.outcomes)
    if numbers[0] < 0 or {o for group in groups for o in group} != {o for group in belief.outcomes for o in group}:
        return decision  # what one of them could do here, the other could not
    both = joined([*groups, *belief.outcomes])
    if len(both) < 2:
        return decision
    place = {outcome: at for at, group in enumerate(both) for outcome in group}
    target = [0.0] * len(both)
    for outcomes, log_probability in zip(belief.outcomes, belief.log_probabilities, strict=True):
        target[place[outcomes[0]]] += math.exp(log_probability)
    of_token = tuple(place[groups[number][0]] if number >= 0 else -1 for number in numbers)
    return replace(decision, groups=of_token, target=tuple(target))
