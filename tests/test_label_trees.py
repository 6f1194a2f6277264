"""Labels with labels below them: read, walked down, and scored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from conftest import Run
from random_model import write_random_model
from scripted_judges import voter
from test_chat import CHAT

from genner_cli.engine.chat import CHAT_TEMPLATE
from genner_cli.errors import DataError, UsageError
from genner_cli.files.labels import read_label_tree
from genner_cli.methods.cascade import Which, walk
from genner_cli.methods.ruling import Ruling
from genner_cli.probing.folder import read_both
from genner_cli.running.examples import examples_of
from genner_cli.running.judging import judge, stages
from genner_cli.running.rewriting import Files
from genner_cli.running.spec import RunSpec
from genner_cli.scoring.hierarchy import hierarchy, resolved
from genner_cli.training.gold import Files as TrainFiles
from genner_cli.training.gold import read
from genner_cli.training.options import TrainOptions
from genner_cli.types import Document, Entity, Extraction, Label, LabelTree

TREE = """\
weapon:
  biological: a germ
  nuclear:
science:
  definition: a field of
    study
  aliases: [discipline, SCI]
  stop: true
  biological:
  physics:
place: somewhere
"""


@pytest.fixture
def tree(tmp_path: Path) -> LabelTree:
    return read_label_tree(str(write(tmp_path, TREE)))


def write(folder: Path, text: str) -> Path:
    path = folder / "tree.yaml"
    path.write_text(text)
    return path


def test_a_tree_is_read_by_paths(tree: LabelTree, tmp_path: Path) -> None:
    assert [path for path, *_ in tree.value()] == [
        "weapon", "weapon/biological", "weapon/nuclear", "science", "science/biological", "science/physics", "place",
    ]  # fmt: skip
    science = tree.nodes[1]
    assert (science.label.definition, science.aliases, science.stop) == (
        "a field of study",
        ("discipline", "SCI"),
        True,
    )
    assert tree.nodes[0].children[0].label == Label("biological", "a germ")
    leaves = [label.name for label in tree.leaves()]
    assert leaves == ["weapon/biological", "nuclear", "science/biological", "physics", "place"]


def test_names_that_stand_in_two_places_are_not_resolved(tree: LabelTree) -> None:
    assert tree.find("biological") is None
    assert tree.find("weapon/biological") == "weapon/biological"
    assert tree.find("physics") == "science/physics"
    assert tree.find("SCI") == "science"
    assert tree.find("chemistry") is None


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a:\n  b:\n  b:\n", ":3: "),
        ("a:\n  stop: perhaps\n  b:\n", ":2: "),
        ("a:\n  aliases: PER\n  b:\n", ":2: "),
        ("a:\n  b/c:\n", "b/c"),
        ("a:\n  b: [1]\n", ":2: "),
        ("{}", "no labels"),
    ],
)
def test_a_broken_tree_is_refused_with_its_line(tmp_path: Path, text: str, line: str) -> None:
    with pytest.raises(UsageError, match=r"tree\.yaml") as error:
        read_label_tree(str(write(tmp_path, text)))
    assert line in str(error.value)


def asking(*answers: dict[str, float]) -> Callable[[Sequence[Which]], list[list[float] | None]]:
    """A classifier whose scores are planted, by item and name."""

    def ask(questions: Sequence[Which]) -> list[list[float] | None]:
        return [[answers[each.item].get(label.name, -9.0) for label in each.labels] for each in questions]

    return ask


def test_the_walk_goes_down_level_by_level(tree: LabelTree) -> None:
    seen = []

    def ask(questions: Sequence[Which]) -> list[list[float] | None]:
        seen.append([(each.item, [label.name for label in each.labels]) for each in questions])
        return asking({"weapon": 0, "nuclear": 0}, {"place": 0})(questions)

    assert walk(tree, 2, ask) == ["weapon/nuclear", "place"]
    top = ["weapon", "science", "place"]
    assert seen == [[(0, top), (1, top)], [(0, ["biological", "nuclear"])]]


def test_a_name_on_two_levels_is_kept_apart(tree: LabelTree) -> None:
    found = walk(tree, 2, asking({"weapon": 0, "biological": 0}, {"science": 0, "biological": 0}))
    assert found == ["weapon/biological", "science/biological"]


def test_a_label_that_may_be_the_last_one_is_among_its_children(tree: LabelTree) -> None:
    assert walk(tree, 1, asking({"science": 0.0})) == ["science"]


def test_a_beam_finds_what_a_greedy_walk_loses(tree: LabelTree) -> None:
    """weapon .55 is shared by two; science .45 goes to physics alone."""
    planted = asking({"weapon": -0.6, "science": -0.8, "biological": -0.7, "nuclear": -0.7, "physics": 5.0})
    assert walk(tree, 1, planted, beam=1) == ["weapon/biological"]
    assert walk(tree, 1, planted, beam=3) == ["science/physics"]


def test_what_has_no_answer_costs_that_item_only(tree: LabelTree) -> None:
    def ask(questions: Sequence[Which]) -> list[list[float] | None]:
        known = asking({}, {"place": 0})(questions)
        return [None if each.item == 0 else scores for each, scores in zip(questions, known, strict=True)]

    assert walk(tree, 2, ask) == [None, "place"]
    assert walk(LabelTree(), 1, ask) == [""]


def test_a_scripted_classifier_gives_gold_and_a_wrong_top_answer_costs_one_entity(
    tree: LabelTree, tmp_path: Path
) -> None:
    text = "anthrax and botany"
    path = tmp_path / "spans.jsonl"
    spans = [{"start": 0, "end": 7, "label": "entity"}, {"start": 12, "end": 18, "label": "entity"}]
    path.write_bytes(orjson.dumps({"id": 1, "text": text, "entities": spans}))
    right = {"anthrax": {"weapon", "biological"}, "botany": {"science", "biological"}}
    wrong = {**right, "anthrax": {"place"}}
    for known, expected in (
        (right, ["weapon/biological", "science/biological"]),
        (wrong, ["place", "science/biological"]),
    ):
        asked = voter("m", lambda _, mention, label, known=known: label in known[mention])
        output = tmp_path / f"{expected[0].replace('/', '-')}.jsonl"
        files = Files(inputs=(str(path),), output=str(output))
        judge(files, ["spans"], stages(("label",), {"label": [asked]}), Ruling(tree=tree))
        assert [each["label"] for each in orjson.loads(output.read_bytes())["entities"]] == expected


def extraction(
    gold: dict[tuple[int, int], str], found: dict[tuple[int, int], str], error: str | None = None
) -> Extraction:
    def entities(spans: dict[tuple[int, int], str]) -> tuple[Entity, ...]:
        return tuple(Entity(*span, label, "x" * (span[1] - span[0])) for span, label in spans.items())

    return Extraction(Document("x" * 99, entities=entities(gold)), entities(found), error)


def test_hierarchical_figures_by_hand(tree: LabelTree) -> None:
    """weapon/biological for weapon/nuclear: one of two is right; the span of physics is missed; one is spurious."""
    gold = {(0, 2): "weapon/nuclear", (3, 5): "SCI", (6, 9): "physics"}
    found = {(0, 2): "weapon/biological", (3, 5): "science", (10, 11): "place"}
    figures = hierarchy(resolved([extraction(gold, found)], tree), tree)
    assert figures.micro.counts is not None
    assert (figures.micro.counts.hit, figures.micro.counts.missed, figures.micro.counts.spurious) == (2, 3, 2)
    assert [(each.spans, each.right) for each in figures.levels] == [(2, 2), (1, 0)]
    assert figures.unknown == 0


def test_what_the_published_evaluation_loses_is_counted(tree: LabelTree) -> None:
    """A label outside the tree drops the sentence there; later sentences meet others' gold; predictions that occur
    nowhere in gold vanish."""
    outside = extraction({(0, 2): "chemistry", (3, 5): "place"}, {(3, 5): "place"})
    later = extraction({(0, 2): "place"}, {(0, 2): "place", (5, 9): "physics"})
    figures = hierarchy(resolved([outside, later], tree), tree)
    assert figures.micro.counts is not None
    assert (figures.micro.counts.hit, figures.micro.counts.missed, figures.micro.counts.spurious) == (2, 1, 2)
    assert figures.unknown == 1
    failed = hierarchy(resolved([extraction({(0, 2): "place"}, {}, error="failed")], tree), tree)
    assert failed.micro.counts is not None
    assert failed.micro.counts.missed == 1


def test_evaluation_by_a_tree_on_the_command_line(genner: Callable[..., Run], tmp_path: Path) -> None:
    write(tmp_path, TREE)
    gold, found = tmp_path / "gold.jsonl", tmp_path / "found.jsonl"
    for path, label in ((gold, "nuclear"), (found, "weapon/biological")):
        path.write_bytes(orjson.dumps({"id": 1, "text": "bomb", "entities": [{"start": 0, "end": 4, "label": label}]}))
    run = genner("evaluate", gold, "-p", found, "--labels", tmp_path / "tree.yaml", "--json")
    value = orjson.loads(run.stdout)["hierarchy"]
    assert value["micro"]["f1"]["value"] == 0.5
    assert [each["accuracy"] for each in value["levels"]] == [1.0, 0.0]
    shown = genner("evaluate", gold, "-p", found, "--labels", tmp_path / "tree.yaml")
    assert b"hierarchical" in shown.stdout


ALIASES = "PER:\nplace:\n  aliases: [LOC, GPE]\n"


def labelled_by_alias(folder: Path, *labels: str) -> Path:
    write(folder, ALIASES)
    entities = [{"start": 0, "end": 3, "label": "PER"}, *({"start": 8, "end": 12, "label": label} for label in labels)]
    path = folder / "gold.jsonl"
    path.write_bytes(orjson.dumps({"id": 1, "text": "Ada saw Oslo.", "entities": entities}))
    return path


def test_what_a_label_is_called_in_data_is_mapped_to_what_it_is_asked_for_by(tree: LabelTree) -> None:
    names = tree.names()
    asked = tree.labels()
    assert all(names[path] == label.name for path, label in asked.items())
    for known, name in names.items():
        path = tree.find(known)
        assert path is not None
        assert asked[path].name == name
    aliases = [alias for nodes in tree.walk() for alias in nodes[-1].aliases]
    assert all((alias in names) == (tree.find(alias) is not None) for alias in aliases)


def test_training_data_may_be_labelled_by_aliases(tmp_path: Path) -> None:
    gold = labelled_by_alias(tmp_path, "GPE")
    read_tree = read_label_tree(str(tmp_path / "tree.yaml"))
    data = read(TrainFiles((str(gold),), (str(gold),)), TrainOptions(), read_tree)
    assert [label.name for label in data.labels] == ["PER", "place"]
    for documents in (data.train, data.valid):
        assert [[entity.label for entity in document.entities] for document in documents] == [["PER", "place"]]


def test_pairs_of_answers_may_be_labelled_by_aliases(tmp_path: Path) -> None:
    write(tmp_path, ALIASES)
    answers = {
        name: [{"start": 8, "end": 12, "label": label}] for name, label in (("chosen", "LOC"), ("rejected", "PER"))
    }
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(orjson.dumps({"id": 1, "text": "Ada saw Oslo.", **answers}))
    data = read(TrainFiles((str(path),)), TrainOptions(), read_label_tree(str(tmp_path / "tree.yaml")))
    assert [each.entities[0].label for each in (*data.train, *data.rejected)] == ["place", "PER"]


def test_a_mention_labelled_by_name_and_by_alias_is_listed_twice(tmp_path: Path) -> None:
    gold = labelled_by_alias(tmp_path, "place", "LOC")
    with pytest.raises(DataError) as error:
        read(TrainFiles((str(gold),)), TrainOptions(depth=2), read_label_tree(str(tmp_path / "tree.yaml")))
    assert any("twice" in note for note in error.value.__notes__)


def test_data_labelled_by_aliases_are_relabelled_and_evaluated(genner: Callable[..., Run], tmp_path: Path) -> None:
    gold = labelled_by_alias(tmp_path, "GPE")
    tree_file = tmp_path / "tree.yaml"
    run = genner("data", "relabel", gold, "--dynamic", "--labels", tree_file, "--seed", 1)
    assert run.status == 0, run.stderr
    found = tmp_path / "found.jsonl"
    entities = [{"start": 0, "end": 3, "label": "PER"}, {"start": 8, "end": 12, "label": "place"}]
    found.write_bytes(orjson.dumps({"id": 1, "text": "Ada saw Oslo.", "entities": entities}))
    run = genner("evaluate", gold, "-p", found, "--labels", tree_file, "--json")
    assert orjson.loads(run.stdout)["micro"]["f1"]["value"] == 1.0


def test_data_of_a_probe_may_be_labelled_by_aliases(tmp_path: Path) -> None:
    gold = str(labelled_by_alias(tmp_path, "LOC"))
    spec = RunSpec(tree=read_label_tree(str(tmp_path / "tree.yaml")))
    for documents in read_both(gold, gold, TrainOptions(), spec):
        assert [entity.label for entity in documents[0].entities] == ["PER", "place"]


def test_examples_may_be_labelled_by_aliases(genner: Callable[..., Run], tmp_path: Path) -> None:
    shown = labelled_by_alias(tmp_path, "LOC")
    tree_file = tmp_path / "tree.yaml"
    (example,) = examples_of(RunSpec(tree=read_label_tree(str(tree_file)), examples=str(shown)))
    assert [entity.label for entity in example.entities] == ["PER", "place"]
    model = write_random_model(tmp_path / "foreign.gguf", change={CHAT_TEMPLATE: CHAT}, leave_out=["genner."])
    tree_file.write_text("place:\n  aliases: [LOC]\n")  # no example has an entity that is called so
    asked = ("--labels", tree_file, "--model", model, "--examples", shown, "--threads", 1)
    run = genner("extract", shown, *asked, "-o", tmp_path / "out.jsonl")
    assert run.status == 0, run.stderr


def test_hints_may_be_labelled_by_aliases(tmp_path: Path) -> None:
    gold = str(labelled_by_alias(tmp_path, "GPE"))
    spec = RunSpec(inputs=(gold,), tree=read_label_tree(str(tmp_path / "tree.yaml")), hints=gold)
    (document,) = spec.documents()
    assert isinstance(document, Document)
    assert [hint.label for hint in document.hints or ()] == ["PER", "place"]
    shown = replace(spec, inputs=(), hints=gold, examples=gold, example_hints=gold)
    assert [hint.label for hint in examples_of(shown)[0].hints or ()] == ["PER", "place"]


def test_outputs_labelled_by_names_and_aliases_are_judged_as_one(tmp_path: Path) -> None:
    one = labelled_by_alias(tmp_path, "LOC").rename(tmp_path / "one.jsonl")
    other = labelled_by_alias(tmp_path, "place")
    asked = voter("m", lambda _, mention, label: label == "place")
    files = Files(inputs=(str(one), str(other)), output=str(tmp_path / "out.jsonl"))
    ruling = Ruling(tree=read_label_tree(str(tmp_path / "tree.yaml")), limit=True)
    judge(files, ["one", "other"], stages(("valid",), {"valid": [asked]}), ruling)
    (found,) = orjson.loads((tmp_path / "out.jsonl").read_bytes())["entities"]
    assert (found["label"], found["sources"]) == ("place", ["one", "other"])


def test_roles_are_chosen_on_data_labelled_by_aliases(genner: Callable[..., Run], tmp_path: Path) -> None:
    found = labelled_by_alias(tmp_path, "place").rename(tmp_path / "found.jsonl")
    gold = labelled_by_alias(tmp_path, "GPE")
    roles = tmp_path / "roles.json"
    tree_file = tmp_path / "tree.yaml"
    tree_file.write_text(f"someone:\n{indented(ALIASES)}")
    run = genner("calibrate", gold, "--predictions", found, "--labels", tree_file, "--threads", 1, "-o", roles)
    assert run.status == 0, run.stderr
    assert orjson.loads(roles.read_bytes())["measured"]["f1"] == 1.0


def indented(text: str) -> str:
    return "".join(f"  {line}\n" for line in text.splitlines())
