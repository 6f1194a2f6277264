"""Models with planted knowledge, at the seam where a judge's questions are answered."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext

from genner_cli.errors import ModelError
from genner_cli.generation import Answer, Question
from genner_cli.methods.posing import JUDGE_PROMPT, Asked, Poser
from genner_cli.running.judging import Judge, Voter
from genner_cli.types import Label

LIKELY, UNLIKELY = -0.1, -3.0
Knows = Callable[[str, str, str], bool]
"""(passage, mention, label) -> whether the model holds it for right."""
VALID_QUESTION = re.compile(
    r'Is "(?P<mention>.*?)" an entity with the label (?P<label>[\w ]+?)(?: \(.*\))?\? ', re.DOTALL
)
PAIR = re.compile(r'"(?P<mention>.*?)" is (?P<label>[\w ]+)')


def text_of(question: Question) -> tuple[str, str]:
    """The passage and the question in it."""
    passage, _, asked = question.rest[0].text.partition("\n\nQuestion: ")
    return passage, asked


def answer(question: Question, knows: Knows) -> Answer:
    """What a model with this knowledge says; nothing in particular to a question about an empty text."""
    passage, asked = text_of(question)
    options = [option[0].text for option in question.options]
    if not passage:
        return Answer(tuple(-1.0 for _ in options))
    if found := VALID_QUESTION.match(asked):
        yes = knows(passage, found["mention"], found["label"])
        return Answer(tuple(LIKELY if (option.lower() == "yes") == yes else UNLIKELY for option in options))
    if asked.startswith("Which label"):
        mention = asked.split('"')[1]
        return Answer(tuple(LIKELY if knows(passage, mention, option) else UNLIKELY for option in options))
    lines = [line.partition(". ")[2] for line in asked.splitlines() if re.match(r"\d\. ", line)]
    right = [all(knows(passage, *pair.groups()) for pair in PAIR.finditer(line)) and '"' in line for line in lines]
    if not any(right):
        right = ['"' not in line for line in lines]
    return Answer(tuple(LIKELY if each else UNLIKELY for each in right))


def voter(name: str, knows: Knows, labels: Iterable[Label] = (), *, fails: bool = False) -> Voter:
    """A voter with this knowledge; one that `fails` cannot answer anything."""

    def score(questions: Iterable[Question]) -> Iterator[tuple[int, Answer]]:
        for number, question in reversed(list(enumerate(questions))):
            yield number, Answer((), error="no answer") if fails else answer(question, knows)

    return of_score(name, score, tuple(labels))


def of_score(name: str, score: object, labels: tuple[Label, ...] = (), poser: Poser | None = None) -> Voter:
    judge = Judge(poser or Asked(JUDGE_PROMPT, labels), score)  # type: ignore[arg-type]
    return Voter(name, name, lambda ask: nullcontext(judge))


def broken(name: str) -> Voter:
    """One whose model cannot be opened."""

    @contextmanager
    def refuse(ask: str) -> Iterator[Judge]:
        raise ModelError(f"{name}.gguf: is broken; download it again")
        yield

    return Voter(name, name, refuse)
