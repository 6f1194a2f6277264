"""--labels-field: each document is asked for its own labels, as a run for these alone would ask, in input order."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest
from asking import news
from fake_engine import FakeEngine, text_of
from hypothesis import given
from hypothesis import strategies as st
from resuming import PATIENCE, Start, children, records, start, told, wait_for_lines, write_documents
from strategies import examples

from genner_cli import Extractor, extraction
from genner_cli.errors import UsageError
from genner_cli.extraction import extract
from genner_cli.files.labels import with_own_labels
from genner_cli.generation import Request
from genner_cli.prompting import general_prompt
from genner_cli.tasks import Task
from genner_cli.types import Document, FailedDocument, Label

__all__ = ["start"]

PEOPLE = ["PER", "ORG"]


def task_of(labels: Sequence[Label]) -> Task:
    if any(label.name == "WRONG" for label in labels):
        raise UsageError("WRONG is not known")
    return Task(tuple(labels), general_prompt("Find."), "bracketed", chunk_bytes=64)


ALL = task_of([Label("ALL")])
lists = st.lists(st.one_of(st.none(), st.sampled_from(["A", "B", "A,B", "WRONG"])), max_size=40)


@examples(60)
@given(lists, st.integers(1, 5), st.integers(0, 99), st.sampled_from([1, 3, 512]))
def test_each_document_is_asked_for_its_own_labels_in_groups_and_in_order(
    asked: list[str | None], slots: int, seed: int, block: int
) -> None:
    """The engine marks the whole text with the first label that its request asks for."""

    def answer(request: Request) -> str:
        name = "".join(piece.text for piece in request.prefix).split("Label Set:\n")[1].split()[0].strip("-:,")
        return f"[{text_of(request)} | {name}]"

    engine = FakeEngine(answer, slots=slots, seed=seed)
    documents = [
        Document(f"word{n}", str(n), labels=tuple(map(Label, names.split(","))) if names else None)
        for n, names in enumerate(asked)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extraction, "PASS_CHUNKS", block)
        found = list(extract(documents, ALL, engine.generate, task_of))
    assert [each.document for each in found] == documents
    for each, names in zip(found, asked, strict=True):
        if names == "WRONG":
            assert "WRONG is not known" in (each.error or "")
        else:
            first = names.split(",")[0] if names else "ALL"
            assert [(e.label, e.text) for e in each.entities] == [(first, each.document.text)]  # type: ignore[union-attr]
    if block == 512:
        prefixes = [request.prefix for request in engine.requests]
        changes = sum(one != other for one, other in pairwise(prefixes))
        assert changes < max(1, len(set(prefixes))), "documents with the same labels follow each other"


@pytest.mark.parametrize(
    ("value", "labels"),
    [
        (["PER", "ORG"], [Label("PER"), Label("ORG")]),
        ("PER, ORG", [Label("PER"), Label("ORG")]),
        ({"PER": "a  person", "ORG": None}, [Label("PER", "a person"), Label("ORG")]),
        (None, None),
    ],
)
def test_labels_are_a_list_a_text_or_an_object(value: object, labels: list[Label] | None) -> None:
    document = with_own_labels(Document("x", fields={"asked": value}), "asked")
    assert isinstance(document, Document)
    assert document.labels == (labels and tuple(labels))


@pytest.mark.parametrize("value", [[], "", ",", {}, 7, [7], ["PER", "PER"], {"PER": 7}, ["a|b"], [""]])
def test_labels_that_cannot_be_read_fail_their_document(value: object) -> None:
    failed = with_own_labels(Document("x", "1", fields={"asked": value}, source="a:1"), "asked")
    assert isinstance(failed, FailedDocument)
    assert failed.message.startswith("a:1: field 'asked': ")


def asking(count: int) -> list[dict[str, Any]]:
    lists = [PEOPLE, None, "LOC,PER,ORG", PEOPLE]
    return [{"id": n, "text": text, "asked": lists[n % 4]} for n, text in enumerate(news(30, 80)[:count])]


def entities(path: Path) -> dict[int, list[tuple[int, int, str]]]:
    return {r["id"]: [(e["start"], e["end"], e["label"]) for e in r["entities"]] for r in records(path)}


def test_extract_finds_what_runs_for_each_list_find(genner: Any, tmp_path: Path) -> None:
    docs = asking(24)
    run = genner(
        "extract", write_documents(tmp_path / "d.jsonl", docs), "--types", "PER,LOC", "--labels-field", "asked",
        "-o", tmp_path / "out.jsonl", "--stats", tmp_path / "stats.json",
    )  # fmt: skip
    assert run.status == 0
    assert [record["id"] for record in records(tmp_path / "out.jsonl")] == list(range(24))
    assert records(tmp_path / "out.jsonl")[0]["asked"] == PEOPLE
    found = entities(tmp_path / "out.jsonl")
    alone, prefixes = {}, 0
    for types, value in (("PER,ORG", PEOPLE), ("LOC,PER,ORG", "LOC,PER,ORG"), ("PER,LOC", None)):
        path = write_documents(tmp_path / "some.jsonl", [doc for doc in docs if doc["asked"] == value])
        out = tmp_path / f"{types}.jsonl"
        assert genner("extract", path, "--types", types, "-o", out, "--stats", tmp_path / "s.json").status == 0
        alone |= entities(out)
        prefixes += orjson.loads((tmp_path / "s.json").read_bytes())["tokens"]["prefix"]
    assert found == alone
    assert orjson.loads((tmp_path / "stats.json").read_bytes())["tokens"]["prefix"] <= prefixes


def test_labels_that_the_model_refuses_fail_their_document_alone(genner: Any, tmp_path: Path) -> None:
    lists = [PEOPLE, ["NO SUCH LABEL"], {"PER": "long " * 9000}, None, "LOC,PER,ORG"]
    docs = [{"id": n, "text": "Ann Lee lives in Rome.", "asked": labels} for n, labels in enumerate(lists)]
    call = ("extract", write_documents(tmp_path / "d.jsonl", docs), "--types", "PER,ORG", "--strict-labels")
    run = genner(*call, "--labels-field", "asked", "-o", tmp_path / "out.jsonl")
    found = records(tmp_path / "out.jsonl")
    assert (run.status, ["error" in record for record in found]) == (1, [False, True, True, False, False])
    assert "NO SUCH LABEL" in found[1]["error"]["message"]


def test_each_label_that_the_model_does_not_know_is_warned_of_once(genner: Any, tmp_path: Path) -> None:
    lists = [["PER", "ALPHA"], ["ALPHA", "BETA"], ["BETA", "ALPHA", "PER"]]
    docs = [{"text": "Ann Lee lives in Rome.", "asked": labels} for labels in lists]
    path = write_documents(tmp_path / "d.jsonl", docs)
    for call in (["extract", path], ["plan", path, "--seconds", "1"]):
        run = genner(*call, "--labels-field", "asked")
        assert run.status == 0, run.stderr
        assert [run.stderr.count(repr(name)) for name in ("ALPHA", "BETA")] == [1, 1]


def test_a_field_that_no_document_has_is_warned_of(genner: Any, tmp_path: Path) -> None:
    docs = [{"text": "Ann Lee lives in Rome.", "entities": [], "asked": labels} for labels in (None, ["PER"])]
    path = write_documents(tmp_path / "d.jsonl", docs)
    for command in ("extract", "evaluate"):
        warned = []
        for field in ("asked", "aksed"):
            run = genner(command, path, "--types", "PER,ORG", "--labels-field", field)
            assert run.status == 0, run.stderr
            warned.append("'aksed'" in run.stderr)
        assert warned == [False, True]


def test_a_run_with_own_labels_resumes_after_a_kill(start: Start, tmp_path: Path) -> None:
    docs = write_documents(tmp_path / "d.jsonl", [doc | {"id": n} for n, doc in enumerate(asking(24) * 8)])
    call = (docs, "--types", "PER,LOC", "--labels-field", "asked", "-o")
    told(start(*call, tmp_path / "whole.jsonl"), 0)
    out = tmp_path / "out.jsonl"
    process = start(*call, out)
    wait_for_lines(Path(f"{out}.partial"), 20, process)
    process.kill()
    process.wait()
    process = start(*call, out)
    wait_for_lines(Path(f"{out}.partial"), 40, process)
    engine = children(process)
    with suppress(ProcessLookupError):
        os.kill(engine[0], signal.SIGKILL)  # the engine's process is started again
    error = process.communicate(timeout=PATIENCE)[1].decode()
    if process.returncode != 0:  # it died while it was asked for a task
        assert "run the same command again" in error
        told(start(*call, out), 0)
    assert entities(out) == entities(tmp_path / "whole.jsonl")


def test_python_callers_have_it_too() -> None:
    given = [{"text": "Ann Lee lives in Rome.", "asked": ["LOC", "PER", "ORG"]}, {"text": "Ann Lee.", "asked": 7}]
    with Extractor("PER,ORG", labels_field="asked", threads=1, slots=1, gpu_layers=0) as extractor:
        first, second = extractor.extract(given)
    assert {entity["label"] for entity in first["entities"]} <= {"LOC", "PER", "ORG"}
    assert "error" in second


def test_evaluation_asks_for_and_scores_each_document_on_its_own_labels(genner: Any, tmp_path: Path) -> None:
    text = "Ann Lee of Acme lives in Rome."
    spans = {"PER": (0, 7), "ORG": (11, 15), "LOC": (25, 29)}
    every = [{"start": start, "end": end, "label": label} for label, (start, end) in spans.items()]
    lists = [["PER"], {"LOC": "a place", "ORG": None}, None]
    gold = [{"id": str(n), "text": text, "entities": every, "asked": asked} for n, asked in enumerate(lists)]
    # wrong only where it is not asked for, but for one of the last document
    wrong = [["ORG", "LOC"], ["PER"], ["ORG"]]
    found = [
        {"id": str(n), "text": text, "entities": [e for e in every if e["label"] not in wrong[n]]} for n in range(3)
    ]
    gold_file = write_documents(tmp_path / "gold.jsonl", gold)
    predictions = write_documents(tmp_path / "found.jsonl", found)
    call = ("evaluate", gold_file, "--labels-field", "asked", "--json")
    run = genner(*call, "--predictions", predictions)
    assert run.status == 0, run.stderr
    micro = orjson.loads(run.stdout)["micro"]
    assert (micro["hit"], micro["spurious"], micro["missed"]) == (5, 0, 1)
    assert genner(*call, "--predictions", predictions, "--scorer", "official").status == 2
    bad = write_documents(tmp_path / "bad.jsonl", [gold[0] | {"asked": 7}])
    refused = genner("evaluate", bad, "--labels-field", "asked", "--predictions", predictions)
    assert (refused.status, "field 'asked'" in refused.stderr) == (1, True)
    ran = genner(*call, "--types", "PER,ORG", "--threads", "1")
    assert ran.status == 0, ran.stderr
    assert orjson.loads(ran.stdout)["documents"]["failed"] == 0
