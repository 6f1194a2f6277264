"""A conditional random field with the usual features: labelled documents in, entities of other documents out.

A first-order chain over BIO tags of words (Lafferty et al. 2001; CRFsuite by way of sklearn-crfsuite), trained with
L-BFGS. Its features are of the kind that its tutorials and Ratinov and Roth 2009 use, without word clusters and
lists: the word, its beginnings and ends, its shape, and its neighbours. Nothing of it was tuned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from sklearn_crfsuite import CRF
from tagging import entities_of, tags, words

from genner_cli.chunking import sentences
from genner_cli.files.whole import whole
from genner_cli.types import Document, Entity, Range

PARAMETERS = {"algorithm": "lbfgs", "c1": 0.1, "c2": 0.1, "max_iterations": 100, "all_possible_transitions": True}
REACH = (-2, -1, 1, 2)
Cut = Callable[[str], list[Range]]


def train(documents: Sequence[Document], path: Path, *, by_sentence: bool) -> None:
    """Learns from documents whose entities do not overlap; the file is whole or not there."""
    cut = _cut(by_sentence)
    with whole(path) as partial:
        CRF(**PARAMETERS, model_filename=str(partial)).fit(_features_of(documents, cut), _tags_of(documents, cut))


def predict(path: Path, documents: Sequence[Document], *, by_sentence: bool) -> Iterator[list[Entity]]:
    """The entities of each document, by the model in a file that `train` wrote."""
    cut = _cut(by_sentence)
    model = CRF(model_filename=str(path))
    for document in documents:
        found: list[Entity] = []
        for part in cut(document.text):
            places = words(document.text, part)
            found += entities_of(document.text, places, model.predict_single(features(_spelt(document.text, places))))
        yield found


def features(spelt: Sequence[str]) -> list[list[str]]:
    """The features of each word of a sentence: its own, those of its neighbours, and of pairs with them."""
    lowered = [word.lower() for word in spelt]
    shapes = [shape(word) for word in spelt]
    found = []
    for at, word in enumerate(spelt):
        row = ["bias", f"word={word}", f"lower={lowered[at]}", f"shape={shapes[at]}", f"short={_short(shapes[at])}"]
        row += [f"begins={word[:size]}" for size in range(1, 5) if size <= len(word)]
        row += [f"ends={word[-size:]}" for size in range(1, 5) if size <= len(word)]
        row += ["upper"] * word.isupper() + ["title"] * word.istitle() + ["digits"] * word.isdigit()
        row += ["has digit"] * any(map(str.isdigit, word)) + ["mark"] * (not word[0].isalnum())
        for step in REACH:
            row += _neighbour(lowered, shapes, at, step)
        row += [f"pair{step}={lowered[at]} {lowered[at + step]}" for step in (-1, 1) if 0 <= at + step < len(spelt)]
        found.append(row)
    return found


def shape(word: str) -> str:
    """X for upper case, x for other letters, d for digits, all else as it is: `McX-12` -> `XxX-dd`."""
    return "".join(
        "X" if char.isupper() else "x" if char.isalpha() else "d" if char.isdigit() else char for char in word
    )


def _short(shape: str) -> str:
    """A shape without repetitions."""
    return "".join(char for at, char in enumerate(shape) if at == 0 or char != shape[at - 1])


def _neighbour(lowered: Sequence[str], shapes: Sequence[str], at: int, step: int) -> list[str]:
    other = at + step
    if not 0 <= other < len(lowered):
        return [f"{step}=border"]
    return [
        f"{step}lower={lowered[other]}",
        f"{step}short={_short(shapes[other])}",
        f"{step}ends={lowered[other][-3:]}",
    ]


def _cut(by_sentence: bool) -> Cut:
    return sentences if by_sentence else lambda text: [Range(0, len(text))]


def _spelt(text: str, places: Sequence[Range]) -> list[str]:
    return [text[start:end] for start, end in places]


def _features_of(documents: Sequence[Document], cut: Cut) -> Iterator[list[list[str]]]:
    for document in documents:
        for part in cut(document.text):
            yield features(_spelt(document.text, words(document.text, part)))


def _tags_of(documents: Sequence[Document], cut: Cut) -> Iterator[list[str]]:
    """The tags of each part; an entity that crosses parts has its words in each of them."""
    for document in documents:
        for part in cut(document.text):
            yield tags(words(document.text, part), document.entities)
