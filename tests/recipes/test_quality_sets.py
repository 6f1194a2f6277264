"""benchmarks/quality_sets.py: labels, splits and what is left out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from made_sets import record, write
from quality_sets import LABELS, SETS, asked_for, described, names_of, outermost, read, sampled, train_documents

from genner_cli.errors import UsageError
from genner_cli.types import Entity, Label


def found(folder: Path, name: str, split: str) -> list[list[tuple[str, str]]]:
    return [[(e.text, e.label) for e in document.entities] for document in read(folder, name, split)]


def test_labels_get_their_common_names_and_misc_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, "wikigold", "test", record("Ann, a German, of Acme", ("Ann", "PER"), ("German", "MISC")))
    write(tmp_path, "wnut17", "test", record("Acme, The Hits", ("Acme", "corporation"), ("The Hits", "group")))
    assert found(tmp_path, "wikigold", "test") == [[("Ann", "PER")]]
    assert found(tmp_path, "wnut17", "test") == [[("Acme", "ORG"), ("The Hits", "ORG")]]


def test_a_label_is_asked_for_once() -> None:
    assert asked_for("wnut17") == tuple(map(Label, ("PER", "LOC", "ORG", "PRODUCT", "WORK")))


def test_all_sets_have_labels_and_these_can_be_asked_for() -> None:
    table = json.loads(LABELS.read_text("utf-8"))
    assert {chosen.name for chosen in SETS} | {name for chosen in SETS for name in chosen.train} <= table.keys()
    assert all(asked_for(name) for name in table)


def test_no_name_stands_for_two_labels_of_a_set() -> None:
    for labels in json.loads(LABELS.read_text("utf-8")).values():
        owners: dict[str, str] = {}
        for first, *others in filter(None, labels.values()):
            assert {owners.setdefault(name, first) for name in (first, *others)} == {first}


def test_sets_without_a_train_split_are_never_trained_on() -> None:
    trained = {name for chosen in SETS for name in chosen.train}
    assert not {name for name in trained if name.startswith("crossner") or name in ("uner_ewt", "wikigold")}


def test_test_splits_are_scored_for_the_final_figure_only() -> None:
    assert {chosen.split(final=False) for chosen in SETS} == {"valid", None}
    assert {chosen.name for chosen in SETS if chosen.split(final=True) != "test"} == {"btc"}


def test_baselines_of_a_set_without_train_split_learn_its_labels_from_others(tmp_path: Path) -> None:
    write(tmp_path, "btc", "train", record("@ann is up", ("ann", "PER"), section="b"))
    write(tmp_path, "wnut17", "train", record("Acme sells Zap", ("Acme", "corporation"), ("Zap", "product")))
    write(tmp_path, "gmb", "train", record("Rome, Tuesday", ("Rome", "geo"), ("Tuesday", "tim")))
    (chosen,) = (each for each in SETS if each.name == "uner_ewt")
    mentions = [(e.text, e.label) for document in train_documents(tmp_path, chosen) for e in document.entities]
    assert mentions == [("@ann", "PER"), ("Acme", "ORG"), ("Rome", "LOC")]


def test_an_unknown_label_is_an_error_that_names_it(tmp_path: Path) -> None:
    write(tmp_path, "btc", "valid", record("Ann", ("Ann", "PERSON")))
    with pytest.raises(UsageError, match=r"valid\.jsonl\.gz:1: .*PERSON"):
        read(tmp_path, "btc", "valid")


def test_outermost_entities_are_kept() -> None:
    whole, inner, behind = Entity(0, 9, "a", "x" * 9), Entity(2, 4, "b", "xx"), Entity(9, 10, "a", "x")
    assert outermost([whole, inner, behind]) == [whole, behind]


def test_samples_are_spread_and_the_same_each_time() -> None:
    assert sampled(list(range(10)), 4) == [0, 2, 5, 7]
    assert sampled(list(range(3)), 4) == sampled(list(range(3)), None) == [0, 1, 2]


def test_every_label_of_a_set_is_known() -> None:
    assert names_of("gmb") == {
        "per": "PER", "org": "ORG", "geo": "LOC", "gpe": "NORP", "tim": "TIME", "eve": "EVENT", "art": None, "nat": None
    }  # fmt: skip


def test_every_label_of_a_set_that_nothing_is_trained_on_has_a_definition() -> None:
    for each in SETS:
        if not each.train:
            assert all(label.definition for label in described(each.name))
