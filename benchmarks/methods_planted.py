"""Rows of the table of methods on planted models: made-up documents, and models whose errors are drawn from a seed.

So it is known what each method must come to, and what its control must not.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from methods_rows import Measured, Row, counted, f1

from genner_cli.methods import cascade
from genner_cli.methods.candidates import BEST, LABEL, VALID, Candidate, labelled, preferred, selected, valid
from genner_cli.methods.ensemble import Polled, choose_roles, judged
from genner_cli.scoring.figures import DocumentCounts
from genner_cli.types import Label, LabelNode, LabelTree

DOCUMENTS = 60
MENTIONS = 4
RECALL = {"a": 0.9, "b": 0.7, "c": 0.5}
"""How often a source proposes an entity; a wrong candidate with INVENTS."""
INVENTS = 0.3
SKILL = {"A": 0.9, "B": 0.8, "C": 0.7}
"""How often a voter is right."""
LABELS = ("PER", "ORG", "LOC")
SPANS = [(10 * at, 10 * at + 4) for at in range(MENTIONS)]
Keep = Callable[[Sequence[Candidate]], Iterable[Candidate]]


def polled(rng: random.Random, *, documents: int = DOCUMENTS) -> list[Polled]:
    """Documents with candidates and the log-odds of all voters: entities, longer ones over them, and invented ones."""
    return [_polled(rng) for _ in range(documents)]


def _polled(rng: random.Random) -> Polled:
    gold = {(start, end, "PER") for start, end in SPANS}
    false = {(start, end + 2, "PER") for start, end in SPANS} | {(start + 5, end + 4, "ORG") for start, end in SPANS}
    candidates = []
    for key in sorted(gold | false):
        sources = tuple(name for name, rate in RECALL.items() if rng.random() < (rate if key in gold else INVENTS))
        votes = {name: _odds(rng, right=(rng.random() < rate) == (key in gold)) for name, rate in SKILL.items()}
        if sources:
            candidates.append(Candidate(*key, sources, {VALID: votes}))
    return Polled(frozenset(gold), tuple(candidates))


def _odds(rng: random.Random, *, right: bool) -> float:
    odds = abs(rng.gauss(1, 1))
    return odds if right else -odds


def counts(documents: Iterable[Polled], keep: Keep) -> list[DocumentCounts]:
    """Strict counts of what is kept in each document."""
    documents = list(documents)
    kept = [{one.key for one in keep(each.candidates)} for each in documents]
    return counted([each.gold for each in documents], kept)


def _of(source: str) -> Keep:
    return lambda candidates: preferred(each for each in candidates if source in each.sources)


def _shuffled(rng: random.Random, documents: Iterable[Polled]) -> list[Polled]:
    """With the votes of other candidates of the same document: questions whose texts have changed places."""
    found = []
    for each in documents:
        votes = [one.votes for one in each.candidates]
        rng.shuffle(votes)
        changed = (replace(one, votes=other) for one, other in zip(each.candidates, votes, strict=True))
        found.append(Polled(each.gold, tuple(changed)))
    return found


def verification(seed: int) -> Measured:
    """One file, verified by one model."""
    documents = polled(random.Random(seed))
    alone = [Polled(each.gold, tuple(c for c in each.candidates if "b" in c.sources)) for each in documents]

    def verified(candidates: Sequence[Candidate]) -> list[Candidate]:
        return preferred(judged(candidates, ("b",), ("A",), {}))

    shuffled = _shuffled(random.Random(seed + 1), alone)
    return Measured(counts(alone, _of("b")), counts(alone, verified), counts(shuffled, verified))


def ensemble(seed: int) -> Measured:
    """Three files and three voters, roles chosen on other documents, beside the best single file."""
    rng = random.Random(seed)
    roles = choose_roles(polled(rng), tuple(RECALL), tuple(SKILL))
    documents = polled(rng)
    best = max(RECALL, key=lambda source: f1(counts(documents, _of(source))))

    def voted(candidates: Sequence[Candidate]) -> list[Candidate]:
        return preferred(judged(candidates, *roles[:3]))

    shuffled = _shuffled(random.Random(seed + 1), documents)
    return Measured(counts(documents, _of(best)), counts(documents, voted), counts(shuffled, voted))


def _typed(labels: Mapping[str, Sequence[str]]) -> Iterator[Polled]:
    """Spans with the labels that each voter gives them."""
    for at in range(DOCUMENTS):
        gold, candidates = set(), []
        for number, (start, end) in enumerate(SPANS):
            right = LABELS[(at + number) % len(LABELS)]
            gold.add((start, end, right))
            votes = {name: given[MENTIONS * at + number] for name, given in labels.items()}
            candidates.append(Candidate(start, end, "entity", ("a",), {LABEL: votes}))
        yield Polled(frozenset(gold), tuple(candidates))


def classification(seed: int) -> Measured:
    """EL4NER's vote on the labels of given spans, beside the best single classifier; control: random labels."""
    rng = random.Random(seed)
    right = [LABELS[(at + number) % len(LABELS)] for at in range(DOCUMENTS) for number in range(MENTIONS)]
    given = {
        name: [label if rng.random() < rate else rng.choice([o for o in LABELS if o != label]) for label in right]
        for name, rate in SKILL.items()
    }
    by_chance = {name: [rng.choice(LABELS) for _ in right] for name in SKILL}
    best = {"A": given["A"]}
    sides = (list(_typed(labels)) for labels in (best, given, by_chance))
    return Measured(*(counts(side, labelled) for side in sides))


