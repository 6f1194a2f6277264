"""Other label lists for the same text, so that a model learns to follow the list that it is given.

Takes a sample and a random state, gives a sample; the same for the same state. Knows nothing of torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from genner_cli.training.examples import Sample
from genner_cli.training.options import Augmentation
from genner_cli.types import Label

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


def augmented(sample: Sample, augmentation: Augmentation, random: Random) -> Sample:
    """The sample, asked for with other labels; without the entities of labels that are not asked for.

    The sample's labels must be the whole label set: negative labels are none of these, and written alike.
    """
    labels = list(sample.labels)
    if random.random() < augmentation.subset:
        chosen = random.sample(range(len(labels)), random.randint(1, len(labels)))
        labels = [labels[at] for at in sorted(chosen)]
    other = _other(sample.labels) if augmentation.other and random.random() < augmentation.other else None
    if other:
        if len(labels) > 1:  # a single one is a part of the label set, so that others are left out already
            del labels[random.randrange(len(labels))]
        labels.append(other)
    if augmentation.shuffle:
        random.shuffle(labels)
    for negative in _negatives(sample.labels, random.randint(0, augmentation.negatives), random):
        labels.insert(random.randint(0, len(labels)), negative)
    asked = {label.name for label in labels}
    renamed = (
        replace(each, label=other.name) if other and each.label not in asked else each for each in sample.entities
    )
    entities = tuple(dict.fromkeys(entity for entity in renamed if entity.label in asked))
    return replace(sample, entities=entities, labels=tuple(labels))


def _other(labels: Sequence[Label]) -> Label | None:
    """The label of all entities whose own is not asked for; None where one of these may mean that, or there is only
    one."""
    if len(labels) == 1 or any(_key(label.name) in _LIKE_OTHER for label in labels):
        return None
    return _alike(labels, "other", "entities of all other types")


def _negatives(labels: Sequence[Label], count: int, random: Random) -> list[Label]:
    """Common types that none of these labels may mean, in capitals or with a definition where all of these are."""
    taken = {_key(label.name) for label in labels}
    free = [(names[0], text) for names, text in COMMON_TYPES.items() if not taken & {_key(name) for name in names}]
    return [_alike(labels, name, text) for name, text in random.sample(free, min(count, len(free)))]


def _alike(labels: Sequence[Label], name: str, definition: str) -> Label:
    """A label in capitals, or with a definition, where all of these are."""
    capitals = all(label.name.isupper() for label in labels)
    defined = all(label.definition for label in labels)
    return Label(name.upper().replace(" ", "_") if capitals else name, definition if defined else "")


def _key(name: str) -> str:
    """The letters of a name, without the s of a plural."""
    return "".join(char for char in name.casefold() if char.isalpha()).rstrip("s")
