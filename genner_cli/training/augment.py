"""Other label lists for the same text, so that a model learns to follow the list that it is given.

Takes a sample, a tree of labels and a random state, gives a sample; the same for the same state. The ways are those of
DynamicNER (arXiv 2409.11022), on whole label lists. Knows nothing of torch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from random import Random

from genner_cli.training.examples import Sample
from genner_cli.training.options import Augmentation
from genner_cli.types import Label, LabelNode, LabelTree

COMMON_TYPES: dict[tuple[str, ...], str] = {
    ("aircraft", "airplane", "plane"): "named or numbered aircraft",
    ("allergen",): "substances that cause allergies",
    ("architectural style", "style"): "styles of building",
    ("astronomical object", "star", "planet", "celestial body"): "stars, planets and moons",
    ("award", "prize"): "prizes, medals and honours",
    ("bacterium", "bacteria"): "species of bacteria",
    ("board game", "game"): "titles of games",
    ("book", "written work", "work", "work of art", "creative work"): "titles of books",
    ("cell type", "cell", "cell line"): "kinds of living cells",
    ("chemical", "chemical compound", "substance", "chem"): "chemical elements and compounds",
    ("dance",): "named dances",
    ("disease", "illness", "condition", "medical condition"): "diseases and disorders",
    ("dish", "food", "meal"): "named dishes",
    ("drug", "medicine", "medication"): "names of medicines",
    ("email address", "email", "contact"): "addresses of electronic mail",
    ("enzyme",): "names of enzymes",
    ("file format",): "formats of computer files",
    ("film", "movie"): "titles of films",
    ("gene", "protein", "dna", "rna"): "genes and proteins",
    ("identifier", "id number", "serial number"): "numbers that identify a thing",
    ("ip address",): "addresses of computers",
    ("language", "lang"): "named languages",
    ("law", "statute", "regulation"): "titles of laws and treaties",
    ("medical procedure", "procedure", "treatment"): "operations and treatments",
    ("mineral", "rock"): "named minerals and rocks",
    ("musical instrument", "instrument"): "musical instruments",
    ("phone number", "telephone", "phone"): "telephone numbers",
    ("plant", "flora"): "species of plants",
    ("programming language",): "languages of programs",
    ("sacred text",): "scriptures",
    ("ship", "vessel", "vehicle", "veh"): "named ships",
    ("software", "program", "app"): "named programs",
    ("song", "album", "music"): "titles of songs",
    ("species", "animal", "organism"): "species of animals",
    ("sport", "discipline"): "kinds of sport",
    ("symptom", "sign"): "signs of diseases",
    ("tax",): "named taxes",
    ("theorem",): "named theorems and laws of nature",
    ("url", "website", "web address"): "addresses of web pages",
    ("weapon", "wea"): "named weapons",
}
"""Entity types of many data sets: names for the same thing, of which the first is asked for, and a definition.

Types that nearly every text has (people, places, organizations, times, numbers) are not among them: to teach that
such a text has none would be to teach what is false.
"""


_LIKE_OTHER = frozenset({"other", "misc", "miscellaneou", "unknown", "entity", "entitie"})
"""Labels, as `_key` writes them, that a data set may have for the rest."""


NO_TREE = LabelTree()


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What the labels of a data set may be asked for as, beside their names.

    `ancestors`: the labels above them, from the top, each with the names of all labels at and below it; `aliases`: by
    name, other names that mean one label alone; `words`: all names that the data set may mean something by, as `_key`
    writes them.
    """

    ancestors: tuple[tuple[Label, frozenset[str]], ...]
    aliases: Mapping[str, tuple[str, ...]]
    words: frozenset[str]

    def labels(self, labels: Iterable[Label], augmentation: Augmentation) -> tuple[Label, ...]:
        """All labels that may be asked for: these, then those above them and all their aliases, where an augmentation
        draws these."""
        known = [*labels, *(label for label, _ in self.ancestors if augmentation.ancestor)]
        others = ((label, self.aliases.get(label.name, ())) for label in known if augmentation.alias)
        return (*known, *(replace(label, name=alias) for label, aliases in others for alias in aliases))


@lru_cache(maxsize=16)
def vocabulary(labels: tuple[Label, ...], tree: LabelTree) -> Vocabulary:
    """What labels may be asked for as, if they are of this tree. An alias that may mean another label is left out.

    Raises UsageError for an alias that output formats cannot write.
    """
    chains = {tree.path(nodes): nodes for nodes in tree.walk()}
    asked, own = tree.labels(), [label.name for label in labels]
    paths = {name: path for name in own if (path := tree.find(name)) is not None}
    below: dict[str, set[str]] = {path: set() for path in chains}
    for name, path in paths.items():
        for count in range(1, len(chains[path]) + 1):
            below[tree.path(chains[path][:count])].add(name)
    above = {path: names for path, names in below.items() if any(paths[name] != path for name in names)}
    named = {**{asked[path].name: path for path in above}, **paths}
    words = {name for nodes in chains.values() for name in (nodes[-1].label.name, *nodes[-1].aliases)}
    return Vocabulary(
        ancestors=tuple((asked[path], frozenset(names)) for path, names in above.items()),
        aliases={name: _aliases(path, chains[path][-1], tree, own) for name, path in named.items()},
        words=frozenset(map(_key, {*own, *words})),
    )


