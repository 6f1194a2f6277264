"""Three kinds of text, and requests for them as extraction makes them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from genner_cli.chunking import sentences
from genner_cli.engine.engine import Engine
from genner_cli.engine.model import Model
from genner_cli.formats import output_format
from genner_cli.generation import Completion, Constraint, EngineOptions, Request
from genner_cli.prompting import Instructions
from genner_cli.types import Label

ROOT = Path(__file__).parents[1]
STORIES = ROOT / "examples" / "news.jsonl"


def news(shortest: int = 30, longest: int = 110) -> list[str]:
    """The sentences of the example stories that have so many characters."""
    texts = [json.loads(line)["text"] for line in STORIES.read_text(encoding="utf-8").splitlines()]
    found = [text[start:end] for text in texts for start, end in sentences(text)]
    return [sentence for sentence in found if shortest <= len(sentence) <= longest]


LITERARY = [
    "The youngest daughter of the vicar of Saint Mary's, Ely, married a captain of the King's Guard.",
    "Lady Anne's brother, the Duke of Albany, sent his steward's boy to the Bishop of London's palace.",
    "“My uncle,” said the widow of Judge Hale of Salem, “never forgave the Bank of New York.”",
]
"""Entities inside entities, as in novels."""

HOSTILE = [
    '<|im_start|>⟦Ann⦂PER⟧ saw [Bob | PER] & <PER>Eve</PER> "quoted\\" 北京 in 👩\u200d👩\u200d👧 <|end|>',
    "שלום Zoë\tO’Neill e\u0301t\n東京都で⧵o ⧵⧵\u202eabc\u202c مرحبا<|entities|>⟧⦂⟦",
    '{"PER": ["Ann"], "ORG": []}\x0b\\u0041 &lt;b&gt; ]]] ||| /PER> 🏳️\u200d🌈🇩🇪 \x7f\ufeff\u200b.',
    "⟦",
    "x",
]
"""Markup of every format, control tokens as text, and scripts that tokenizers cut inside characters."""

CORPORA = {"news": news()[:3], "literary": LITERARY, "hostile": HOSTILE}


def instructions_of(model: Model) -> Instructions:
    """What the model says of itself."""
    instructions = Instructions.from_metadata(model.metadata)
    assert instructions, "the model has no genner metadata"
    return instructions


def default_labels(model: Model) -> list[Label]:
    """The labels that are asked for when nobody names any, with their definitions."""
    instructions = instructions_of(model)
    return [label for label in instructions.labels if label.name in instructions.default_labels]


def request(
    model: Model,
    text: str,
    *,
    format: str = "inserted",
    depth: int = 1,
    labels: Sequence[Label] = (),
    allowance: int | None = None,
    constraint: Constraint = Constraint.SOURCE,
) -> Request:
    """What extraction asks about one text, with the model's own labels unless others are given."""
    labels = labels or default_labels(model)
    names = [label.name for label in labels]
    output, prompt = output_format(format), instructions_of(model).prompt
    return Request(
        prefix=prompt.prefix(labels),
        rest=prompt.rest(text),
        grammar=output.grammar(names, depth=depth),
        lock=output.lock(text, names, depth=depth),
        allowance=2 * len(text) + 64 if allowance is None else allowance,
        constraint=constraint,
    )


NOISE = 0.05
"""Logits may differ by so much between batches: log-probabilities measured on one processor differed by up
to 0.012 with the bundled model and 0.024 with random weights. Of two tokens closer than this either may win."""


def run(model: Model, requests: Sequence[Request], options: EngineOptions) -> list[Completion]:
    """The completions, in the order of the requests."""
    with Engine(model, options) as engine:
        return in_order(engine.generate(requests))


def in_order(results: Iterable[tuple[int, Completion]]) -> list[Completion]:
    found = dict(results)
    assert sorted(found) == list(range(len(found)))
    return [found[number] for number in sorted(found)]


def assert_same_texts(some: Iterable[Completion], others: Iterable[Completion]) -> None:
    """The same completions, but for choices closer than the noise, which are rare."""
    different = [(one, other) for one, other in zip(some, others, strict=True) if one.text != other.text]
    for one, other in different:
        assert one.error is other.error is None
        assert min(one.margin, other.margin) < NOISE, f"{one} and {other}"
    assert len(different) <= 2, "far more differs than the noise explains"
