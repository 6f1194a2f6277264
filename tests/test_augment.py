"""Other label lists for the same text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from conftest import Run
from small_bases import RECORDS, write_jsonl

from genner_cli.errors import UsageError
from genner_cli.files.labels import with_own_labels
from genner_cli.files.reading import read_documents
from genner_cli.training.augment import COMMON_TYPES, augmented
from genner_cli.training.examples import Sample
from genner_cli.training.options import Augmentation
from genner_cli.types import Document, Entity, Label

LABELS = (Label("PER"), Label("ORG"), Label("LOC"))
SAMPLE = Sample(
    "Ann of Acme went to Rome.",
    (Entity(0, 3, "PER", "Ann"), Entity(7, 11, "ORG", "Acme"), Entity(20, 24, "LOC", "Rome")),
    LABELS,
    "train.jsonl:1",
    7,
)


def draw(augmentation: Augmentation, count: int = 400, sample: Sample = SAMPLE) -> list[Sample]:
    rng = Random(1)
    return [augmented(sample, augmentation, rng) for _ in range(count)]


def names(sample: Sample) -> list[str]:
    return [label.name for label in sample.labels]


def test_without_any_option_a_sample_stays_as_it_is() -> None:
    assert set(draw(Augmentation(), 20)) == {SAMPLE}


@pytest.mark.parametrize("augmentation", [Augmentation(0.5, True, 3), Augmentation(1.0), Augmentation(negatives=5)])
def test_the_same_random_state_gives_the_same_samples(augmentation: Augmentation) -> None:
    assert draw(augmentation) == draw(augmentation)


@pytest.mark.parametrize("augmentation", [Augmentation(0.5, True, 3), Augmentation(1.0), Augmentation(negatives=5)])
def test_text_and_source_stay_and_the_entities_are_those_of_the_labels_asked_for(augmentation: Augmentation) -> None:
    for sample in draw(augmentation):
        assert (sample.text, sample.source, sample.start) == (SAMPLE.text, SAMPLE.source, SAMPLE.start)
        assert sample.entities == tuple(e for e in SAMPLE.entities if e.label in names(sample))
        assert len(set(names(sample))) == len(sample.labels) > 0


def test_subsets_come_as_often_as_asked_for_in_all_sizes_and_in_order() -> None:
    sizes = Counter(len(sample.labels) for sample in draw(Augmentation(subset=0.6)))
    # a third of the subsets holds all labels
    assert [sizes[size] / 400 for size in (1, 2, 3)] == pytest.approx([0.2, 0.2, 0.6], abs=0.06)
    for sample in draw(Augmentation(subset=1.0)):
        assert names(sample) == [label.name for label in LABELS if label in sample.labels]


def test_shuffling_gives_all_orders_equally_often() -> None:
    orders = Counter(tuple(names(sample)) for sample in draw(Augmentation(shuffle=True), 600))
    assert len(orders) == 6
    assert min(orders.values()) > 60


def test_negative_labels_stand_anywhere_are_none_to_all_of_those_allowed_and_have_no_entities() -> None:
    samples = draw(Augmentation(negatives=2))
    assert {len(sample.labels) for sample in samples} == {3, 4, 5}
    assert all(sample.entities == SAMPLE.entities for sample in samples)
    places = {place for sample in samples for place, label in enumerate(sample.labels) if label not in LABELS}
    assert places == set(range(5))


def test_negative_labels_look_like_those_of_the_data() -> None:
    def added(*labels: Label) -> list[Label]:
        sample = Sample("x", (), labels)
        return [
            label for drawn in draw(Augmentation(negatives=4), 50, sample) for label in set(drawn.labels) - {*labels}
        ]

    assert all(label.name == label.name.upper() and " " not in label.name for label in added(Label("PER")))
    assert all(label.name in {first for first, *_ in COMMON_TYPES} for label in added(Label("person")))
    assert not any(label.definition for label in added(Label("a", "defined"), Label("b")))
    assert all(label.definition for label in added(Label("a", "defined"), Label("b", "too")))


@pytest.mark.parametrize("spell", [str.upper, str.title, lambda name: name.replace(" ", "-"), lambda name: name + "s"])
def test_what_the_data_may_mean_by_a_label_is_never_negative(spell: Callable[[str], str]) -> None:
    for same in COMMON_TYPES:
        for name in same:
            sample = Sample("x", (), (Label(spell(name)),))
            added = augmented(sample, Augmentation(negatives=len(COMMON_TYPES)), Everything()).labels
            others = {label.name.casefold().replace("_", " ") for label in added if label not in sample.labels}
            assert len(others) < len(COMMON_TYPES)
            assert not others & set(same)


class Everything(Random):
    """Draws the most that it may."""

    def randint(self, a: int, b: int) -> int:
        return b


def test_no_common_type_has_two_names_in_two_places_and_all_can_be_labels() -> None:
    every = [name for same in COMMON_TYPES for name in same]
    assert len(set(every)) == len(every)
    assert all(Label(name.upper().replace(" ", "_"), text) for same, text in COMMON_TYPES.items() for name in same)


def test_other_has_the_entities_of_all_labels_that_are_left_out_and_never_stands_beside_their_own() -> None:
    count = 10_000
    samples = draw(Augmentation(subset=0.5, other=0.3, shuffle=True, negatives=1), count)
    with_other = [sample for sample in samples if "OTHER" in names(sample)]
    assert abs(len(with_other) / count - 0.3) < 3 * (0.3 * 0.7 / count) ** 0.5
    for sample in with_other:
        left_out = {"PER", "ORG", "LOC"} - set(names(sample))
        assert left_out
        assert [entity.label for entity in sample.entities] == [
            "OTHER" if entity.label in left_out else entity.label for entity in SAMPLE.entities
        ]
    assert {len(sample.labels) for sample in with_other} == {2, 3, 4}  # with a negative one


def test_entities_of_one_place_are_one_other() -> None:
    twice = (Entity(0, 3, "PER", "Ann"), Entity(0, 3, "ORG", "Ann"))
    samples = draw(Augmentation(subset=1.0, other=1.0), 50, Sample("Ann", twice, LABELS))
    assert (Entity(0, 3, "OTHER", "Ann"),) in {sample.entities for sample in samples}


@pytest.mark.parametrize("names", [("PER",), ("person", "Misc"), ("person", "other"), ("person", "MISCELLANEOUS")])
def test_there_is_no_other_where_a_label_may_mean_it_or_nothing_can_be_left_out(names: tuple[str, ...]) -> None:
    sample = Sample("x", (), tuple(map(Label, names)))
    assert {drawn.labels for drawn in draw(Augmentation(other=1.0), 20, sample)} == {sample.labels}


@pytest.mark.parametrize("values", [{"subset": 1.5}, {"subset": -0.1}, {"negatives": -1}, {"other": 2.0}])
def test_what_is_no_augmentation_is_a_usage_error(values: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="choose"):
        Augmentation(**values)  # type: ignore[arg-type]


def test_documents_get_label_lists_of_their_own_the_same_for_a_seed(genner: Callable[..., Run], tmp_path: Path) -> None:
    gold = write_jsonl(tmp_path / "gold.jsonl")
    runs = [genner("data", "relabel", gold, "--dynamic", "--seed", seed) for seed in (7, 7, 8)]
    assert [run.status for run in runs] == [0, 0, 0]
    assert runs[0].stdout == runs[1].stdout != runs[2].stdout
    assert len({tuple(record["labels"]) for record in runs[0].records}) > 5
    for record, before in zip(runs[0].records, RECORDS, strict=True):
        assert record["text"] == before["text"]
        own = [(each["start"], each["end"]) for each in before["entities"] if each["label"] in record["labels"]]
        kept = [(each["start"], each["end"]) for each in record["entities"] if each["label"] != "OTHER"]
        assert (kept, {each["label"] for each in record["entities"]} <= set(record["labels"])) == (own, True)
    drawn = write_jsonl(tmp_path / "drawn.jsonl", runs[0].records)
    read = [with_own_labels(each, "labels") for each in read_documents([str(drawn)])]
    assert all(isinstance(each, Document) and each.labels for each in read)
    assert genner("data", "relabel", gold).status == genner("data", "relabel", gold, "--dynamic", "-m", "x").status == 2
