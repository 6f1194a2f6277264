"""Labels that do not fit one prompt: asked in several passes, merged into one record for each document."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby, pairwise
from pathlib import Path

import orjson
import pytest
from asking import news
from conftest import Run
from fake_engine import FakeEngine, Handler, completion, text_of
from hypothesis import given
from hypothesis import strategies as st
from resuming import manifest, records, write_documents
from strategies import examples

from genner_cli import extraction
from genner_cli.errors import UsageError
from genner_cli.extraction import extract
from genner_cli.formats import output_format
from genner_cli.generation import Completion, EngineOptions, Invariance, Request
from genner_cli.planning import Estimate, Survey, Tally, Timing
from genner_cli.prompting import GENERAL_PROMPT, Instructions, label_passes
from genner_cli.running.llama import open_model
from genner_cli.running.spec import RunSpec
from genner_cli.running.task import UNKNOWN_WARNED, make_task
from genner_cli.tasks import Task
from genner_cli.types import Document, Entity, Label, Reason

Genner = Callable[..., Run]
PER, ORG, LOC = (Label(name) for name in ("PER", "ORG", "LOC"))
TASK = Task((PER, ORG, LOC), GENERAL_PROMPT, "xml", passes=((PER, ORG), (LOC,)))
ANN, ANN_OF_ROME, ROME = "Ann", "Ann of Rome", "Rome"
MANY = [f"KIND_{number}" for number in range(500)]


def asked(request: Request) -> list[str]:
    """The labels in a request's prompt."""
    return [line.split(":")[0] for line in request.prefix[1].text.splitlines()]


def marking(**labels: str) -> Handler:
    """Marks every occurrence of these mentions with their labels, where the prompt asks for them."""

    def answer(request: Request) -> Completion:
        text, names = text_of(request), asked(request)
        found = [
            Entity(match.start(), match.end(), label, match[0])
            for label, mention in labels.items()
            for match in re.finditer(re.escape(mention), text)
            if label in names
        ]
        return completion(output_format("xml").render(text, sorted(found, key=lambda e: e.start), names).completion)

    return answer


def test_labels_that_are_asked_for_company_are_left_out() -> None:
    task = Task((LOC,), GENERAL_PROMPT, "xml", passes=((PER, ORG, LOC),))
    engine = FakeEngine(marking(PER=ANN, LOC=ROME))
    (found,) = extract([Document("Ann of Rome")], task, engine.generate)
    assert [(entity.text, entity.label) for entity in found.entities] == [(ROME, "LOC")]
    assert [asked(request) for request in engine.requests] == [["PER", "ORG", "LOC"]]


@given(sizes=st.lists(st.integers(1, 9), max_size=40), room=st.integers(1, 30))
@examples(100)
def test_labels_are_cut_in_order_into_as_few_runs_as_fit(sizes: list[int], room: int) -> None:
    labels = [Label(f"L{number}") for number in range(len(sizes))]
    size = dict(zip(labels, sizes, strict=True))

    def fits(some: Sequence[Label]) -> bool:
        return sum(size[label] for label in some) <= room

    passes = label_passes(labels, fits)
    assert [label for each in passes for label in each] == labels
    assert all(each and (len(each) == 1 or fits(each)) for each in passes)
    assert not any(fits([*one, other[0]]) for one, other in pairwise(passes))


def test_each_text_is_asked_about_in_each_pass_and_its_entities_stand_in_one_record() -> None:
    engine = FakeEngine(marking(PER=ANN, LOC=ROME), slots=3)
    documents = [Document(f"Ann saw Rome, {number}.") for number in range(20)]
    results = list(extract(documents, TASK, engine.generate))
    assert [result.document for result in results] == documents
    assert {tuple((e.label, e.text) for e in result.entities) for result in results} == {(("PER", ANN), ("LOC", ROME))}
    assert {result.chunks for result in results} == {1}, "a text is counted once"
    assert {len(result.completions) for result in results} == {2}
    assert all(request.grammar == output_format("xml").grammar(asked(request), depth=1) for request in engine.requests)


