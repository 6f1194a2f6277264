"""Rows of the table of methods on planted data: synthetic sentences and label lists, and students that learn by heart.

A student remembers what stood under which label, so it is known what more varied data, or other names for labels, must
come to.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence

from methods_rows import Measured, Row, counted
from synthesis import shuffled

from genner_cli.files.plans import Plan
from genner_cli.methods import synthesis
from genner_cli.methods.synthesis import Scored, Verdict, Written
from genner_cli.scoring.figures import DocumentCounts
from genner_cli.training.augment import augmented
from genner_cli.training.examples import Sample
from genner_cli.training.options import AUGMENTED, Augmentation
from genner_cli.types import Document, Entity, Label, LabelNode, LabelTree
from genner_cli.wordlists import WordList

LABELS = ("PER", "ORG", "LOC")
NAMES = {label: tuple(f"{label.title()}{number}" for number in range(60)) for label in LABELS}
"""The names of a planted world."""
KNOWN, FAVOURITES = 40, 4
"""Of each label, names in a plan, and names that a writer uses unasked."""
SENTENCES = 200
OTHER_WORDS = tuple(
    f"{first}{last}" for first in ("ba", "de", "ki", "lo", "mu") for last in ("ran", "sel", "tip", "wog")
)


def _sentences(rng: random.Random, plan: Plan | None, seed: int) -> list[Document]:
    """What a writer makes of a plan, with the names that it is asked for, or of its own favourites; annotated rightly,
    and sifted."""
    asked = synthesis.sentence_questions(plan or Plan("x"), range(SENTENCES), seed)
    own = [name for names in NAMES.values() for name in names[:FAVOURITES]]
    texts = [_sentence(rng, each.fields["names"] if plan else rng.sample(own, 2)) for each in asked]
    written = [Written(str(number), text) for number, text in enumerate(texts)]
    verdicts = synthesis.sifted(written, SENTENCES)
    return [_annotated(text) for text, verdict in zip(texts, verdicts, strict=True) if verdict is Verdict.KEPT]


def _sentence(rng: random.Random, names: Iterable[str]) -> str:
    words = [*names, *rng.choices(OTHER_WORDS, k=9)]
    rng.shuffle(words)
    return f"{' '.join(words)}."


def _annotated(text: str) -> Document:
    label_of = {name: label for label, names in NAMES.items() for name in names}
    found = WordList(label_of).find(text)
    return Document(text, entities=tuple(Entity(at.start, at.end, label_of[at.key], at.key) for at in found))


def _by_heart(learnt: Sequence[Document], asked: Sequence[Document]) -> list[DocumentCounts]:
    """Counts of a student that finds the mentions it has seen, each with the label it mostly had."""
    seen: dict[str, Counter[str]] = {}
    for document in learnt:
        for each in document.entities:
            seen.setdefault(each.text, Counter())[each.label] += 1
    mentions = WordList(seen)
    label_of = {mentions.key(text): labels.most_common(1)[0][0] for text, labels in seen.items()}
    found = [[(at.start, at.end, label_of[at.key]) for at in mentions.find(each.text)] for each in asked]
    return counted(map(_keys, asked), found)


def _keys(document: Document) -> list[tuple[int, int, str]]:
    return [(each.start, each.end, each.label) for each in document.entities]


def plan(seed: int) -> Measured:
    """Sentences written with a plan, beside those of a writer that is asked for the same each time; control: each
    sentence with the entities of another one."""
    rng = random.Random(seed)
    world = Plan("x", names={label: tuple(rng.sample(names, KNOWN)) for label, names in NAMES.items()})
    every = [name for names in NAMES.values() for name in names]
    asked = [_annotated(_sentence(rng, rng.sample(every, 2))) for _ in range(SENTENCES)]
    simple, planned = (_sentences(rng, each, seed) for each in (None, world))
    return Measured(*(_by_heart(each, asked) for each in (simple, planned, shuffled(planned, seed))))


WRONG, SURE, JUDGED = 0.2, 0.8, 0.9
"""How often an annotation is wrong, how often its score shows that, and how often a judge is right."""


def correction(seed: int) -> Measured:
    """The least certain fifth of annotations judged; control: answers about other annotations."""
    rng = random.Random(seed)
    gold = [rng.choice(LABELS) for _ in range(900)]
    said = [rng.choice([o for o in LABELS if o != each]) if rng.random() < WRONG else each for each in gold]
    answers = [each if rng.random() < JUDGED else rng.choice(LABELS) for each in gold]
    scores = [
        rng.random() * (0.5 if (one != two) == (rng.random() < SURE) else 1.0)
        for one, two in zip(gold, said, strict=True)
    ]
    doubted = synthesis.uncertain(
        [Scored((at, 0), label, score) for at, (label, score) in enumerate(zip(said, scores, strict=True))], WRONG
    )
    by_chance = rng.sample(answers, len(answers))

    def corrected(by: Sequence[str]) -> list[DocumentCounts]:
        after = (new if (at, 0) in doubted else old for at, (old, new) in enumerate(zip(said, by, strict=True)))
        return counted(([each] for each in gold), ([each] for each in after))

    return Measured(corrected(said), corrected(answers), corrected(by_chance))


LEAVES = tuple(f"{top}{number}" for top in "abc" for number in range(3))


def _tree(leaves: Sequence[str]) -> LabelTree:
    """Three labels above three each, every one with an alias."""
    nodes = [LabelNode(Label(leaf), aliases=(f"alias {at}",)) for at, leaf in enumerate(leaves)]
    return LabelTree(
        tuple(
            LabelNode(Label(f"top {at}"), tuple(nodes[3 * at : 3 * at + 3]), aliases=(f"alias of {at}",))
            for at in range(3)
        )
    )


def _samples(rng: random.Random, count: int) -> list[Sample]:
    """Texts with four mentions, whose words tell their labels."""
    labels = tuple(Label(leaf) for leaf in LEAVES)
    found = []
    for _ in range(count):
        words = [(f"{label}w{rng.randrange(5)}", label) for label in rng.choices(LEAVES, k=4)]
        text = " ".join(word for word, _ in words)
        found.append(
            Sample(
                text, tuple(Entity(5 * at, 5 * at + 4, label, word) for at, (word, label) in enumerate(words)), labels
            )
        )
    return found


def labels(seed: int) -> Measured:
    """A student that has learnt from changing label lists, asked for such lists, beside one that has learnt from the
    plain list; control: labels above and aliases that belong to other labels."""
    rng = random.Random(seed)
    learnt, tree = _samples(rng, 300), _tree(LEAVES)
    drawn = Augmentation(**AUGMENTED)
    asked = [augmented(each, drawn, rng, tree) for each in _samples(rng, 200)]
    other = [augmented(each, drawn, rng, _tree((*LEAVES[4:], *LEAVES[:4]))) for each in learnt]
    right = [augmented(each, drawn, rng, tree) for each in learnt]
    return Measured(*(_named(each, asked) for each in (learnt, right, other)))


def _named(learnt: Sequence[Sample], asked: Sequence[Sample]) -> list[DocumentCounts]:
    """Counts of a student that knows how often a word stood under a label when it was asked for, and gives it the label
    of the list under which it stood the most."""
    times, under = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for sample in learnt:
        label_of = {each.text: each.label for each in sample.entities}
        for word in sample.text.split():
            times.update((word, label.name) for label in sample.labels)
            under.update([(word, label_of[word])] if word in label_of else ())
    found = []
    for sample in asked:
        kept = []
        for at, word in enumerate(sample.text.split()):
            rates = {label.name: under[word, label.name] / max(1, times[word, label.name]) for label in sample.labels}
            best = max(rates, key=lambda name: rates[name])
            kept += [(5 * at, 5 * at + 4, best)] if rates[best] >= 0.5 else []
        found.append(kept)
    gold = [[(each.start, each.end, each.label) for each in sample.entities] for sample in asked]
    return counted(gold, found)


ROWS = (
    Row("ProgGen", "learnt from sentences with a plan", "simple prompt", "entities of other sentences", plan),
    Row("ProgGen", "least certain fifth judged", "as annotated", "answers about others", correction),
    Row("DynamicNER", "learnt from changing lists", "from the plain list", "names of other labels", labels),
)
