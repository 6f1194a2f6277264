"""Candidates of a batch of texts, asked about all at once, and what was answered as votes.

Takes a way to pose questions and what scores them; knows nothing of engines and files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import NamedTuple

from genner_cli.demonstrations import Query
from genner_cli.generation import Score
from genner_cli.methods import cascade
from genner_cli.methods.candidates import (
    BEST,
    BOUNDARY,
    LABEL,
    OVERLAP,
    VALID,
    Candidate,
    components,
    differing,
    margins,
    options,
    preferred,
    proposed,
)
from genner_cli.methods.posing import Option, Passages, Posed, Poser, moved
from genner_cli.methods.ruling import Ruling
from genner_cli.types import Chunk

DECIMALS = 4
_WORD = re.compile(r"\w+|[^\w\s]")
_Scores = tuple[float, ...]


class _Shown(NamedTuple):
    """A candidate of a document, number `document` of the batch and `number` there, and where it is shown: behind which
    other candidates."""

    document: int
    number: int
    passage: Query
    candidate: Candidate
    before: tuple[Candidate, ...]


def answered(posed: Sequence[Posed | None], score: Score) -> list[_Scores | None]:
    """The scores of each; None for what could not be asked or not be answered. Equal questions are asked once."""
    questions = list(dict.fromkeys(question for each in posed if each for question in each.questions))
    found = dict(score(iter(questions))) if questions else {}
    answers = {question: found[number] for number, question in enumerate(questions)}
    scores: list[_Scores | None] = []
    for each in posed:
        own = [answers[question] for question in each.questions] if each else []
        scores.append(each.read(own) if each and not any(answer.error for answer in own) else None)
    return scores


class Asker:
    """Asks one model. `name`: of the model, in votes."""

    def __init__(self, name: str, poser: Poser, score: Score, ruling: Ruling) -> None:
        self._name, self._poser, self._score, self._ruling = name, poser, score, ruling

    def votes(self, ask: str, texts: Sequence[str], known: Sequence[Sequence[Candidate]]) -> list[list[Candidate]]:
        """The candidates of each text, each with this model's vote; None as the vote for what it could not answer."""
        batch = _Batch(self._poser, ask, self._name, texts, known)
        ways = {VALID: self._valid, LABEL: self._label, BOUNDARY: self._boundary}
        if ask in ways:
            ways[ask](batch)
        else:
            self._choices(batch, ask)
        return batch.known

    def _valid(self, batch: _Batch) -> None:
        shown = list(batch.shown())
        posed = [self._poser.odds(each.passage, each.candidate, each.before) for each in shown]
        threshold = self._ruling.thresholds.get(self._name, 0.0)
        for each, scores in zip(shown, answered(posed, self._score), strict=True):
            if scores:
                batch.vote(each.document, each.number, round(scores[0] - threshold, DECIMALS))

    def _label(self, batch: _Batch) -> None:
        shown = list(batch.shown())

        def ask(questions: Sequence[cascade.Which]) -> list[_Scores | None]:
            items = ((shown[each.item], each.labels) for each in questions)
            return answered(
                [self._poser.label(one.passage, one.candidate, labels, one.before) for one, labels in items],
                self._score,
            )

        paths = cascade.walk(self._ruling.tree, len(shown), ask, beam=self._ruling.beam)
        for each, path in zip(shown, paths, strict=True):
            if path is not None:
                batch.vote(each.document, each.number, path)

    def _boundary(self, batch: _Batch) -> None:
        shown = list(batch.shown())
        spans = [around(each.passage.text, each.candidate) for each in shown]
        posed = [
            self._poser.choice(each.passage, [(span,) for span in possible], each.before)
            for each, possible in zip(shown, spans, strict=True)
        ]
        for each, possible, scores in zip(shown, spans, answered(posed, self._score), strict=True):
            if scores:
                best = possible[max(range(len(scores)), key=lambda at, scores=scores: (scores[at], -at))]  # type: ignore[misc]
                offset = batch.known[each.document][each.number].start - each.candidate.start
                batch.vote(each.document, each.number, [best.start + offset, best.end + offset])

    def _choices(self, batch: _Batch, ask: str) -> None:
        groups = list(self._groups(batch, ask))
        posed = [batch.choice(document, possible) for document, possible in groups]
        for (document, possible), scores in zip(groups, answered(posed, self._score), strict=True):
            if scores:
                better = _sides(possible, scores) if ask == BEST else margins(possible, scores)
                for number, each in enumerate(batch.known[document]):
                    if each.key in better:
                        batch.vote(document, number, round(better[each.key], DECIMALS + 2))

    def _groups(self, batch: _Batch, ask: str) -> Iterator[tuple[int, Sequence[Option]]]:
        """The options of each choice, with the number of its document. What is to be voted on starts with no vote."""
        for document, candidates in enumerate(list(batch.known)):
            if ask == BEST:
                sides = proposed(candidates, self._ruling.sources)
                groups: list[Sequence[Option]] = list(differing(*sides, whole=self._ruling.whole))
            else:
                assert ask == OVERLAP
                groups = [options(component) for component in components(candidates)]
            yield from ((document, group) for group in groups if len(group) > 1)


