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
from genner_cli.training.augment import COMMON_TYPES, NO_TREE, augmented, vocabulary
from genner_cli.training.examples import Sample
from genner_cli.training.options import Augmentation
from genner_cli.types import Document, Entity, Label, LabelNode, LabelTree

LABELS = (Label("PER"), Label("ORG"), Label("LOC"))
SAMPLE = Sample(
    "Ann of Acme went to Rome.",
    (Entity(0, 3, "PER", "Ann"), Entity(7, 11, "ORG", "Acme"), Entity(20, 24, "LOC", "Rome")),
    LABELS,
    "train.jsonl:1",
    7,
)


def draw(
    augmentation: Augmentation, count: int = 400, sample: Sample = SAMPLE, tree: LabelTree = NO_TREE
) -> list[Sample]:
    rng = Random(1)
    return [augmented(sample, augmentation, rng, tree) for _ in range(count)]


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
    count = 4000
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


TREE = LabelTree(
    (
        LabelNode(
            Label("place"),
            (
                LabelNode(
                    Label("settlement"),
                    (LabelNode(Label("city"), aliases=("town", "city hall")), LabelNode(Label("village"))),
                    aliases=("municipality",),
                ),
                LabelNode(Label("country"), aliases=("nation", "state")),
            ),
            aliases=("location",),
        ),
        LabelNode(Label("person"), aliases=("human", "state", "place")),
        LabelNode(
            Label("building"), (LabelNode(Label("bridge")), LabelNode(Label("city hall")), LabelNode(Label("city")))
        ),
    )
)
"""Names that stand in two places, and aliases that mean more than one label."""
TREE_SAMPLE = Sample(
    "Ann of Oslo, Norway, saw Ely, a city hall and a bridge in Tiny.",
    (
        Entity(0, 3, "person", "Ann"),
        Entity(7, 11, "place/settlement/city", "Oslo"),
        Entity(13, 19, "country", "Norway"),
        Entity(25, 28, "building/city", "Ely"),
        Entity(32, 41, "city hall", "city hall"),
        Entity(48, 54, "bridge", "bridge"),
        Entity(58, 62, "village", "Tiny"),
    ),
    TREE.leaves(),
)
NAMES = {
    "place": {"place", "location"},
    "settlement": {"settlement", "municipality"},
    "place/settlement/city": {"place/settlement/city", "town"},
    "village": {"village"},
    "country": {"country", "nation"},
    "person": {"person", "human"},
    "building": {"building"},
    "bridge": {"bridge"},
    "city hall": {"city hall"},
    "building/city": {"building/city"},
}
"""What each label of the tree may be called."""
ABOVE = {
    "place/settlement/city": ("settlement", "place"),
    "village": ("settlement", "place"),
    "country": ("place",),
    "bridge": ("building",),
    "city hall": ("building",),
    "building/city": ("building",),
    "person": (),
}
MEANT = {name: label for label, names in NAMES.items() for name in names}


def is_rate(count: int, rate: float, of: int) -> bool:
    """Whether a count lies within three standard deviations of a rate."""
    return bool(abs(count / of - rate) < 3 * (rate * (1 - rate) / of) ** 0.5)


def test_a_label_may_be_called_by_its_own_names_alone_and_those_above_it_are_asked_for_by_theirs() -> None:
    known = vocabulary(TREE_SAMPLE.labels, TREE)
    assert {label.name for label, _ in known.ancestors} == {"place", "settlement", "building"}
    every = known.labels(TREE_SAMPLE.labels, Augmentation(ancestor=0.1, alias=0.1))
    assert {label.name for label in every} == MEANT.keys()
    assert len(every) == len(MEANT)
    assert known.labels(TREE_SAMPLE.labels, Augmentation(subset=1.0)) == TREE_SAMPLE.labels


def test_ancestors_and_aliases_come_as_often_as_asked_for() -> None:
    count = 4000
    samples = draw(Augmentation(ancestor=0.4, alias=0.3), count, TREE_SAMPLE, TREE)
    raised = [s for s in samples if {MEANT[name] for name in names(s)} & {"place", "settlement", "building"}]
    assert is_rate(len(raised), 0.4, count)
    for label, called in NAMES.items():
        asked = [name for sample in samples for name in names(sample) if MEANT[name] == label]
        aliases = sum(name != label for name in asked)
        assert is_rate(aliases, 0.3, len(asked)) if len(called) > 1 else not aliases


@pytest.mark.parametrize(
    "augmentation",
    [
        Augmentation(ancestor=1.0, alias=1.0),
        Augmentation(0.5, True, 3, 0.3, 0.4, 0.4),
        Augmentation(1.0, False, 0, 1.0, 0.5, 0.5),
    ],
)
def test_no_entity_of_a_label_asked_for_or_below_it_is_lost_or_called_another(augmentation: Augmentation) -> None:
    for sample in draw(augmentation, 2000, TREE_SAMPLE, TREE):
        asked = {MEANT[name]: name for name in names(sample) if name in MEANT}
        other = "other" if "other" in names(sample) else None
        right = []
        for entity in TREE_SAMPLE.entities:
            own = [name for name in (entity.label, *ABOVE[entity.label]) if name in asked]
            assert len(own) <= 1  # a label and one above it are never asked for together
            name = asked[own[0]] if own else other
            right += [Entity(entity.start, entity.end, name, entity.text)] if name else []
        assert list(sample.entities) == right
        assert len(set(names(sample))) == len(sample.labels) > 0


