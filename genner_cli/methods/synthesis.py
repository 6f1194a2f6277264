"""Synthetic sentences (ProgGen, Heng et al. 2024, arXiv 2403.11103): what a writer is asked, and what of it is kept.

A plan has attributes with values (the paper's "Diversify X") and names for each label ("Diversify Y"); each sentence is
asked for with some of both, drawn by its number and a seed. Knows nothing of engines and files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from random import Random
from typing import Any, NamedTuple

from genner_cli.data.runs import links, words_of
from genner_cli.files.plans import Attribute, Plan
from genner_cli.prompting import Demonstration, Prompt
from genner_cli.types import Document, Label

WRITER_PROMPT = Prompt(
    "You write varied and realistic example texts. Do exactly what is asked.\n", "\n", "\n\nAnswer:\n"
)
ATTRIBUTES = {"topic": 1.0, "style": 0.4}
"""Of a plan that the model makes, with their shares (the paper's, which has GPT-4 name further ones)."""
CALLS_PER_ATTRIBUTE = 3
ASKED_AT_ONCE = 10
"""Values or names of one answer."""
SENTENCES_PER_NAME_CALL = 100
MOST_NAME_CALLS = 10
MOST_NAMES_OF_A_LABEL = 3
FEWEST_WORDS = 3
LINE = r"root ::= [^\n]+ [\n]?"
LINES = r"root ::= [^\n]+ ([\n] [^\n]+)* [\n]?"
_MOST_WORDS = 6
_LISTED = re.compile(r"^\s*(?:[-*•]+|\(?\d{1,3}[.):]+|\(?[A-Za-z]\))\s*")
_NAMES_NOTHING = re.compile(r"[\W_]*[A-Za-z]?[\W_]*")
"""One letter: with these a model counts on that has nothing more to list."""
_EXPLAINED = re.compile(r"\s+[-–—:]\s.*$|\s*[:(].*$")
_QUOTES = "\"'“”‘’*` "
_ENDED = re.compile(r".*[.!?][\"'”’)]*(?=\s)", re.DOTALL)
_PREFACE = re.compile(r"^[\w' ]{0,40}\b(?:sentence|answer|text)\b[\w' ]{0,20}:\s*", re.IGNORECASE)


class Verdict(StrEnum):
    """What became of a sentence that was asked for."""

    KEPT = "kept"
    FAILED = "failed"
    EMPTY = "empty"
    CUT = "cut"
    REPEATED = "repeated"
    EXAMPLE = "copy of an example"
    CONTAMINATED = "shared with --not-in"
    SPARE = "spare"


class Written(NamedTuple):
    """What a writer answered. `problem`: FAILED, EMPTY or CUT, where there is no sentence."""

    id: str
    text: str
    problem: Verdict | None = None


def value_questions(about: str) -> list[Document]:
    """What is asked to find the values of the attributes."""
    return [
        _question(
            f"{name} {number}",
            f"List {ASKED_AT_ONCE} different {name}s for sentences about {about}. One short {name} per line, without"
            " explanations.",
            of=name,
        )
        for name in ATTRIBUTES
        for number in range(1, CALLS_PER_ATTRIBUTE + 1)
    ]


def name_questions(about: str, labels: Sequence[Label], topics: Sequence[str], sentences: int) -> list[Document]:
    """What is asked to find names for each label, with one topic after the other; more for more sentences."""
    calls = min(MOST_NAME_CALLS, 2 + sentences // SENTENCES_PER_NAME_CALL)
    found = []
    for label in labels:
        kind = f"{label.name} ({label.definition})" if label.definition else label.name
        for number in range(calls):
            topic = f" with the topic '{topics[number % len(topics)]}'" if topics else ""
            asked = f"List {ASKED_AT_ONCE} different names of the kind {kind} that sentences about {about}{topic} may"
            text = f"{asked} mention. One name per line, without explanations."
            found.append(_question(f"{label.name} {number + 1}", text, of=label.name))
    return found


def sentence_questions(plan: Plan, numbers: Iterable[int], seed: int) -> list[Document]:
    """What is asked for the sentences with these numbers."""
    return [_sentence_question(plan, number, seed) for number in numbers]


def _sentence_question(plan: Plan, number: int, seed: int) -> Document:
    rng = Random(f"{seed} {number}")
    attributes = {name: rng.choice(each.values) for name, each in plan.attributes.items() if rng.random() < each.share}
    names = _drawn_names(plan, rng)
    return _question(f"s{number}", request_text(plan.about, attributes, names), attributes=attributes, names=names)


def _drawn_names(plan: Plan, rng: Random) -> list[str]:
    """At most three of each label, each kept with a probability that comes to the plan's number on average."""
    drawn = [name for pool in plan.names.values() for name in rng.sample(pool, min(len(pool), MOST_NAMES_OF_A_LABEL))]
    kept = [name for name in drawn if rng.random() < plan.names_per_sentence / len(drawn)]
    rng.shuffle(kept)
    return list(dict.fromkeys(kept))


def request_text(about: str, attributes: Mapping[str, str], names: Sequence[str]) -> str:
    """The request for one sentence. Names stand there without their labels, as in the paper."""
    lines = [f"Write one sentence about {about}."]
    lines += [f"{name.capitalize()}: {value}." for name, value in attributes.items()]
    if names:
        lines.append(f"Use these names in it: {', '.join(names)}.")
    return "\n".join([*lines, "Write only the sentence."])


def shown(about: str, examples: Iterable[Document]) -> list[Demonstration]:
    """Labelled documents as answered requests, which name the entities of each."""
    return [
        Demonstration(
            request_text(about, {}, list(dict.fromkeys(entity.text for entity in each.entities))),
            " ".join(each.text.split()),
        )
        for each in examples
    ]


def _question(id: str, text: str, **fields: Any) -> Document:
    return Document(text, id, fields={"id": id, **fields})


def listed(answers: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    """Pairs (what was asked for, an answer of one item per line) -> the items of each, once, in order; without numbers,
    marks of lists, quotes and explanations."""
    found: dict[str, dict[str, str]] = {}
    for of, answer in answers:
        items = found.setdefault(of, {})
        for line in answer.splitlines():
            bare = " ".join(_LISTED.sub("", line).split()).strip(_QUOTES)
            item = _EXPLAINED.sub("", bare).strip(_QUOTES + ".,;")
            if len(item.split()) <= _MOST_WORDS and not _NAMES_NOTHING.fullmatch(item):
                items.setdefault(item.casefold(), item)
    return {of: tuple(items.values()) for of, items in found.items()}


def planned(about: str, values: Mapping[str, Sequence[str]], names: Mapping[str, Sequence[str]]) -> Plan:
    """A plan of what a model listed."""
    attributes = {name: Attribute(tuple(values[name]), share) for name, share in ATTRIBUTES.items() if values.get(name)}
    return Plan(about, attributes, {label: tuple(each) for label, each in names.items()})


def written(id: str, answer: str, *, cut: bool) -> Written:
    """An answer as a sentence, without quotes around it and words before it that are not part of it; where its tokens
    ran out, up to the last end of a sentence, if there is one."""
    ended = _ENDED.match(answer) if cut else None
    answer, cut = (ended[0], False) if ended else (answer, cut)
    text = " ".join(_PREFACE.sub("", _LISTED.sub("", answer)).split()).strip('"“”* ')
    words = [word for word in text.split() if any(map(str.isalnum, word))]
    if len(words) < FEWEST_WORDS:
        return Written(id, text, Verdict.EMPTY)
    return Written(id, text, Verdict.CUT if cut else None)


def sifted(
    sentences: Sequence[Written], wanted: int, *, examples: Sequence[str] = (), elsewhere: Sequence[str] = ()
) -> list[Verdict]:
    """A verdict for each, of which at most `wanted` are KEPT, and further good ones SPARE.

    A sentence that shares eight consecutive words with an earlier one, or all of it if it has fewer, is not kept
    (`data.runs`); nor one that shares them with an example, or with a text that must not be trained on (`elsewhere`).
    """
    sound = [number for number, each in enumerate(sentences) if not each.problem]
    before = [*elsewhere, *examples]
    first: dict[int, int] = {}
    for one, other in links([*before, *(sentences[number].text for number in sound)]):
        first[other] = min(one, first.get(other, one))
    verdicts = [each.problem or Verdict.KEPT for each in sentences]
    for place, number in enumerate(sound, len(before)):
        like = first.get(place)
        if like is not None:
            of_file = Verdict.CONTAMINATED if like < len(elsewhere) else Verdict.EXAMPLE
            verdicts[number] = of_file if like < len(before) else Verdict.REPEATED
        elif wanted:
            wanted -= 1
        else:
            verdicts[number] = Verdict.SPARE
    return verdicts


@dataclass(frozen=True, slots=True)
class Scored:
    """An annotation: `place` names it, and its entity has a label and a score."""

    place: tuple[int, int]
    label: str
    score: float


def uncertain(annotations: Sequence[Scored], share: float) -> set[tuple[int, int]]:
    """The places of the least certain annotations: round(share x all), and of each label the same share (by largest
    remainders), so that the mix of labels is that of all."""
    by_label: dict[str, list[Scored]] = {}
    for each in annotations:
        by_label.setdefault(each.label, []).append(each)
    exact = {label: share * len(group) for label, group in by_label.items()}
    counts = {label: int(value) for label, value in exact.items()}
    missing = round(share * len(annotations)) - sum(counts.values())
    for label in sorted(exact, key=lambda label: (counts[label] - exact[label], label))[: max(0, missing)]:
        counts[label] += 1
    return {
        each.place
        for label, group in by_label.items()
        for each in sorted(group, key=lambda each: (each.score, each.place))[: counts[label]]
    }


def diversity(documents: Sequence[Document]) -> dict[str, Any]:
    """How varied documents are: distinct mentions (text without case, and label), and distinct-2, the share of pairs of
    neighbouring words that occur for the first time (Li et al. 2016, arXiv 1510.03055)."""
    mentions = [(each.text.casefold(), each.label) for document in documents for each in document.entities]
    pairs = [pair for each in documents for pair in pairwise(words_of(each.text))]
    return {
        "entities": len(mentions),
        "distinct mentions": len(set(mentions)),
        "sentences without entities": sum(not each.entities for each in documents),
        "distinct-2": round(len(set(pairs)) / len(pairs), 4) if pairs else 0.0,
    }
