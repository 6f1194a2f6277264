"""Synthetic data by models with planted knowledge and planted mistakes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from math import log
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest
from fake_engine import FakeEngine
from hypothesis import given
from hypothesis import strategies as st
from scripted_judges import voter

from genner_cli.engine.statistics import Costs, Statistics
from genner_cli.errors import ModelError, UsageError
from genner_cli.extraction import Task
from genner_cli.files.plans import Attribute, Plan, read_plan, write_plan
from genner_cli.formats import output_format
from genner_cli.generation import Completion, Request
from genner_cli.methods import synthesis
from genner_cli.methods.synthesis import Scored, Verdict, Written
from genner_cli.prompting import GENERAL_PROMPT, Prompt, Turn
from genner_cli.running.annotating import correct
from genner_cli.running.backend import ModelFacts, OpenedEngine
from genner_cli.running.spec import RunSpec
from genner_cli.running.synthesis import begin, plan_of, sentences, synthesize
from genner_cli.running.synthesis_job import Synthesis
from genner_cli.running.writers import Author, Writer
from genner_cli.types import Document, Entity, Label

LABELS = (Label("PER", "named people"), Label("ORG"), Label("LOC"))
NAMES = {
    "PER": ("Ada Lovelace", "Bob Stone", "Cy Young"),
    "ORG": ("Acme", "Globex Works", "Initech"),
    "LOC": ("Oslo", "New York", "Ely"),
}
KIND = {name: label for label, names in NAMES.items() for name in names}
WORDS = [f"{a}{b}" for a in ("ba", "ke", "li", "mo", "nu", "pra", "sti") for b in ("den", "for", "gal", "him", "jos")]
EXAMPLE = Document("Eve of Umbra left.", entities=(Entity(0, 3, "PER", "Eve"), Entity(7, 12, "ORG", "Umbra")))
WRONG, RIGHT = log(0.3) / 40, log(0.999) / 40
"""Log-probabilities of a byte of a wrong annotation, and of a right one."""


def question_of(request: Request) -> str:
    return request.rest[-2].text


def author_of(question: str, request: Request) -> str:
    """Lists what it knows, and writes a sentence of the names that it is given and of random words."""
    if found := re.search(r"different (topic|style)s for", question):
        return '1. football\n2. "cooking"\n' if found[1] == "topic" else "- formal: serious\n- rude"
    if found := re.search(r"of the kind (\w+)", question):
        return "".join(f"{number}. {name}\n" for number, name in enumerate(NAMES[found[1]], 1))
    assert request.sampling
    rng = Random(str(request.sampling.request))
    names = re.search(r"Use these names in it: (.*)\.", question)
    parts = [*(names[1].split(", ") if names else ["Oslo"]), *rng.sample(WORDS, 9)]
    return f'"{" ".join(parts)}."\n'


def author(handler: Any = author_of, *, slots: int = 4, asked: list[Request] | None = None) -> Author:
    @contextmanager
    def opened(most: int) -> Iterator[Writer]:
        engine = FakeEngine(lambda request: handler(question_of(request), request), slots=slots)
        prompts = [Prompt("", "\n", "\n", (Turn("A:", "\n"),) * count) for count in range(most + 1)]

        def generate(requests: Iterable[Request]) -> Iterator[tuple[int, Completion]]:
            yield from engine.generate(requests)
            if asked is not None:
                asked.extend(engine.requests)

        yield Writer(tuple(prompts), generate)

    return Author("author.gguf", "content", opened)


class Annotator:
    """Finds the known names; what it does wrong it is less sure of."""

    def __init__(self, mistakes: bool = True) -> None:
        self._mistakes = mistakes

    @contextmanager
    def open(self, spec: RunSpec) -> Iterator[OpenedEngine]:
        task = Task(spec.labels or (), GENERAL_PROMPT, "bracketed")
        yield OpenedEngine(ModelFacts(task, fingerprint="annotator"), _Counted(self._annotated))

    def _annotated(self, request: Request) -> Completion:
        text = request.text
        entities = [self._found(text, name) for name in KIND if name in text]
        entities.sort(key=lambda each: each.start)
        names = [label.name for label in LABELS]
        written = output_format("bracketed").render(text, entities, names).completion
        parsed = output_format("bracketed").parse(written, text)
        logs = [RIGHT] * len(written.encode())
        for each in parsed:
            for part in each.rendering:
                sure = RIGHT if KIND.get(each.text) == each.label else WRONG
                logs[part.start : part.end] = [sure] * (part.end - part.start)
        return Completion(written, tuple(range(1, len(logs) + 1)), tuple(logs))

    def _found(self, text: str, name: str) -> Entity:
        start, end, label = text.index(name), text.index(name) + len(name), KIND[name]
        if self._mistakes and name == "Ada Lovelace":
            end = start + 3  # shortened
        if self._mistakes and name == "Initech":
            label = "PER"  # mistyped
        return Entity(start, end, label, text[start:end])


class _Counted(FakeEngine):
    statistics, costs = Statistics(), Costs(0.0, 0.0)


def knows(passage: str, mention: str, label: str) -> bool:
    return KIND.get(mention) == label


def job(folder: Path, **changes: Any) -> Synthesis:
    made = Synthesis(
        labels=LABELS, about="news", count=40, folder=folder, plan=folder / "plan.yaml", author=author(),
        annotation=RunSpec(labels=LABELS), backend=Annotator(), voters=(voter("judge", knows, LABELS),), corrected=0.5,
    )  # fmt: skip
    made = replace(made, **changes)
    begin(made, restart=False)
    return made


def lines(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def mentions(record: dict[str, Any]) -> set[tuple[str, str]]:
    assert all(record["text"][each["start"] : each["end"]] == each["text"] for each in record["entities"])
    return {(each["text"], each["label"]) for each in record["entities"]}


def test_mistakes_below_the_cap_are_repaired_and_the_others_stay(tmp_path: Path) -> None:
    made = synthesize(job(tmp_path))
    records = lines(tmp_path / "train.jsonl")
    assert len(records) == 40
    wrong = sum("Ada Lovelace" in each["text"] or "Initech" in each["text"] for each in records)
    assert wrong > 5
    for each in records:
        assert mentions(each) == {(name, label) for name, label in KIND.items() if name in each["text"]}
        assert all("score" not in entity for entity in each["entities"])
    assert f"{len(list((tmp_path / 'stages').glob('*')))}" != "0"
    assert re.search(r"[1-9]\d* changed, 0 removed", made.corrected)


def test_without_correction_the_mistakes_stay(tmp_path: Path) -> None:
    synthesize(job(tmp_path, corrected=0.0))
    found = set().union(*map(mentions, lines(tmp_path / "train.jsonl")))
    assert ("Ada", "PER") in found
    assert ("Initech", "PER") in found


def test_what_a_judge_refuses_is_removed_and_counted(tmp_path: Path) -> None:
    nobody = voter("no", lambda *_: False, LABELS)
    made = synthesize(job(tmp_path, voters=(nobody,), corrected=1.0))
    assert all(not each["entities"] for each in lines(tmp_path / "train.jsonl"))
    assert "0 unchanged, 0 changed" in made.corrected


def test_an_annotation_within_another_that_is_right_stays(tmp_path: Path) -> None:
    text = "She left the Bank of Oslo early."
    outer, inner = Entity(13, 25, "ORG", "Bank of Oslo", 0.9), Entity(21, 25, "ORG", "Oslo", 0.1)
    document = Document(text, "a", entities=(outer, inner))
    voters = (voter("judge", lambda passage, mention, label: (mention, label) == ("Oslo", "ORG"), LABELS),)
    ((found,), said) = correct(job(tmp_path, voters=voters), [document])
    assert found.entities == (outer, replace(inner, score=None))
    assert "1 unchanged" in said


def result(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in ("plan.yaml", "train.jsonl", "rejected.jsonl", "synth.json")}


def test_the_same_seed_gives_the_same_files_whatever_slots(tmp_path: Path) -> None:
    for slots in (1, 3, 8):
        synthesize(job(tmp_path / str(slots), author=author(slots=slots)))
    assert result(tmp_path / "1") == result(tmp_path / "3") == result(tmp_path / "8")
    synthesize(job(tmp_path / "other", seed=1))
    assert result(tmp_path / "other")["train.jsonl"] != result(tmp_path / "1")["train.jsonl"]


@pytest.mark.parametrize("stops_at", [0, 5, 9, 20, 45])
def test_a_run_that_was_interrupted_resumes_to_the_same_files(tmp_path: Path, stops_at: int) -> None:
    count = 0

    def stopping(question: str, request: Request) -> str:
        nonlocal count
        count += 1
        if count > stops_at:
            raise KeyboardInterrupt
        return author_of(question, request)

    synthesize(job(tmp_path / "whole"))
    with pytest.raises(KeyboardInterrupt):
        synthesize(job(tmp_path / "stopped", author=author(stopping)))
    synthesize(job(tmp_path / "stopped"))
    assert result(tmp_path / "stopped") == result(tmp_path / "whole")


def test_a_run_that_was_interrupted_at_annotation_or_correction_resumes_to_the_same_files(tmp_path: Path) -> None:
    class Stops(Annotator):
        def _annotated(self, request: Request) -> Completion:
            raise KeyboardInterrupt

    def stops(*_: str) -> bool:
        raise KeyboardInterrupt

    synthesize(job(tmp_path / "whole"))
    for changes in ({"backend": Stops()}, {"voters": (voter("judge", stops, LABELS),)}, {}):
        if changes:
            with pytest.raises(KeyboardInterrupt):
                synthesize(job(tmp_path / "stopped", **changes))
        else:
            synthesize(job(tmp_path / "stopped"))
    assert result(tmp_path / "stopped") == result(tmp_path / "whole")


def test_a_complete_run_is_not_done_again(tmp_path: Path) -> None:
    synthesize(job(tmp_path))
    before = result(tmp_path)

    def never(question: str, request: Request) -> str:
        raise AssertionError(question)

    synthesize(job(tmp_path, author=author(never)))
    assert result(tmp_path) == before


def test_other_options_are_refused_and_restart_starts_over_but_for_the_plan(tmp_path: Path) -> None:
    synthesize(job(tmp_path))
    plan = (tmp_path / "plan.yaml").read_bytes()
    other = replace(author(), settings={"no-chat-template": True})
    cases = ({"seed": 3}, "seed"), ({"count": 41}, "sentences to make"), ({"author": other}, "no-chat-template")
    for changes, says in cases:
        with pytest.raises(UsageError, match=says):
            synthesize(job(tmp_path, **changes))
    edited = replace(read_plan(str(tmp_path / "plan.yaml")), names_per_sentence=2.0)
    write_plan(tmp_path / "edited.yaml", edited)
    with pytest.raises(UsageError, match="plan"):
        synthesize(job(tmp_path, plan=tmp_path / "edited.yaml"))
    again = job(tmp_path, seed=3)
    begin(again, restart=True)
    synthesize(again)
    assert (tmp_path / "plan.yaml").read_bytes() == plan


def test_a_writer_that_repeats_itself_is_an_error_that_says_so(tmp_path: Path) -> None:
    def repeats(question: str, request: Request) -> str:
        return "The same few words again." if question.startswith("Write") else author_of(question, request)

    with pytest.raises(ModelError, match=r"1 sentence of 40 can be used .*repeated"):
        synthesize(job(tmp_path, author=author(repeats)))
    rejected = lines(tmp_path / "rejected.jsonl")
    asked = sum(len(lines(each)) for each in (tmp_path / "stages").glob("sentences-?.jsonl"))
    assert len(rejected) == asked - 1
    assert {each["why"] for each in rejected} == {"repeated"}


def test_every_sentence_that_is_not_kept_is_counted_and_replaced(tmp_path: Path) -> None:
    secret = "nobody may ever train on these nine very words"

    def odd(question: str, request: Request) -> Completion | str:
        number = int(re.sub(r"\D", "", str(request.sampling and request.sampling.request)) or 0)
        if not question.startswith("Write") or number % 2:
            return author_of(question, request)
        ways = ("", Completion("half a sent", (1,), (0.0,), cut=True), Completion("", error="no"), f"So {secret}.")
        return ways[number // 2 % 4] if number < 24 else author_of(question, request)

    made = job(tmp_path, author=author(odd), elsewhere=(f"x {secret} y",))
    texts, counts = sentences(made, plan_of(made))
    assert len(texts) == counts[Verdict.KEPT] == 40
    kinds = (Verdict.EMPTY, Verdict.CUT, Verdict.FAILED, Verdict.CONTAMINATED)
    assert [counts[each] for each in kinds] == [3, 3, 3, 3]
    assert Counter(each["why"] for each in lines(tmp_path / "rejected.jsonl")) == {
        str(kind): count for kind, count in counts.items() if kind is not Verdict.KEPT
    }
    assert all(secret not in each.text for each in texts)


def test_examples_are_shown_as_answered_requests_and_never_copied(tmp_path: Path) -> None:
    asked: list[Request] = []

    def copies(question: str, request: Request) -> str:
        number = str(request.sampling and request.sampling.request)
        return "eve OF umbra left" if number == "s3" else author_of(question, request)

    made = job(tmp_path, author=author(copies, asked=asked), examples=(EXAMPLE,))
    _, counts = sentences(made, plan_of(made))
    assert counts[Verdict.EXAMPLE] == 1
    writing = [each for each in asked if question_of(each).startswith("Write")]
    shown = "".join(piece.text for piece in writing[0].prefix)
    assert "Use these names in it: Eve, Umbra." in shown
    assert "A:Eve of Umbra left." in shown


def test_an_edited_plan_is_followed(tmp_path: Path) -> None:
    asked: list[Request] = []
    plan = Plan("old maps", {"era": Attribute(("1800s",))}, {"LOC": ("Utopia",)}, names_per_sentence=20)
    made = job(tmp_path, author=author(asked=asked), count=3)
    write_plan(made.plan, plan)
    synthesize(made)
    assert {question_of(each) for each in asked} == {
        "Write one sentence about old maps.\nEra: 1800s.\nUse these names in it: Utopia.\nWrite only the sentence."
    }
    assert orjson.loads((tmp_path / "synth.json").read_bytes())["plan"] == plan.value()


def test_a_plan_without_attributes_and_names_is_the_simple_prompt() -> None:
    (question,) = synthesis.sentence_questions(Plan("news"), [7], 0)
    assert question.text == "Write one sentence about news.\nWrite only the sentence."


def test_a_plan_that_names_another_label_is_a_usage_error(tmp_path: Path) -> None:
    made = job(tmp_path)
    write_plan(made.plan, Plan("news", {}, {"DOG": ("Rex",)}))
    with pytest.raises(UsageError, match="DOG"):
        synthesize(made)


def test_without_a_plan_and_a_subject_nothing_is_asked(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--about"):
        plan_of(job(tmp_path, about=""))


texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=12)
words = texts.map(lambda text: " ".join(text.split())).filter(bool)
plans = st.builds(
    Plan,
    words,
    st.dictionaries(words, st.builds(Attribute, st.lists(words, min_size=1, unique=True).map(tuple), st.floats(0, 1))),
    st.dictionaries(words, st.lists(words, unique=True).map(tuple)),
    st.floats(0, 20),
)


@given(plan=plans)
def test_a_plan_is_read_back_as_it_was_written(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("plan") / "plan.yaml"
    write_plan(path, plan)
    assert read_plan(str(path)) == plan


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- a", "not a plan"),
        ("about: 3", "about"),
        ("about: ''", "about"),
        ("about: x\nnmaes: {}", "nmaes"),
        ("about: x\nattributes: [a]", "attributes"),
        ("about: x\nattributes: {topic: [a]}", "topic"),
        ("about: x\nattributes: {topic: {values: []}}", "topic"),
        ("about: x\nattributes: {topic: {values: [a], share: 2}}", "share of topic"),
        ("about: x\nattributes: {topic: {values: [a], share: yes}}", "share of topic"),
        ("about: x\nnames: {PER: [1]}", "names of PER"),
        ("about: x\nnames: {PER: Ada}", "names of PER"),
        ("about: x\nnames_per_sentence: -1", "names_per_sentence"),
        ("about: x\n a: b: c", ":2"),
    ],
)
def test_a_plan_that_is_wrong_is_a_usage_error_that_says_where(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=says) as caught:
        read_plan(str(path))
    assert str(path) in str(caught.value)


def test_names_and_attributes_are_drawn_as_often_as_the_plan_says() -> None:
    plan = Plan("x", {"topic": Attribute(("a", "b")), "style": Attribute(("c",), 0.4)}, NAMES, names_per_sentence=1.5)
    drawn = [each.fields for each in synthesis.sentence_questions(plan, range(4000), 5)]
    assert Counter(each["attributes"]["topic"] for each in drawn)["a"] == pytest.approx(2000, abs=150)
    assert sum("style" in each["attributes"] for each in drawn) == pytest.approx(1600, abs=150)
    assert sum(len(each["names"]) for each in drawn) / 4000 == pytest.approx(1.5, abs=0.08)
    assert drawn[17:20] == [each.fields for each in synthesis.sentence_questions(plan, [17, 18, 19], 5)]


def test_lists_are_read_without_numbers_quotes_explanations_and_repetitions() -> None:
    answer = '1. Ada Lovelace\n2) "Bob"\n- Acme – a company\n* acme\n3. Oslo (Norway)\n...\n\nCy: pilot\n' + "word " * 9
    assert synthesis.listed([("PER", answer), ("PER", "Bob\nDan"), ("ORG", "")]) == {
        "PER": ("Ada Lovelace", "Bob", "Acme", "Oslo", "Cy", "Dan"),
        "ORG": (),
    }


def test_letters_that_count_a_list_are_no_items() -> None:
    answer = "A) Acme\n(b) Bolt\nC\nD.\n1999\nJ. Smith\n京\nÉ"
    assert synthesis.listed([("ORG", answer)]) == {"ORG": ("Acme", "Bolt", "1999", "J. Smith", "京", "É")}


def test_an_answer_that_was_cut_is_kept_up_to_the_last_end_of_a_sentence() -> None:
    assert synthesis.written("s1", 'Ada met Bob. "Really?" No. And th', cut=True).text == 'Ada met Bob. "Really?" No.'
    assert synthesis.written("s1", "Ada met Mr.Bob and th", cut=True).problem is Verdict.CUT
    assert synthesis.written("s1", "No. Ada met Bob and th", cut=True).problem is Verdict.EMPTY


@pytest.mark.parametrize(
    ("answer", "text", "problem"),
    [
        ('1. "Ada met  Bob."\n', "Ada met Bob.", None),
        ("Sentence: Ada met Bob", "Ada met Bob", None),
        ("Here's one sentence for you: Ada met Bob", "Ada met Bob", None),
        ("Ada said: Bob left", "Ada said: Bob left", None),
        ("1990 was a good year.", "1990 was a good year.", None),
        ("a b", "a b", Verdict.EMPTY),
        ("... ! ?", "... ! ?", Verdict.EMPTY),
    ],
)
def test_an_answer_becomes_a_sentence(answer: str, text: str, problem: Verdict | None) -> None:
    assert synthesis.written("s1", answer, cut=False) == Written("s1", text, problem)


def test_a_sentence_is_repeated_if_it_shares_eight_words_with_an_earlier_one() -> None:
    eight = "one two three four five six seven eight"
    given = [f"{eight} nine", "Short one here.", f"zero {eight.upper()}", "short, ONE: here", "something else again"]
    found = synthesis.sifted([Written(str(at), text) for at, text in enumerate(given)], 2)
    assert found == [Verdict.KEPT, Verdict.KEPT, Verdict.REPEATED, Verdict.REPEATED, Verdict.SPARE]


@given(st.lists(st.tuples(st.sampled_from("ABC"), st.floats(0, 1)), max_size=60), st.floats(0, 1))
def test_the_least_certain_of_each_label_keep_the_mix_of_labels(pairs: list[tuple[str, float]], share: float) -> None:
    annotations = [Scored((0, number), label, score) for number, (label, score) in enumerate(pairs)]
    chosen = synthesis.uncertain(annotations, share)
    assert len(chosen) == round(share * len(annotations))
    for label in "ABC":
        group = sorted((each.score, each.place) for each in annotations if each.label == label)
        count = sum(place in chosen for _, place in group)
        assert abs(count - share * len(group)) < 1 + 1e-9
        assert {place for _, place in group[:count]} == {place for _, place in group if place in chosen}


def test_diversity_counts_mentions_by_label_and_pairs_of_words() -> None:
    documents: Sequence[Document] = [
        EXAMPLE,
        Document("Eve of Acme", entities=(Entity(0, 3, "PER", "Eve"),)),
        Document("x"),
    ]
    assert synthesis.diversity(documents) == {
        "entities": 3, "distinct mentions": 2, "sentences without entities": 1, "distinct-2": 0.8,
    }  # fmt: skip


@given(st.text(max_size=80), st.booleans())
def test_whatever_a_model_answers_becomes_one_line_or_a_problem(answer: str, cut: bool) -> None:
    found = synthesis.written("s1", answer, cut=cut)
    assert found.text == " ".join(found.text.split())
    assert found.problem or len(found.text.split()) >= synthesis.FEWEST_WORDS
    (items,) = synthesis.listed([("PER", answer)]).values()
    assert len({each.casefold() for each in items}) == len(items)
    assert all(each == each.strip() and any(map(str.isalnum, each)) for each in items)