def test_whatever_is_asked_for_a_tree_has_no_other_word_for_is_negative() -> None:
    everything = {label for drawn in draw(Augmentation(negatives=40), 50, TREE_SAMPLE, TREE) for label in drawn.labels}
    assert {label.name for label in everything} & {"symptom", "ship"}
    own = LabelTree((LabelNode(Label("health"), (LabelNode(Label("flu"), aliases=("sign",)),), aliases=("Illness",)),))
    sample = Sample("x", (), own.leaves())
    added = {label.name for drawn in draw(Augmentation(negatives=40), 50, sample, own) for label in drawn.labels}
    assert "ship" in added
    assert not added & {"symptom", "disease"}


def test_there_is_no_other_where_a_name_of_the_tree_may_mean_it_or_one_label_is_above_all() -> None:
    tree = LabelTree(
        (LabelNode(Label("place"), (LabelNode(Label("city")), LabelNode(Label("misc"))), aliases=("spot",)),)
    )
    sample = Sample("x", (), tree.leaves())
    assert all("other" not in names(each) for each in draw(Augmentation(other=1.0), 50, sample, tree))
    single = LabelTree((LabelNode(Label("place"), (LabelNode(Label("city")), LabelNode(Label("sea")))),))
    sample = Sample("x", (), single.leaves())
    lists = {tuple(names(each)) for each in draw(Augmentation(other=1.0, ancestor=0.5), 50, sample, single)}
    assert lists == {("place",), ("city", "other"), ("sea", "other")}


def test_labels_of_one_level_with_a_slash_are_not_above_each_other() -> None:
    labels = (Label("B"), Label("B/C"))
    known = vocabulary(labels, LabelTree.flat(labels))
    assert (known.ancestors, known.aliases) == ((), {"B": (), "B/C": ()})


def test_an_alias_that_no_format_can_write_is_a_usage_error() -> None:
    tree = LabelTree((LabelNode(Label("food"), aliases=("Food & Drink",)),))
    with pytest.raises(UsageError, match="Food & Drink"):
        vocabulary(tree.leaves(), tree)


@pytest.mark.parametrize(
    "values",
    [{"subset": 1.5}, {"subset": -0.1}, {"negatives": -1}, {"other": 2.0}, {"ancestor": 1.1}, {"alias": -0.5}],
)
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


TREE_FILE = """\
place:
  definition: somewhere
  aliases: [location]
  LOC: a town
PER:
  definition: somebody
  aliases: [human]
"""


def test_documents_get_labels_of_a_tree_with_definitions(genner: Callable[..., Run], tmp_path: Path) -> None:
    gold, tree = write_jsonl(tmp_path / "gold.jsonl"), tmp_path / "tree.yaml"
    tree.write_text(TREE_FILE)
    called = {"PER": {"PER", "human"}, "LOC": {"LOC", "place", "location"}}
    run = genner("data", "relabel", gold, "--dynamic", "--labels", tree)
    assert run.status == 0, run.stderr
    seen = {name for record in run.records for name in record["labels"]}
    assert seen > called["PER"] | called["LOC"]
    for record, before in zip(run.records, RECORDS, strict=True):
        kept = {(each["start"], each["end"]): each["label"] for each in record["entities"]}
        for each in before["entities"]:
            asked = called[each["label"]] & record["labels"].keys()
            assert len(asked) <= 1
            other = {"other", "OTHER"} & record["labels"].keys()
            name = next(iter(asked or other), None)
            assert kept.get((each["start"], each["end"])) == name
        if "place" in record["labels"]:
            assert record["labels"]["place"] == "somewhere"
    drawn = write_jsonl(tmp_path / "drawn.jsonl", run.records)
    read = [with_own_labels(each, "labels") for each in read_documents([str(drawn)])]
    assert all(isinstance(each, Document) and each.labels for each in read)


def test_labels_that_a_tree_lacks_are_named_and_nothing_is_written(genner: Callable[..., Run], tmp_path: Path) -> None:
    gold, tree, out = write_jsonl(tmp_path / "gold.jsonl"), tmp_path / "tree.yaml", tmp_path / "out.jsonl"
    tree.write_text("place:\n  LOC:\nanimal:\n")
    run = genner("data", "relabel", gold, "--dynamic", "--labels", tree, "-o", out)
    assert (run.status, out.exists(), "'PER' (24)" in run.stderr) == (1, False, True)
    assert genner("data", "relabel", gold, "-m", tree, "--labels", tree).status == 2
