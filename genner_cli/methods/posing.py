"""Candidates -> closed questions, in one of two ways, and their answers -> scores.

`Asked`: a question in a chat, for a model that follows instructions. `Rendered`: how probably a candidate is written in
an extraction prompt, for a model that genner trained or that is shown examples. Knows nothing of engines and files.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple, Protocol

from genner_cli.chunking import split
from genner_cli.demonstrations import Query
from genner_cli.formats import output_format
from genner_cli.generation import Answer, Continuation, Question
from genner_cli.methods.candidates import Candidate
from genner_cli.prompting import Instructions, Prompt
from genner_cli.tasks import Asking, Pass, Task, TaskOf
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
NOTHING = "N/A"
"""In place of a mention."""
MOST_NUMBERED = 9
"""Options of a numbered question."""
_LEAST = -20.0


class Posed(NamedTuple):
    """Questions about one thing, and their answers -> a score for each possibility, in nats."""

    questions: tuple[Question, ...]
    read: Callable[[Sequence[Answer]], tuple[float, ...]]


class Poser(Protocol):
    """A way to ask one model about a passage of a document. `before`: entities that stand before what is asked about,
    as far as is known. None stands for what cannot be asked."""

    @property
    def passage_bytes(self) -> int:
        """UTF-8 bytes of what is shown with a question, at most."""

    def odds(self, passage: Query, candidate: Candidate, before: Option = (), /) -> Posed | None:
        """Whether a candidate is right: one score, the log-odds."""

    def label(
        self, passage: Query, candidate: Candidate, labels: Sequence[Label], before: Option = (), /
    ) -> Posed | None:
        """Which of the labels is that of a span: a score for each."""

    def choice(self, passage: Query, options: Sequence[Option], before: Option = (), /) -> Posed | None:
        """Which of at most `MOST_NUMBERED` options is right: a score for each."""


class Passages:
    """The parts of a text that are shown with questions."""

    def __init__(self, text: str, size: int) -> None:
        """`size`: their length in UTF-8 bytes, at most."""
        self._text = text
        self._chunks = list(split(text, size))

    def shown(self, chunk: Chunk) -> Query:
        """A part, with the text that it is from."""
        return Query(self._text, chunk.text)

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
    """Questions in a chat. `prompt`: `JUDGE_PROMPT` in the model's chat template; `labels`: what stands in it.

    A model's inclination to an answer is subtracted: what it says to the same question about nothing in an empty text
    (contextual calibration, Zhao et al. 2021, arXiv 2102.09690).
    """

    prompt: Prompt
    labels: tuple[Label, ...] = ()
    passage_bytes: int = PASSAGE_BYTES

    def odds(self, passage: Query, candidate: Candidate, before: Option = (), /) -> Posed | None:
        """See `Poser`; those of yes against no."""
        definition = next((label.definition for label in self.labels if label.name == candidate.label), "")
        label = f"{candidate.label} ({definition})" if definition else candidate.label
        asked = f"Is {{}} an entity with the label {label}? Answer yes or no."
        return Posed(self._with_nothing(passage.text, candidate, asked, (*YES, *NO), whole=False), _yes_against_no)

    def label(
        self, passage: Query, candidate: Candidate, labels: Sequence[Label], before: Option = (), /
    ) -> Posed | None:
        """See `Poser`; the log-probability of its name."""
        lines = "".join(f"{_line(label)}\n" for label in labels)
        asked = "Which label is right for {}?\n" + f"{lines}Answer with the label."
        names = tuple(label.name for label in labels)
        return Posed(self._with_nothing(passage.text, candidate, asked, names, whole=True), _without_inclination)

    def choice(self, passage: Query, options: Sequence[Option], before: Option = (), /) -> Posed | None:
        """See `Poser`; the log-probability of its number, the mean of both orders, so that its place does not count."""
        if len(options) > MOST_NUMBERED:
            return None
        shown = [_described(passage.text, option) for option in options]
        questions = (self._numbered(passage.text, shown), self._numbered(passage.text, shown[::-1]))
        return Posed(questions, _mean_of_orders)

    def _numbered(self, text: str, shown: Sequence[str]) -> Question:
        lines = "".join(f"{number}. {each}\n" for number, each in enumerate(shown, 1))
        numbers = tuple(str(number) for number in range(1, len(shown) + 1))
        return self._question(text, f"Which answer is right?\n{lines}Answer with its number.", numbers, whole=False)

    def _with_nothing(
        self, text: str, candidate: Candidate, asked: str, options: Sequence[str], *, whole: bool
    ) -> tuple[Question, ...]:
        """The question about a candidate, and that about nothing; `{}` stands for the mention."""
        before, _, behind = asked.partition("{}")
        mentions = (text, _quoted(text, candidate)), ("", f'"{NOTHING}"')
        return tuple(
            self._question(passage, f"{before}{mention}{behind}", options, whole=whole) for passage, mention in mentions
        )

    def _question(self, text: str, question: str, options: Sequence[str], *, whole: bool) -> Question:
        rest = self.prompt.rest(f"{text}\n\nQuestion: {question}")
        return Question(self.prompt.prefix(self.labels), rest, tuple((Piece(each),) for each in options), whole)


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
    """How probably a model writes a candidate, in an extraction prompt and its format, after the entities before it:
    the score that it would give the entity (`extraction.score`), for entities that it did not choose, against that of
    going on without an entity there.

    `inclination`: what the model says to a text that is "N/A" and a mention of it all is subtracted, for models that
    did not learn how often an entity has each label (contextual calibration, Zhao et al. 2021, arXiv 2102.09690).
    """

    def __init__(
        self, labels: Sequence[Label], task_of: TaskOf, *, passage_bytes: int, inclination: bool = False
    ) -> None:
        """`labels`: those asked for where a question does not name them all; `passage_bytes`: see `Poser`. Raises what
        `task_of` raises for them."""
        self._labels, self._task_of, self._inclination = tuple(labels), task_of, inclination
        self._askings = {self._labels: Asking.of(task_of(self._labels))}
        self.passage_bytes = passage_bytes

    @classmethod
    def of_trained(cls, instructions: Instructions, labels: Sequence[Label] = ()) -> Rendered:
        """For a model that genner trained. `labels`: those asked for; its own without any."""
        known = {label.name: label for label in instructions.labels}

        def task_of(asked: tuple[Label, ...]) -> Task:
            defined = [known.get(label.name, label) for label in asked]
            return Task.of(instructions, instructions.labels_trained_together(defined))

        own = [known[name] for name in instructions.default_labels]
        return cls(labels or own, task_of, passage_bytes=instructions.chunk_bytes)

    def odds(self, passage: Query, candidate: Candidate, before: Option = (), /) -> Posed | None:
        """See `Poser`; those of its rendering against all that the model may write in place of its first token."""
        return self.choice(passage, ((candidate,),), before)

    def label(
        self, passage: Query, candidate: Candidate, labels: Sequence[Label], before: Option = (), /
    ) -> Posed | None:
        """See `Poser`; the log-odds of the span with that label."""
        spans = [Candidate(candidate.start, candidate.end, label.name) for label in labels]
        return self._posed(passage, [(span,) for span in spans], before, tuple(labels))

    def choice(self, passage: Query, options: Sequence[Option], before: Option = (), /) -> Posed | None:
        """See `Poser`; the sum of its candidates' log-odds, 0 for nothing."""
        return self._posed(passage, options, before, self._labels)

    def _posed(
        self, passage: Query, options: Sequence[Option], before: Option, labels: tuple[Label, ...]
    ) -> Posed | None:
        asked = [
            self._questions(passage, (*before, *option[:at]), each, labels)
            for option in options
            for at, each in enumerate(option)
        ]
        if not all(asked):
            return None
        sizes = [len(option) for option in options]

        def read(answers: Sequence[Answer]) -> tuple[float, ...]:
            odds = [_log_odds(*logs) for logs in _logs(answers)]
            own = iter(_pairwise_differences(odds) if self._inclination else odds)
            return tuple(sum(next(own) for _ in range(size)) for size in sizes)

        return Posed(tuple(chain.from_iterable(asked)), read)

    def _questions(
        self, passage: Query, before: Option, candidate: Candidate, labels: tuple[Label, ...]
    ) -> tuple[Question, ...]:
        """The question about a candidate, and that about nothing behind the same examples; none where the format cannot
        say it."""
        if candidate.label not in {label.name for label in labels}:
            labels = (*labels, Label(candidate.label))
        one = self._pass(labels, candidate.label)
        prefix, shown, prompt = one.pieces(passage)

        def question(text: str, known: Option, asked: Candidate) -> Question | None:
            continuation = self._continuation(one.task, text, known, asked)
            rest = (*shown, *prompt.rest(text))
            return Question(prefix, rest, continuation=continuation) if continuation else None

        own = question(passage.text, before, candidate)
        nothing = Candidate(0, len(NOTHING), candidate.label)
        asked = [own, question(NOTHING, (), nothing)] if self._inclination else [own]
        return tuple(each for each in asked if each) if all(asked) else ()

    def _pass(self, labels: tuple[Label, ...], label: str) -> Pass:
        """Of those that ask for the labels, the one with this label."""
        if labels not in self._askings:
            self._askings[labels] = Asking.of(self._task_of(labels))
        return next(each for each in self._askings[labels].passes if label in each.task.names)

    def _continuation(self, task: Task, text: str, before: Option, candidate: Candidate) -> Continuation | None:
        output = output_format(task.format)
        entity = _entity(text, candidate)
        rendering = output.render(text, [*(_entity(text, each) for each in before), entity], task.names)
        if any(each.entity == entity for each in rendering.left_out):
            return None
        parsed = next(each for each in output.parse(rendering.completion, text) if each == entity)
        start, end = parsed.rendering[0].start, parsed.rendering[-1].end
        lock = output.lock(text, task.names, whole_words=task.whole_words)
        return Continuation(lock, rendering.completion, start, end)


def _pairwise_differences(odds: Sequence[float]) -> list[float]:
    return [one - other for one, other in zip(odds[::2], odds[1::2], strict=True)]


def _entity(passage: str, candidate: Candidate) -> Entity:
    return Entity(candidate.start, candidate.end, candidate.label, passage[candidate.start : candidate.end])


def _log_odds(log_probability: float, of_others: float) -> float:
    """Of what may be certain in one place, for llama.cpp rounds."""
    return log_probability - max(of_others, _LEAST)