def _sides(possible: Sequence[Option], scores: Sequence[float]) -> dict[tuple[int, int, str], float]:
    """By candidate, how much better its side is than the other."""
    better = scores[0] - scores[1]
    return {each.key: sign * better for side, sign in zip(possible, (1, -1), strict=True) for each in side}


class _Batch:
    """Candidates by document, which get the votes of one model. Each starts with a vote of None."""

    def __init__(
        self, poser: Poser, ask: str, voter: str, texts: Sequence[str], known: Sequence[Sequence[Candidate]]
    ) -> None:
        self._poser, self._ask, self._voter = poser, ask, voter
        self._passages = [
            Passages(text, poser.passage_bytes) if those else None for text, those in zip(texts, known, strict=True)
        ]
        # Whatever other models have answered: what one is asked does not depend on who was asked before.
        self._preferred = [preferred(replace(each, votes={}) for each in candidates) for candidates in known]
        self.known = [[each.voted(ask, voter, None) for each in candidates] for candidates in known]

    def vote(self, document: int, number: int, answer: object) -> None:
        """Notes the answer about a candidate."""
        candidates = self.known[document]
        candidates[number] = candidates[number].voted(self._ask, self._voter, answer)

    def shown(self) -> Iterator[_Shown]:
        """The candidates that a passage has whole, with offsets into it."""
        for document, candidates in enumerate(self.known):
            for number, each in enumerate(candidates):
                passages = self._passages[document]
                if passages and (chunk := passages.of(each.start, each.end)):
                    before = self._before(document, each.start, chunk)
                    yield _Shown(document, number, passages.shown(chunk), moved(each, chunk), before)

    def _before(self, document: int, start: int, chunk: Chunk) -> tuple[Candidate, ...]:
        """The candidates that are probably right and end before a place, with offsets into the chunk."""
        near = (each for each in self._preferred[document] if chunk.start <= each.start and each.end <= start)
        return tuple(moved(each, chunk) for each in near)

    def choice(self, document: int, possible: Sequence[Option]) -> Posed | None:
        """Which of the options is right; None where no passage has them all."""
        every = [each for option in possible for each in option]
        passages = self._passages[document]
        start, end = min(each.start for each in every), max(each.end for each in every)
        chunk = passages and passages.of(start, end)
        if not passages or not chunk:
            return None
        shown = [[moved(each, chunk) for each in option] for option in possible]
        return self._poser.choice(passages.shown(chunk), shown, self._before(document, start, chunk))


def around(text: str, candidate: Candidate) -> list[Candidate]:
    """The candidate, and others whose boundaries are a word or a punctuation mark further out or in."""
    words = [match.span() for match in _WORD.finditer(text)]
    starts = _near(candidate.start, [start for start, _ in words])
    ends = _near(candidate.end, [end for _, end in words])
    spans = dict.fromkeys([(candidate.start, candidate.end), *product(starts, ends)])
    return [Candidate(start, end, candidate.label) for start, end in spans if start < end]


def _near(place: int, places: Sequence[int]) -> list[int]:
    """The place, the one before it and the one behind it."""
    before, behind = [at for at in places if at < place][-1:], [at for at in places if at > place][:1]
    return [place, *before, *behind]
