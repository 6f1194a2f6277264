"""The parts of the probes: claims of completions, swapped entities, symbols, stages, suites."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import pytest
from fake_engine import FakeEngine, text_of
from hypothesis import given
from hypothesis import strategies as st
from scored import extraction, flat, resembling

from genner_cli.errors import UsageError
from genner_cli.extraction import extract
from genner_cli.formats import FORMATS, output_format
from genner_cli.probing.cells import Cell, cell_of, is_invented
from genner_cli.probing.folder import ProbeFolder
from genner_cli.probing.formats import carriable
from genner_cli.probing.memorization import renamed, swap, symbols, unseen_pool
from genner_cli.probing.retention import Answer, compared
from genner_cli.probing.suite import OWN, Choice, Exact, Prose, read_suite, suite_file
from genner_cli.prompting import GENERAL_PROMPT
from genner_cli.scoring import compare, rate_differences
from genner_cli.scoring.evaluation import document_counts
from genner_cli.tasks import Task
from genner_cli.types import Document, Entity, Label

TEXT = "Ann of Acme met Ann [again] <x> & co."
WORD = st.text(st.characters(codec="utf-8", categories=("L", "N", "S", "P", "Mn")), min_size=1, max_size=6).filter(
    lambda word: word == word.strip()
)
LABELS = ("PER", "LOC")


def entity(text: str, start: int, end: int, label: str = "PER") -> Entity:
    return Entity(start, end, label, text[start:end])


def made_of(*words: tuple[str, str | None], id: str = "") -> Document:
    """A document of words, those with a label being entities."""
    text, entities = "", []
    for word, label in words:
        entities += [Entity(len(text), len(text) + len(word), label, word)] if label else []
        text += word + " "
    return Document(text, id, tuple(entities))


# claims


@pytest.mark.parametrize("format", FORMATS)
def test_what_a_format_says_of_the_text_is_claimed_and_not_invented(format: str) -> None:
    entities = [entity(TEXT, 0, 3), entity(TEXT, 7, 11, "ORG"), entity(TEXT, 16, 19), entity(TEXT, 28, 31, "ORG")]
    said = output_format(format).render(TEXT, entities, ["PER", "ORG"])
    assert not said.left_out
    found = list(output_format(format).claims(said.completion))
    assert sorted(claim.mention for claim in found) == sorted(each.text for each in entities)
    assert not any(is_invented(claim, TEXT) for claim in found)


@pytest.mark.parametrize(
    ("format", "completion", "claimed", "invented"),
    [
        ("offset", '[{"text": "Ann", "label": "PER", "start": 0, "end": 3}]', 1, 0),
        ("offset", '[{"text": "Ann", "label": "PER", "start": 1, "end": 4}]', 1, 1),
        ("offset", '[{"text": "Ann", "label": "PER", "start": 0, "end": 4}]', 1, 1),
        ("offset", '[{"text": "Bob", "label": "PER", "start": 0, "end": 3}]', 1, 1),
        ("offset", '[{"text": "Ann", "label": "PER", "start": "0"}, {"text": "Acme", "la', 1, 1),
        ("offset", '{{"text": "Ann", "start": 16, "end": 19} ...', 1, 0),
        ("occurrence", '[{"text": "Ann", "label": "PER", "occurrence_index": 2}]', 1, 0),
        ("occurrence", '[{"text": "Ann", "label": "PER", "occurrence_index": 3}]', 1, 1),
        ("occurrence", '[{"text": "Ann", "label": "PER", "occurrence_index": 0}]', 1, 1),
        ("category", '{"PER": ["Ann", "Ann"], "ORG": []}', 2, 0),
        ("category", '{"PER": ["Ann", "Ann", "Ann"], "ORG": ["Acne', 3, 1),
        ("xml", "<PER>Ann</PER> of <ORG>Acme Corp</ORG> <b", 2, 1),
        ("xml", "<PER></PER>", 1, 1),
        ("bracketed", "[Ann | PER] of [Acne | ORG] and ]", 2, 1),
        ("bracketed", "[[Ann | PER] of Acme | ORG] met", 2, 0),
        ("inserted", "⟦Ann⦂PER⟧ of⟦ Acme⦂ORG⟧ met⟦ Bob⦂PER⟧", 3, 1),
        ("xml", "nothing at all", 0, 0),
        ("offset", "[" * 100_000 + '{"a": ' * 3000, 0, 0),
    ],
)
def test_inventions_are_counted_in_completions_that_no_parser_accepts(
    format: str, completion: str, claimed: int, invented: int
) -> None:
    found = list(output_format(format).claims(completion))
    assert (len(found), sum(is_invented(claim, TEXT) for claim in found)) == (claimed, invented)


@given(st.sampled_from(sorted(FORMATS)), st.text(max_size=60))
def test_any_completion_can_be_read_for_claims(format: str, completion: str) -> None:
    for claim in list(output_format(format).claims(completion)):
        assert isinstance(is_invented(claim, TEXT), bool)


def test_a_cell_counts_invalid_failed_and_invented_of_scripted_completions() -> None:
    answers = {
        "Ann left.": '[{"text": "Ann", "label": "PER", "start": 0, "end": 3}]',
        "Bob left.": '[{"text": "Bob", "label": "PER", "start": 1, "end": 4}]',
        "Eve left.": "I see Eve.",
    }
    task = Task((Label("PER"),), GENERAL_PROMPT, "offset")
    documents = [Document(text, entities=(entity(text, 0, 3),), source=text) for text in answers]
    done = list(extract(documents, task, FakeEngine(lambda request: answers[text_of(request)]).generate))
    cell = cell_of(done, task, tokens=42, seconds=1.5)
    assert (cell.documents, cell.invalid, cell.failed, cell.claimed, cell.invented) == (3, 2, 0, 2, 1)
    assert (cell.figures.precision.value, cell.figures.recall.value) == (1.0, 1 / 3)
    assert Cell.of_value(json.loads(json.dumps(cell.value()))) == cell


def test_a_document_that_was_never_completed_is_failed_and_not_invalid() -> None:
    task = Task((Label("PER"),), GENERAL_PROMPT, "xml")
    cell = cell_of([extraction([(0, 1, "PER")], [], error="no room")], task, tokens=0, seconds=1.0)
    assert (cell.invalid, cell.failed, cell.figures.counts and cell.figures.counts.missed) == (0, 1, 1)


# swapping and renaming


@given(st.lists(st.lists(st.tuples(WORD, st.sampled_from([None, *LABELS])), max_size=6), max_size=4), st.integers(0, 3))
def test_swapped_documents_keep_labels_and_offsets_and_what_stands_between(
    sentences: list[list[tuple[str, str | None]]], seed: int
) -> None:
    documents = [made_of(*words) for words in sentences]
    pool = unseen_pool([made_of(("Zo\u0308e", "PER"), ("👩\u200d👧", "LOC"), ("X Y", "LOC"))], documents)
    swapped = swap(documents, pool, seed=seed)
    assert swapped == swap(documents, pool, seed=seed)
    for before, after in zip(documents, swapped.documents, strict=True):
        assert [each.label for each in before.entities] == [each.label for each in after.entities]
        assert all(after.text[each.start : each.end] == each.text for each in after.entities)
        assert between(before) == between(after)
    assert swapped.replaced + sum(swapped.kept.values()) == sum(len(each.entities) for each in documents)


def between(document: Document) -> list[str]:
    """The text around the entities, which must not overlap."""
    borders = [0, *(at for each in document.entities for at in (each.start, each.end)), len(document.text)]
    return [document.text[start:end] for start, end in list(pairwise(borders))[::2]]


def test_no_mention_of_training_comes_in_whatever_its_label_or_case() -> None:
    train = [made_of(("Rome", "LOC"), ("Ann", "PER"))]
    pool = unseen_pool(
        [made_of(("ROME", "PER"), ("ann", "PER"), ("Eve", "PER"), ("Oslo", "LOC"), ("Bob", "PER"))], train
    )
    assert {label: [mention.text for mention in mentions] for label, mentions in pool.items()} == {
        "PER": ["Bob", "Eve"], "LOC": ["Oslo"],
    }  # fmt: skip
    swapped = swap(train * 20, pool)
    assert {each.text for document in swapped.documents for each in document.entities} == {"Oslo", "Bob", "Eve"}


def test_an_entity_is_never_its_own_stand_in_and_one_without_another_stays() -> None:
    document = made_of(("Eve", "PER"), ("Oslo", "LOC"))
    swapped = swap([document] * 5, unseen_pool([document, made_of(("Bob", "PER"))], []))
    assert {document.text for document in swapped.documents} == {"Bob Oslo "}
    assert (swapped.replaced, swapped.kept) == (5, {"LOC": 5})


def test_what_lies_in_an_entity_goes_and_comes_with_it() -> None:
    text = "the mayor of Rome spoke"
    nested = Document(text, entities=(entity(text, 0, 17), entity(text, 13, 17, "LOC")))
    other = "a king of New York"
    given = Document(other, entities=(entity(other, 0, 18), entity(other, 10, 18, "LOC")))
    [swapped] = swap([nested], unseen_pool([given], [nested])).documents
    assert swapped.text == "a king of New York spoke"
    assert [(each.text, each.label) for each in swapped.entities] == [(other, "PER"), ("New York", "LOC")]
    seen = Document("New York", entities=(entity("New York", 0, 8, "LOC"),))
    assert unseen_pool([given], [seen]) == {}


def test_symbols_go_on_behind_z_and_rename_only_labels() -> None:
    names = symbols([Label(f"L{number}") for number in range(29)])
    assert [names[name] for name in ("L0", "L25", "L26", "L28")] == ["A", "Z", "AA", "AC"]
    [document] = renamed([made_of(("Ann", "PER"), ("met", None), ("Rome", "LOC"))], {"PER": "A"})
    assert [(each.text, each.label) for each in document.entities] == [("Ann", "A"), ("Rome", "LOC")]


def test_all_formats_learn_from_documents_that_each_of_them_can_say() -> None:
    good, repeated, inside = "Ann met Bob.", "Ann met Ann.", "2kg"
    documents = [
        Document(good, "good", (entity(good, 0, 3),)),
        Document(repeated, "second", (entity(repeated, 8, 11),)),
        Document(inside, "inside", (entity(inside, 0, 1),)),
    ]
    assert [each.id for each in carriable(documents, ["xml"], depth=1)] == ["good", "second", "inside"]
    assert [each.id for each in carriable(documents, ["xml", "offset"], depth=1)] == ["good", "second"]
    assert [each.id for each in carriable(documents, ["category", "offset"], depth=1)] == ["good"]


# stages


def test_a_stage_is_done_once_and_again_when_its_result_is_gone(tmp_path: Path) -> None:
    asked: Mapping[str, object] = {"probe": "x", "options": {"rank": 4, "seed": (1, 2)}}
    calls: list[str] = []

    def stages() -> list[int]:
        folder = ProbeFolder(tmp_path / "probe", asked)
        names = ("a/one", "two")
        return [folder.stage(name, lambda name=name: calls.append(name) or {"n": len(name)})["n"] for name in names]  # type: ignore[misc]

    assert stages() == stages() == [5, 3]
    assert calls == ["a/one", "two"]
    (tmp_path / "probe" / "a" / "one.json").unlink()
    assert (stages(), calls) == ([5, 3], ["a/one", "two", "a/one"])


def test_a_stage_that_fails_leaves_nothing_that_counts(tmp_path: Path) -> None:
    folder = ProbeFolder(tmp_path / "probe", {})
    with pytest.raises(ZeroDivisionError):
        folder.stage("one", lambda: {"n": 1 // 0})
    assert folder.stage("one", lambda: {"n": 1}) == {"n": 1}


def test_another_probe_or_a_foreign_folder_is_refused(tmp_path: Path) -> None:
    ProbeFolder(tmp_path / "probe", {"base": "a", "options": {"rank": 4, "seed": 0}})
    with pytest.raises(UsageError, match=r"options .*{'rank': 4} .*{'rank': 8}"):
        ProbeFolder(tmp_path / "probe", {"base": "a", "options": {"rank": 8, "seed": 0}})
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").touch()
    with pytest.raises(UsageError, match=r"mine exists .*no probe"):
        ProbeFolder(tmp_path / "mine", {})
    (tmp_path / "probe" / "one.json").write_text("{")
    with pytest.raises(UsageError, match=r"one\.json: .*broken"):
        ProbeFolder(tmp_path / "probe", {"base": "a", "options": {"rank": 4, "seed": 0}}).stage("one", dict)


# figures


def test_differences_are_those_of_the_figures_and_agree_with_the_comparison() -> None:
    rng = random.Random(5)
    gold = [flat(rng) for _ in range(60)]
    sides = [
        [document_counts(extraction([(e.start, e.end, e.label) for e in each], spans)) for each in gold for spans in
         [[(e.start, e.end, e.label) for e in resembling(rng, each)]]]
        for _ in range(2)
    ]  # fmt: skip
    found, comparison = rate_differences(*sides), compare(*sides)
    assert found["f1"] == pytest.approx(comparison.micro.difference)
    assert rate_differences(sides[0], sides[0])["recall"] == (0.0, 0.0, 0.0)
    assert found["precision"].low < found["precision"].value < found["precision"].high
    assert rate_differences([], [])["f1"] == (0.0, 0.0, 0.0)


def test_a_suite_names_file_and_line_of_what_is_no_question(tmp_path: Path) -> None:
    path = tmp_path / "suite.jsonl"
    good = {"task": "t", "question": "?", "choices": ["a", "b"], "answer": 1}
    for bad in ("{", "[]", '{"task": "t"}', json.dumps({**good, "answer": 2}), json.dumps({**good, "answer": "a"})):
        path.write_text(f"{json.dumps(good)}\n{bad}\n")
        with pytest.raises(UsageError, match=r"suite\.jsonl:2: "):
            read_suite(path)
    path.write_text(f"{json.dumps(good)}\n" + json.dumps({"task": "t", "text": "x"}))
    with pytest.raises(UsageError, match="two kinds"):
        read_suite(path)
    path.write_text("")
    with pytest.raises(UsageError, match="no question"):
        read_suite(path)
    with pytest.raises(UsageError, match=r"no suite .*'other'"):
        suite_file("other")


def test_the_suite_that_ships_is_sound() -> None:
    items = read_suite(suite_file(OWN))
    kinds = [type(item) for item in items]
    assert (kinds.count(Choice), kinds.count(Exact), kinds.count(Prose)) == (40, 32, 12)
    assert len({repr(item) for item in items}) == len(items)
    choices = [item for item in items if isinstance(item, Choice)]
    assert all(len(set(item.choices)) == len(item.choices) for item in choices)
    assert {item.answer for item in choices} == {0, 1, 2, 3}


def test_accuracy_and_perplexity_are_compared_question_by_question() -> None:
    items = [*[Choice("c", "?", ("a", "b"), 0)] * 4, *[Prose("p", "x")] * 2]
    before = [Answer(1, 1), Answer(1, 1), Answer(0, 1), Answer(1, 1), Answer(2000, 2), Answer(1000, 1)]
    after = [Answer(0, 1), Answer(1, 1), Answer(0, 1), Answer(1, 1), Answer(4000, 2), Answer(2000, 1)]
    choice, prose = compared(items, before, after)
    assert (choice.before.value, choice.after.value, choice.difference.value) == (0.75, 0.5, -0.25)
    assert choice.difference.low < -0.25 < choice.difference.high == 0.0
    assert (choice.measure, choice.share, prose.measure, prose.share) == ("accuracy", True, "perplexity", False)
    assert prose.questions == 2
    assert prose.before == pytest.approx((2.71828,) * 3, abs=1e-4)
    assert prose.after == pytest.approx((7.38906,) * 3, abs=1e-4)