def _aliases(path: str, node: LabelNode, tree: LabelTree, own: Collection[str]) -> tuple[str, ...]:
    """The aliases of a label that mean no other."""
    clear = (alias for alias in dict.fromkeys(node.aliases) if tree.find(alias) == path and alias not in own)
    return tuple(Label(alias).name for alias in clear)


def augmented(sample: Sample, augmentation: Augmentation, random: Random, tree: LabelTree = NO_TREE) -> Sample:
    """The sample, asked for with other labels; without the entities of labels that are not asked for.

    The sample's labels must be the whole label set: negative labels are none of these, and written alike. An ancestor
    takes the place of all labels below it, and their entities are its own.
    """
    known = vocabulary(sample.labels, tree)
    means = {label.name: label for label in sample.labels}
    if known.ancestors and random.random() < augmentation.ancestor:
        means = _raised(means, known, random)
    labels, other = _drawn(list(dict.fromkeys(means.values())), known, augmentation, random)
    asked = {label.name: _renamed(label, known, augmentation.alias, random) for label in labels}
    rest = asked[other.name] if other else None
    raised = ((entity, means.get(entity.label)) for entity in sample.entities)
    found = ((entity, asked.get(label.name, rest) if label else rest) for entity, label in raised)
    entities = dict.fromkeys(replace(entity, label=label.name) for entity, label in found if label)
    return replace(sample, entities=tuple(entities), labels=tuple(asked.values()))


def _drawn(
    whole: Sequence[Label], known: Vocabulary, augmentation: Augmentation, random: Random
) -> tuple[list[Label], Label | None]:
    """Those of the labels to ask for, with others, and the one that means all that are left out."""
    labels = list(whole)
    if random.random() < augmentation.subset:
        chosen = random.sample(range(len(labels)), random.randint(1, len(labels)))
        labels = [labels[at] for at in sorted(chosen)]
    other = _other(whole, known) if augmentation.other and random.random() < augmentation.other else None
    if other:
        if len(labels) > 1:  # a single one is a part of the label set, so that others are left out already
            del labels[random.randrange(len(labels))]
        labels.append(other)
    if augmentation.shuffle:
        random.shuffle(labels)
    for negative in _negatives(whole, known, random.randint(0, augmentation.negatives), random):
        labels.insert(random.randint(0, len(labels)), negative)
    return labels, other


def _raised(labels: Mapping[str, Label], known: Vocabulary, random: Random) -> dict[str, Label]:
    """By name, what is asked for in place of each label: one or more of the labels above, the highest where several of
    them are above the same one."""
    chosen = random.sample(range(len(known.ancestors)), random.randint(1, len(known.ancestors)))
    raised = dict(labels)
    for ancestor, below in (known.ancestors[at] for at in sorted(chosen, reverse=True)):
        raised |= dict.fromkeys(below, ancestor)
    return raised


def _renamed(label: Label, known: Vocabulary, rate: float, random: Random) -> Label:
    """The label, or an alias in place of its name."""
    aliases = known.aliases.get(label.name)
    return replace(label, name=random.choice(aliases)) if aliases and random.random() < rate else label


def _other(labels: Sequence[Label], known: Vocabulary) -> Label | None:
    """The label of all entities whose own is not asked for; None where a name of the data set may mean that, or there
    is only one label."""
    if len(labels) == 1 or known.words & _LIKE_OTHER:
        return None
    return _alike(labels, "other", "entities of all other types")


def _negatives(labels: Sequence[Label], known: Vocabulary, count: int, random: Random) -> list[Label]:
    """Common types that no name of the data set may mean, in capitals or with a definition where all of these labels
    are."""
    free = [
        (names[0], text) for names, text in COMMON_TYPES.items() if known.words.isdisjoint(_key(name) for name in names)
    ]
    return [_alike(labels, name, text) for name, text in random.sample(free, min(count, len(free)))]


def _alike(labels: Sequence[Label], name: str, definition: str) -> Label:
    """A label in capitals, or with a definition, where all of these are."""
    capitals = all(label.name.isupper() for label in labels)
    defined = all(label.definition for label in labels)
    return Label(name.upper().replace(" ", "_") if capitals else name, definition if defined else "")


def _key(name: str) -> str:
    """The letters of a name, without the s of a plural."""
    return "".join(char for char in name.casefold() if char.isalpha()).rstrip("s")