def test_all_texts_of_a_block_are_asked_in_one_pass_before_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each change of the prefix empties the slots."""
    monkeypatch.setattr(extraction, "PASS_CHUNKS", 8)
    engine = FakeEngine(marking(PER=ANN))
    long = " ".join(f"Here is Ann in sentence {number}." for number in range(60))
    task = replace(TASK, chunk_bytes=150)
    results = list(extract([Document(long), *(Document(f"Ann {n}.") for n in range(5))], task, engine.generate))
    assert [len(result.entities) for result in results] == [60, 1, 1, 1, 1, 1]
    runs = [(labels, len(list(same))) for labels, same in groupby(asked(request) for request in engine.requests)]
    assert [labels for labels, _ in runs] == [["PER", "ORG"], ["LOC"]] * (len(runs) // 2)
    assert {count for _, count in runs[:-2]} == {8}
    assert sum(count for _, count in runs) == 2 * sum(result.chunks for result in results)


@pytest.mark.parametrize(
    ("depth", "chances", "kept"),
    [
        (1, {"PER": 0.9, "LOC": 0.99}, ["LOC"]),
        (1, {"PER": 0.99, "LOC": 0.9}, ["PER"]),
        (1, {"PER": 1.0, "LOC": 1.0}, ["LOC"]),
        (2, {"PER": 0.9, "LOC": 0.99}, ["LOC", "PER"]),
        (2, {"PER": 0.99, "LOC": 0.9}, ["LOC", "PER"]),
    ],
    ids=["flat: the better, later", "flat: the better, earlier", "flat: the longer of equals", "nested", "nested too"],
)
def test_where_passes_overlap_flat_keeps_the_better_and_nested_both(
    depth: int, chances: dict[str, float], kept: list[str]
) -> None:
    def answer(request: Request) -> Completion:
        written = marking(PER=ANN, LOC=ANN_OF_ROME)(request)
        assert isinstance(written, Completion)
        return completion(written.text, chances["PER" if "PER" in asked(request) else "LOC"])

    (result,) = extract([Document("Ann of Rome ran.")], replace(TASK, depth=depth), FakeEngine(answer).generate)
    assert [entity.label for entity in result.entities] == kept


@pytest.mark.parametrize("label", ["PER", "LOC"])
def test_a_pass_that_fails_fails_the_document_alone(label: str) -> None:
    def answer(request: Request) -> Completion | str:
        broken = label in asked(request) and "Bob" in text_of(request)
        return Completion("", error="no room") if broken else marking(PER=ANN)(request)

    documents = [Document("Ann ran.", source="f:1"), Document("Bob ran.", source="f:2")]
    one, other = extract(documents, TASK, FakeEngine(answer).generate)
    assert (one.error, len(one.entities)) == (None, 1)
    assert (other.error, other.entities, other.reason) == ("f:2: no room", (), Reason.ENGINE)


def test_a_label_of_another_pass_is_left_out() -> None:
    (result,) = extract([Document("a b")], TASK, FakeEngine(lambda request: "<LOC>a</LOC> b").generate)
    assert [entity.label for entity in result.entities] == ["LOC"]


def test_an_estimate_counts_what_all_passes_take() -> None:
    whole = Survey(documents=50, chunks=600, bytes=4000)
    tally = Tally(completions=5, prompt_tokens=100, new_tokens=120, bytes=400)
    once = Estimate(whole, Timing(100, 100, 100, tally), 1, 30, 5, 6, Invariance(None, "x")).value()
    thrice = Estimate(whole, Timing(100, 100, 100, tally), 1, 30, 5, 6, Invariance(None, "x"), passes=3).value()
    assert (once["passes"], thrice["passes"]) == (1, 3)
    assert thrice["seconds"] == 3 * once["seconds"]
    assert thrice["new_tokens"] == 3 * once["new_tokens"]
    assert (once["prompt_tokens"], thrice["prompt_tokens"]) == (1030, 3000 + 2 * 3 * 30), "600 chunks are two blocks"
    assert thrice["bytes"] == once["bytes"] == 4000


@pytest.fixture
def labels_file(tmp_path: Path) -> Path:
    """Three labels that the model knows, at the begin, in the middle and at the end of 500."""
    names = ["PER", *MANY[:248], "ORG", *MANY[248:497], "LOC"]
    assert len(names) == 500
    path = tmp_path / "labels.yaml"
    path.write_text("".join(f"- {name}\n" for name in names), encoding="utf-8")
    return path


def test_500_labels_work_from_the_command_on_and_the_ledger_counts_documents_once(
    genner: Genner, tmp_path: Path, labels_file: Path
) -> None:
    docs = write_documents(tmp_path / "in.jsonl", [{"text": text} for text in news()[10:14]])
    out = tmp_path / "out.jsonl"
    run = genner("extract", docs, "--labels", labels_file, "-o", out, "--keep-completion")
    assert run.status == 0
    passes = manifest(out)["options"]["labels of each pass"]
    assert sum(passes) == 500
    assert len(passes) > 1
    assert re.search(rf"\b500 labels .*\b{len(passes)} passes", run.stderr)
    (warning,) = [line for line in run.stderr.splitlines() if "trained" in line]
    assert re.search(r"\b492 more;", warning)
    found = records(out)
    assert [record["text"] for record in found] == news()[10:14]
    assert {len(record["completion"]) for record in found} == {len(passes)}
    assert any(record["entities"] for record in found)
    for record in found:
        ranges = [(entity["start"], entity["end"]) for entity in record["entities"]]
        assert all(one[1] <= other[0] for one, other in pairwise(ranges)), "flat"
        assert all(record["text"][e["start"] : e["end"]] == e["text"] for e in record["entities"])
    ledger = manifest(out)["ledger"]
    assert (ledger["documents"], ledger["chunks"]) == (4, 4)


def test_a_context_that_cuts_the_labels_otherwise_is_refused_when_going_on(
    genner: Genner, tmp_path: Path, labels_file: Path
) -> None:
    docs = write_documents(tmp_path / "in.jsonl", [{"text": " "}])
    command = ("extract", docs, "--labels", labels_file, "-o", tmp_path / "out.jsonl")
    assert genner(*command).status == 0
    assert genner(*command).status == 0
    run = genner(*command, "--context", 1024)
    assert run.status == 2
    assert re.search(r"labels of each pass: [\d, ]+ -> [\d, ]+", run.stderr)


def test_labels_that_fit_are_asked_in_one_pass(random_path: Path) -> None:
    labels = tuple(Label(name) for name in MANY[:100])
    one_thread = EngineOptions(threads=1, gpu_layers=0)
    spec = RunSpec(labels=labels, model=str(random_path), engine=one_thread)
    with open_model(spec) as (facts, _):
        assert facts.task.passes == (labels,)
    with open_model(replace(spec, engine=replace(one_thread, context=256))) as (facts, model):
        task = facts.task
        sizes = [len(model.prefix_ids(task.prompt.prefix(each))) for each in task.passes]
        assert len(sizes) > 2
        assert max(sizes) <= 128, "half of the context"


def test_the_plan_of_500_labels_counts_passes_and_its_command_takes_the_same_file(
    genner: Genner, tmp_path: Path, labels_file: Path
) -> None:
    docs = write_documents(tmp_path / "in.jsonl", [{"text": text} for text in news()[:4]])
    made = orjson.loads(genner("plan", docs, "--labels", labels_file, "--seconds", 1, "--sample", 2, "--json").stdout)
    assert made["passes"] > 1
    assert made["chunks"] == 4
    assert made["prompt_tokens"] > 500 * 3
    assert f"--labels {labels_file}" in made["command"]


@pytest.mark.parametrize("open_labels", [True, False])
def test_labels_that_the_model_was_not_trained_on_are_reported_in_one_line(
    caplog: pytest.LogCaptureFixture, open_labels: bool
) -> None:
    names = ("work of art", "workofart", "workoffart", "workofarts", "Person")
    known = Instructions(
        GENERAL_PROMPT, "category", 1, tuple(map(Label, names)), ("Person",), 1000, open_labels=open_labels
    )
    asked = ("Person", "WORK_OF_ART", "person", "A1", "A2", "A3", "A4", "A5")
    spec = RunSpec(labels=tuple(map(Label, asked)))
    make_task(spec, known, context=4096, prefix_tokens=lambda pieces: 10)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "'WORK_OF_ART' (nearest: work of art," in record.message
    assert "'person' (nearest: Person)," in record.message
    assert [name for name in asked if repr(name) in record.message] == ["WORK_OF_ART", "person", "A1", "A2", "A3"]
    assert "A1 (" not in record.message
    assert ("and 2 more; it goes by the name" in record.message) is open_labels
    with pytest.raises(UsageError, match=r"WORK_OF_ART.*and 2 more"):
        make_task(replace(spec, strict_labels=True), known, context=4096, prefix_tokens=lambda pieces: 10)


def test_a_run_over_many_lists_of_unknown_labels_stops_warning(caplog: pytest.LogCaptureFixture) -> None:
    known, warned = Instructions(GENERAL_PROMPT, "category", 1, (Label("Person"),), ("Person",), 1000), set[str]()
    for number in range(2 * UNKNOWN_WARNED):
        spec = RunSpec(labels=(Label("Person"), Label(f"A{number}")))
        make_task(spec, known, context=4096, prefix_tokens=lambda pieces: 10, warned=warned)
    assert len(caplog.records) == UNKNOWN_WARNED
    assert ["further labels" in record.message for record in caplog.records] == [False] * (UNKNOWN_WARNED - 1) + [True]
