"""benchmarks/crf.py and baselines.py: what is learnt is found in other documents, and kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import crf
import pytest
from baselines import with_crf
from crf import features, shape
from made_sets import labelled
from quality_sets import Set

from genner_cli.types import Document

NAMES = ("Ann", "Bob", "Carla", "Dino", "Emil", "Fritz", "Gerda", "Hugo")
PLACES = ("Rome", "Oslo", "Paris", "Bern", "Lima", "Quito", "Delhi", "Cairo")
LETTERS = Set("letters", ("letters",))
LINES = replace(LETTERS, whole_documents=True)


def letter(name: str, place: str) -> Document:
    return labelled(f"Dear {name}, greetings from {place}!", **{name: "PER", place: "LOC"})


TRAIN = [letter(name, place) for name in NAMES for place in PLACES]
UNSEEN = letter("Waldo", "Tallinn")


def test_names_never_seen_are_found_by_what_stands_around_them(tmp_path: Path) -> None:
    assert with_crf(LETTERS, TRAIN, [UNSEEN], tmp_path) == [list(UNSEEN.entities)]


def test_sentences_of_whole_documents_have_their_places_in_the_document(tmp_path: Path) -> None:
    text = f"{UNSEEN.text}\n{TRAIN[0].text}"
    (found,) = with_crf(LINES, TRAIN, [Document(text)], tmp_path)
    assert [(each.text, each.label) for each in found] == [
        ("Waldo", "PER"), ("Tallinn", "LOC"), ("Ann", "PER"), ("Rome", "LOC")
    ]  # fmt: skip
    assert all(text[each.start : each.end] == each.text for each in found)


def test_a_crf_is_trained_once_for_the_same_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = with_crf(LETTERS, TRAIN, [UNSEEN], tmp_path)
    trained = []
    real = crf.train
    monkeypatch.setattr(crf, "train", lambda *args, **more: (trained.append(args), real(*args, **more)))
    assert with_crf(LETTERS, TRAIN, [UNSEEN], tmp_path) == first
    assert not trained
    with_crf(LETTERS, TRAIN[1:], [UNSEEN], tmp_path)
    assert len(trained) == 1
    assert len(list(tmp_path.iterdir())) == 2


def test_features_see_two_words_to_either_side_and_the_borders() -> None:
    (first, _, last) = features(["Mc", "Ann-5", "x"])
    assert {"word=Mc", "lower=mc", "1lower=ann-5", "2lower=x", "-1=border", "-2=border", "title"} <= {*first}
    assert {"-2lower=mc", "1=border", "pair-1=x ann-5"} <= {*last}


def test_shapes_tell_cases_and_digits() -> None:
    assert shape("McX-12é") == "XxX-ddx"
