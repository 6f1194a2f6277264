"""Candidates -> closed questions, in one of two ways, and their answers -> scores.

`Asked`: a question in a chat, for a model that follows instructions. `Rendered`: how probably a candidate is written in
the model's own extraction prompt, for one that genner trained. Knows nothing of engines and files.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from genner_cli.chunking import split
from genner_cli.formats import output_format
from genner_cli.generation import Answer, Continuation, Question
from genner_cli.methods.answered import Answered
from genner_cli.methods.candidates import Candidate
from genner_cli.prompting import Demonstration, Instructions, Prompt
from genner_cli.types import Chunk, Entity, Label, Piece

Option = Sequence[Candidate]
"""Candidates that are right together; none of them for nothing."""
PASSAGE_BYTES = 1000
JUDGE_PROMPT = Prompt(
    "You check named entities. Read the text and answer the question about it.\n\nLabels:\n",
    "\nText:\n",
    "\n\nAnswer:\n",
)
YES, NO = ("Yes", "yes"), ("No", "no")
NOTHING = '"N/A"'
"""In place of a mention."""
MOST_NUMBERED = 9
"""Options of a numbered question."""
_LEAST = -20.0


class Posed(NamedTuple):
    """Questions about one thing, and their answers -> a score for each possibility, in nats."""

    questions: tuple[Question, ...]
    read: Callable[[Sequence[Answer]], tuple[float, ...]]


class Poser(Protocol):
    """A way to ask one model. `before`: entities that stand before what is asked about, as far as is known. None stands
    for what cannot be asked."""

    @property
    def passage_bytes(self) -> int:
        """UTF-8 bytes of what is shown with a question, at most."""

    def odds(self, passage: str, candidate: Candidate, before: Option = (), /) -> Posed | None:
        """Whether a candidate is right: one score, the log-odds."""

    def label(
        self, passage: str, candidate: Candidate, labels: Sequence[Label], before: Option = (), /
    ) -> Posed | None:
        """Which of the labels is that of a span: a score for each."""

    def choice(self, passage: str, options: Sequence[Option], before: Option = (), /) -> Posed | None:
        """Which of at most `MOST_NUMBERED` options is right: a score for each."""


class Passages:
    """The parts of a text that are shown with questions."""

    def __init__(self, text: str, size: int) -> None:
        """`size`: their length in UTF-8 bytes, at most."""
        self._chunks = list(split(text, size))

    def of(self, start: int, end: int) -> Chunk | None:
        """The one with this range; None where it is cut in all of them."""
        at = bisect_right(self._chunks, start, key=lambda chunk: chunk.own_start) - 1
        near = self._chunks[max(0, at) : at + 2]
        return next((one for one in near if one.start <= start and end <= one.start + len(one.text)), None)


def moved(candidate: Candidate, chunk: Chunk) -> Candidate:
    """A candidate with offsets into the chunk."""
    return Candidate(candidate.start - chunk.start, candidate.end - chunk.start, candidate.label)


@dataclass(frozen=True, slots=True)
class Asked:
    """Questions in a chat. `prompt`: `JUDGE_PROMPT` in the model's chat template; `labels`: what stands in it;
    `answered`: which answered questions stand before one whether a candidate is right.

    A model's inclination to an answer is subtracted: what it says to the same question about nothing in an empty text
    (contextual calibration, Zhao et al. 2021, arXiv 2102.09690).
    """

    prompt: Prompt
    labels: tuple[Label, ...] = ()
    passage_bytes: int = PASSAGE_BYTES
    answered: Answered | None = None

    def odds(self, passage: str, candidate: Candidate, before: Option = (), /) -> Posed | None:
        """See `Poser`; those of yes against no."""
        asked = "Is {} " + question_of(candidate.label, self._definition(candidate.label))
        shown = self._shown(passage, candidate, asked) if self.answered else ()
        questions = self._with_nothing(passage, candidate, asked, (*YES, *NO), whole=False, shown=shown)
        return Posed(questions, _yes_against_no)

    def _shown(self, passage: str, candidate: Candidate, asked: str) -> Sequence[Demonstration]:
        """The same question about mentions in other texts, with the answers."""
        assert self.answered
        mention = passage[candidate.start : candidate.end].casefold()

        def pose(text: str, other: str) -> str:
            return about(text, asked.replace("{}", f'"{other}"', 1))

        return self.answered.before(passage, mention, candidate.label, pose)

    def label(
        self, passage: str, candidate: Candidate, labels: Sequence[Label], before: Option = (), /
    ) -> Posed | None:
        """See `Poser`; the log-probability of its name."""
        lines = "".join(f"{_line(label)}\n" for label in labels)
        asked = "Which label is right for {}?\n" + f"{lines}Answer with the label."
        names = tuple(label.name for label in labels)
        return Posed(self._with_nothing(passage, candidate, asked, names, whole=True), _without_inclination)

    def choice(self, passage: str, options: Sequence[Option], before: Option = (), /) -> Posed | None:
        """See `Poser`; the log-probability of its number, the mean of both orders, so that its place does not count."""
        if len(options) > MOST_NUMBERED:
            return None
        shown = [_described(passage, option) for option in options]
        questions = (self._numbered(passage, shown), self._numbered(passage, shown[::-1]))
        return Posed(questions, _mean_of_orders)

    def _numbered(self, passage: str, shown: Sequence[str]) -> Question:
        lines = "".join(f"{number}. {each}\n" for number, each in enumerate(shown, 1))
        numbers = tuple(str(number) for number in range(1, len(shown) + 1))
        return self._question(passage, f"Which answer is right?\n{lines}Answer with its number.", numbers, whole=False)

    def _with_nothing(
        self,
        passage: str,
        candidate: Candidate,
        asked: str,
        options: Sequence[str],
        *,
        whole: bool,
        shown: Sequence[Demonstration] = (),
    ) -> tuple[Question, ...]:
        """The question about a candidate, and that about nothing; `{}` stands for the mention."""
        before, _, behind = asked.partition("{}")
        mentions = (passage, _quoted(passage, candidate)), ("", NOTHING)
        return tuple(
            self._question(text, f"{before}{mention}{behind}", options, whole=whole, shown=shown)
            for text, mention in mentions
        )

    def _question(
        self, passage: str, question: str, options: Sequence[str], *, whole: bool, shown: Sequence[Demonstration] = ()
    ) -> Question:
        prompt = self.answered.prompts[len(shown)] if self.answered else self.prompt
        rest = (*prompt.shown(shown), *prompt.rest(about(passage, question)))
        return Question(prompt.prefix(self.labels), rest, tuple((Piece(each),) for each in options), whole)

    def _definition(self, name: str) -> str:
        return next((label.definition for label in self.labels if label.name == name), "")


def question_of(label: str, definition: str = "") -> str:
    """What stands behind `Is MENTION` in the question whether it has a label."""
    return f"an entity with the label {label}{f' ({definition})' * bool(definition)}? Answer yes or no."


def about(passage: str, question: str) -> str:
    """A passage with a question about it."""
    return f"{passage}\n\nQuestion: {question}"


def _quoted(passage: str, candidate: Candidate) -> str:
    return f'"{passage[candidate.start : candidate.end]}"'


def _line(label: Label) -> str:
    return f"{label.name}: {label.definition}" if label.definition else label.name


def _described(passage: str, option: Option) -> str:
    return "; ".join(f"{_quoted(passage, each)} is {each.label}" for each in option) or "nothing here is an entity"


def _yes_against_no(answers: Sequence[Answer]) -> tuple[float, ...]:
    text, empty = (_log_sum(logs[: len(YES)]) - _log_sum(logs[len(YES) :]) for logs in _logs(answers))
    return (text - empty,)


def _without_inclination(answers: Sequence[Answer]) -> tuple[float, ...]:
    text, empty = _logs(answers)
    return tuple(one - other for one, other in zip(text, empty, strict=True))


def _mean_of_orders(answers: Sequence[Answer]) -> tuple[float, ...]:
    forward, backward = _logs(answers)
    return tuple((one + other) / 2 for one, other in zip(forward, backward[::-1], strict=True))


def _logs(answers: Sequence[Answer]) -> list[tuple[float, ...]]:
    return [answer.log_probabilities for answer in answers]


def _log_sum(logs: Sequence[float]) -> float:
    highest = max(logs)
    return highest + math.log(math.fsum(math.exp(each - highest) for each in logs))


class Rendered:
    """How probably a model that genner trained writes a candidate, in its own prompt and format, after the entities
    before it: the score that it would give the entity (`extraction.score`), for entities that it did not choose,
    against that of going on without an entity there."""

    def __init__(self, instructions: Instructions, labels: Sequence[Label] = ()) -> None:
        """`labels`: those asked for; its own without any."""
        known = {label.name: label for label in instructions.labels}
        wanted = [known.get(each.name, each) for each in labels] or [known[n] for n in instructions.default_labels]
        self._labels = instructions.labels_trained_together(wanted)
        self._known, self._instructions = known, instructions
        self._format = output_format(instructions.format)
        self.passage_bytes = instructions.chunk_bytes

    def odds(self, passage: str, candidate: Candidate, before: Option = (), /) -> Posed | None:
        """See `Poser`; those of its rendering against all that the model may write in place of its first token."""
        return self.choice(passage, ((candidate,),), before)

    def label(
        self, passage: str, candidate: Candidate, labels: Sequence[Label], before: Option = (), /
    ) -> Posed | None:
        """See `Poser`; the log-odds of the span with that label."""
        spans = [Candidate(candidate.start, candidate.end, label.name) for label in labels]
        return self.choice(passage, [(span,) for span in spans], before)

    def choice(self, passage: str, options: Sequence[Option], before: Option = (), /) -> Posed | None:
        """See `Poser`; the sum of its candidates' log-odds, 0 for nothing."""
        asked = [
            self._question(passage, (*before, *option[:at]), each)
            for option in options
            for at, each in enumerate(option)
        ]
        questions = tuple(question for question in asked if question)
        sizes = [len(option) for option in options]

        def read(answers: Sequence[Answer]) -> tuple[float, ...]:
            odds = (_log_odds(*logs) for logs in _logs(answers))
            return tuple(sum(next(odds) for _ in range(size)) for size in sizes)

        return Posed(questions, read) if len(questions) == len(asked) else None

    def _question(self, passage: str, before: Option, candidate: Candidate) -> Question | None:
        labels, model = self._labels, self._instructions
        if candidate.label not in {label.name for label in labels}:
            labels = (*labels, self._known.get(candidate.label, Label(candidate.label)))
        names = [label.name for label in labels]
        entity = _entity(passage, candidate)
        rendering = self._format.render(passage, [*(_entity(passage, each) for each in before), entity], names)
        if any(each.entity == entity for each in rendering.left_out):
            return None
        parsed = next(each for each in self._format.parse(rendering.completion, passage) if each == entity)
        start, end = parsed.rendering[0].start, parsed.rendering[-1].end
        lock = self._format.lock(passage, names, whole_words=model.whole_words)
        continuation = Continuation(lock, rendering.completion[:end], start)
        return Question(model.prompt.prefix(labels), model.prompt.rest(passage), continuation=continuation)


def _entity(passage: str, candidate: Candidate) -> Entity:
    return Entity(candidate.start, candidate.end, candidate.label, passage[candidate.start : candidate.end])


def _log_odds(log_probability: float, of_others: float) -> float:
    """Of what may be certain in one place, for llama.cpp rounds."""
    return log_probability - max(of_others, _LEAST)