def selection(seed: int) -> Measured:
    """Self-Selection between two files by one model, beside the better file; control: a model that always says the
    first."""
    documents = polled(random.Random(seed))
    sources = ("a", "b")

    def with_votes(candidates: Sequence[Candidate], sign: float) -> list[Candidate]:
        """The model's margin for a side is the log-odds that it gives the candidate."""
        return [each.voted(BEST, "A", sign * each.votes[VALID]["A"]) for each in candidates]

    def chosen(candidates: Sequence[Candidate]) -> list[Candidate]:
        both = [each for each in candidates if {*sources} & {*each.sources}]
        return preferred(selected(with_votes(both, 1.0), sources))

    def first(candidates: Sequence[Candidate]) -> list[Candidate]:
        both = [each for each in candidates if {*sources} & {*each.sources}]
        return preferred(selected(with_votes(both, 0.0), sources))

    return Measured(counts(documents, _of("a")), counts(documents, chosen), counts(documents, first))


TREE = LabelTree(
    tuple(
        LabelNode(Label(top), tuple(LabelNode(Label(f"{top}{number}")) for number in range(3)))
        for top in ("x", "y", "z")
    )
)


def walk(seed: int) -> Measured:
    """CascadeNER's walk down a tree with a beam, beside the greedy one, by a classifier with noise; control: scores
    that belong to other labels."""
    rng = random.Random(seed)
    leaves = [f"{top}/{top}{number}" for top in "xyz" for number in range(3)]
    gold = [rng.choice(leaves) for _ in range(DOCUMENTS * MENTIONS)]
    noise = random.Random(seed + 1)
    planted = [
        {name: 1.6 * (name in path.split("/")) + noise.gauss(0, 1) for leaf in leaves for name in leaf.split("/")}
        for path in gold
    ]

    def ask(questions: Sequence[cascade.Which]) -> list[list[float]]:
        return [[planted[each.item][label.name] for label in each.labels] for each in questions]

    def permuted(questions: Sequence[cascade.Which]) -> list[list[float]]:
        return [
            random.Random(seed + each.item).sample(scores, len(scores))
            for each, scores in zip(questions, ask(questions), strict=True)
        ]

    def accuracy(found: Sequence[str | None]) -> list[DocumentCounts]:
        return counted(([each] for each in gold), ([each] for each in found))

    asked = len(gold)
    return Measured(
        accuracy(cascade.walk(TREE, asked, ask)),
        accuracy(cascade.walk(TREE, asked, ask, beam=9)),
        accuracy(cascade.walk(TREE, asked, permuted, beam=9)),
    )


def released_filter(seed: int) -> Measured:
    """The vote of arXiv 2512.10043 as intended, beside the filter that was released: it asks whether more than half of
    the voters answered."""
    documents = polled(random.Random(seed))
    union = counts(documents, preferred)
    voted = counts(documents, lambda candidates: preferred(valid(candidates)))
    shuffled = _shuffled(random.Random(seed + 1), documents)
    return Measured(union, voted, counts(shuffled, lambda candidates: preferred(valid(candidates))))


ROWS = (
    Row("GPT-NER", "verification by one model", "as extracted", "shuffled questions", verification),
    Row("Local ensemble (2512.10043)", "vote of three", "released filter", "shuffled questions", released_filter),
    Row("Local ensemble (2512.10043)", "chosen roles, elsewhere", "best single file", "shuffled questions", ensemble),
    Row("EL4NER", "vote on labels", "best single classifier", "random labels", classification),
    Row("Self-Selection", "per entity, by one model", "better file", "always the first", selection),
    Row("CascadeNER", "walk with a beam", "greedy walk", "scores of other labels", walk),
)
