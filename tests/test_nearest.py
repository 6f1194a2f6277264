"""Retrieval of examples by vectors: the formulas on hand-made ones, and what is chosen by a real model's."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asking import news

from genner_cli import hub
from genner_cli.demonstrations import Nearest, Query, Rendered, Way
from genner_cli.engine.embedding import Embedder
from genner_cli.engine.model import Model
from genner_cli.engine.vectors import Index, VectorFile, embedded
from genner_cli.generation import EngineOptions
from genner_cli.methods.nearest import ABSENT, Ranking, by_entity, by_span, span_similarity, span_weight
from genner_cli.running.retrieval import Retrieval
from genner_cli.types import Document, Entity, Passage, Range

OPTIONS = EngineOptions(slots=4, threads=1, gpu_layers=0)


@pytest.fixture(scope="module")
def bundled() -> Iterator[Model]:
    with Model(hub.BUNDLED) as model:
        yield model


def vectors(model: Model, passages: Iterable[Passage], slots: int = 4) -> list[np.ndarray[Any, Any]]:
    with Embedder(model, EngineOptions(slots=slots, threads=1, gpu_layers=0)) as embedder:
        return list(embedder.embed(passages))


def turned(*degrees: float) -> np.ndarray[Any, Any]:
    """Unit vectors in the plane."""
    return np.array([[math.cos(math.radians(each)), math.sin(math.radians(each))] for each in degrees])


def document(text: str, *mentions: str, label: str = "PER") -> Document:
    spans = [(text.index(mention), mention) for mention in mentions]
    return Document(text, entities=tuple(Entity(at, at + len(m), label, m) for at, m in spans))


def cosine(one: float, other: float) -> float:
    return math.cos(math.radians(one - other))


def test_the_span_similarity_is_the_formula_and_one_sided() -> None:
    text, one, other = (10.0, 80.0), (0.0, 20.0, 170.0), (75.0,)
    weights = (4.0, 1.0)
    index = Index([turned(*one), np.zeros((0, 2)), turned(*other)], 2)
    rows = index.similarities(turned(*text))
    assert [row[1] for row in rows] == [ABSENT, ABSENT]
    for number, spans in ((0, one), (2, other)):
        by_hand = sum(w * max(cosine(s, c) for c in spans) for w, s in zip(weights, text, strict=True)) / 5
        assert abs(span_similarity(weights, [row[number] for row in rows]) - by_hand) < 1e-9
    assert by_span(weights, rows) == [0, 2]
    back = Index([turned(*text)], 2).similarities(turned(*one))
    swapped = span_similarity((1.0, 1.0, 1.0), [row[0] for row in back])
    forth = span_similarity((1.0, 1.0), [row[0] for row in rows])
    assert abs(swapped - (cosine(0, 10) + cosine(20, 10) + cosine(170, 80)) / 3) < 1e-9
    assert abs(swapped - forth) > 0.05


def test_capitalised_words_weigh_most_where_case_says_something() -> None:
    assert [span_weight(each, cased=True) for each in ("Ann Lee", "the Hague", "jazz")] == [4.0, 2.5, 1.0]
    assert span_weight("Ann Lee", cased=False) == 1.0


def test_each_entity_has_its_share_of_the_first_documents_and_none_comes_twice() -> None:
    first, second = [0.9, 0.8, 0.7, ABSENT, 0.1], [0.9, 0.1, 0.2, 0.8, ABSENT]
    assert by_entity([first, second]) == [0, 1, 3, 2, 4]
    assert by_entity([first]) == [0, 1, 2, 4]


def test_twins_are_left_out_and_sentences_follow_where_entities_name_too_few() -> None:
    pool = [document("Ann ran.", "Ann"), document("Bob sat.", "Bob"), document("It rained."), document("Ann  ran.")]

    def sentences(passage: Passage) -> list[list[float]]:
        return [[0.9, 0.2, 0.5, 0.8]]

    def mentions(passage: Passage) -> list[list[float]]:
        return [[0.3, 0.6, ABSENT, ABSENT] for _ in passage.spans or ()]

    ranking = Ranking(pool, sentences, mentions)
    ann = (Entity(0, 3, "PER", "Ann"),)
    assert ranking.nearest(Way.SENTENCE, Query("", "Ann sat"), 9) == [0, 3, 2, 1]
    assert ranking.nearest(Way.SENTENCE, Query("", "Ann ran."), 9) == [2, 1]
    assert ranking.nearest(Way.ENTITY, Query("", "Ann sat", ann), 9) == [1, 0, 3, 2]
    assert ranking.nearest(Way.SPAN, Query("It rained.", "Ann sat", ann), 1) == [1]
    assert ranking.nearest(Way.SPAN, Query("", "it sat"), 2) == [0, 3], "no entity: by sentence"


def test_vectors_do_not_depend_on_what_is_read_beside_them(bundled: Model) -> None:
    texts = [*news()[:6], "x", "Zoë 東京都で e\u0301t", "a long one " * 300]
    passages = [Passage(each) for each in texts]
    one, four = vectors(bundled, passages, 1), vectors(bundled, passages[::-1], 4)
    for left, right in zip(one, four[::-1], strict=True):
        assert left.tobytes() == right.tobytes()
        assert abs(float(np.linalg.norm(left)) - 1) < 1e-6


def test_a_span_is_the_mean_of_its_tokens_in_their_text(bundled: Model) -> None:
    text = "In Zürich Ann met Bob."
    whole, (zurich, ann, again) = (
        each for each in vectors(bundled, [Passage(text), Passage(text, (Range(3, 9), Range(10, 13), Range(0, 22)))])
    )
    assert again.tobytes() == whole.tobytes()
    assert float(zurich @ ann) < 0.99
    (elsewhere,) = vectors(bundled, [Passage("Ann", (Range(0, 3),))])
    assert 0.2 < float(elsewhere[0] @ ann) < 0.9999, "the context counts"
    (none,) = vectors(bundled, [Passage(text, ())])
    assert none.shape == (0, len(ann))


def test_what_was_read_before_is_taken_from_the_file(bundled: Model, tmp_path: Path) -> None:
    passages = [Passage(each) for each in news()[:4]] + [Passage(news()[0], (Range(0, 5),))]
    path = tmp_path / "deep" / "vectors.sqlite"

    class Counting(Embedder):
        read = 0

        def embed(self, passages: Iterable[Passage]) -> Iterator[Any]:
            wanted = list(passages)
            self.read += len(wanted)
            return super().embed(wanted)

    with Counting(bundled, OPTIONS) as embedder:
        file = VectorFile(path)
        first = list(embedded(embedder, passages[:3], file))
        file.close()
        file = VectorFile(path)
        second = list(embedded(embedder, passages, file))
        assert embedder.read == 3 + 2
        file.close()
        path.write_bytes(b"not a database")
        file = VectorFile(path)
        third = list(embedded(embedder, passages, file))
        file.close()
    for known, again, anew in zip([*first, None, None], second, third, strict=True):
        assert again.tobytes() == anew.tobytes()
        assert known is None or known.tobytes() == again.tobytes()


@pytest.fixture
def ranked(bundled: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with Retrieval(bundled, OPTIONS, "made", PLANTED, most=8) as retrieval:
        yield retrieval.ranked


PLANTED = [
    document("The weather stays cold and wet in the north.", "north"),
    document("Shares of the bank fell after the report.", "bank"),
    document("Angela Merkel visited the factory on Monday.", "Angela Merkel"),
    document("Nobody knows who will win the cup.", "cup"),
]


@pytest.mark.parametrize("way", [Way.WORDS, Way.SENTENCE, Way.ENTITY, Way.SPAN])
def test_a_model_that_knows_only_what_it_is_shown_needs_the_right_example(way: Way, ranked: Any) -> None:
    """One document of the pool has the mention; a reader that copies labels from demonstrations finds it with any way,
    and not at random where that misses it."""
    text = "Angela Merkel visited a school on Sunday."
    query = Query(text, text, (Entity(0, 13, "PER", "Angela Merkel"),))
    nearest = Nearest(tuple(PLANTED), Rendered("xml", ("PER",)), 1, 1000, way, ranked)
    (shown,) = nearest.chosen(query)
    assert shown.text == PLANTED[2].text
    twin = Query(text, PLANTED[2].text, (Entity(0, 13, "PER", "Angela Merkel"),))
    assert PLANTED[2].text not in [each.text for each in nearest.chosen(twin)]


def test_the_oldest_vectors_and_the_files_not_used_for_longest_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr("genner_cli.engine.vectors.time.time", lambda: float(next(clock)))
    most, rows = 2**17, np.ones((1, 250), np.float32)  # 128 KiB, 1 kB
    passages = [Passage(str(number)) for number in range(200)]

    def grow(name: str, numbers: range) -> None:
        for number in numbers:
            file = VectorFile(tmp_path / name, most_bytes=most)
            file.write([passages[number]], [rows])
            file.close()

    def there() -> dict[str, int]:
        return {path.name: path.stat().st_size for path in tmp_path.iterdir()}

    file = VectorFile(tmp_path / "gone.sqlite")
    file.write([passages[0]], [rows])
    (tmp_path / "gone.sqlite").unlink()  # by another process, which had too many
    file.close()
    grow("old.sqlite", range(30))
    grow("used.sqlite", range(30))
    assert there().keys() == {"old.sqlite", "used.sqlite"}
    for at, name in enumerate(("used.sqlite", "old.sqlite"), 1):
        os.utime(tmp_path / name, (at, at))
    VectorFile(tmp_path / "used.sqlite").close()  # to be read is to be used
    grow("new.sqlite", range(40))
    assert there().keys() == {"new.sqlite", "used.sqlite"}
    assert sum(there().values()) <= most
    grow("new.sqlite", range(40, 180))
    assert there().keys() == {"new.sqlite"}
    assert sum(there().values()) <= most
    file = VectorFile(tmp_path / "new.sqlite")
    kept = [each is not None for each in file.read(passages[:180], 250)]
    file.close()
    assert kept == sorted(kept)  # the newest ones, all of them
    assert 40 < sum(kept) < 130
