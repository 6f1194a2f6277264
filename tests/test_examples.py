"""Examples for a model that genner did not train, through the real engine."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from asking import ROOT
from random_model import write_random_model
from resuming import write_documents
from test_chat import CHAT

from genner_cli import hub
from genner_cli.demonstrations import Query
from genner_cli.engine.chat import CHAT_TEMPLATE
from genner_cli.errors import ModelError, UsageError
from genner_cli.extraction import extract
from genner_cli.files.calibrations import calibration_value
from genner_cli.files.gold import read_gold
from genner_cli.files.writing import encode_value
from genner_cli.formats import FORMATS
from genner_cli.generation import Completion, EngineOptions, Request
from genner_cli.planning import Tally
from genner_cli.running.backend import Opened
from genner_cli.running.examples import asked_options
from genner_cli.running.llama import LlamaBackend, open_model
from genner_cli.running.spec import RunSpec
from genner_cli.types import Calibration, Document, Knot, Label, ScoreMap

SHOWN = {"Ann met Bob in Rome.": ("Ann", "PER"), "Rome slept.": ("Rome", "LOC"), "Bob sold a ship.": ("ship", "SHIP")}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "foreign.gguf"
    return write_random_model(path, change={CHAT_TEMPLATE: CHAT}, leave_out=["genner."])


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    values = [
        {"text": text, "entities": [{"start": text.index(m), "end": text.index(m) + len(m), "label": label}]}
        for text, (m, label) in SHOWN.items()
    ]
    return write_documents(tmp_path / "shown.jsonl", values)


@pytest.fixture
def spec(model: Path, examples: Path) -> Callable[..., RunSpec]:
    def make(**options: Any) -> RunSpec:
        engine = EngineOptions(threads=1, gpu_layers=0, slots=2, context=options.pop("context", 8192))
        given = {"labels": (Label("PER"), Label("LOC")), "model": str(model), "examples": str(examples)}
        return RunSpec(engine=engine, **{"format": "xml", **given, **options})

    return make


def requests_of(opened: Opened, texts: list[str]) -> list[Request]:
    """What extraction asks about the texts, each answered by the engine."""
    asked: list[Request] = []

    def noting(requests: Iterable[Request]) -> Iterator[tuple[int, Completion]]:
        def noted() -> Iterator[Request]:
            for request in requests:
                asked.append(request)
                yield request

        return opened.generate(noted())

    results = list(extract(map(Document, texts), opened.facts.task, noting))
    assert [result.error for result in results] == [None] * len(texts)
    return asked


def plain(pieces: Iterable[Any]) -> list[str]:
    return [piece.text for piece in pieces if not piece.literal]


def test_fixed_examples_stand_in_the_prefix_and_are_computed_once(spec: Callable[..., RunSpec]) -> None:
    texts = ["Eve met Otto.", "Rome is old.", "Nobody came."]
    with LlamaBackend().open(spec(shots=3)) as opened:
        asked = requests_of(opened, texts)
        shown = {"Ann met Bob in Rome.": "<PER>Ann</PER> met Bob in Rome.", "Rome slept.": "<LOC>Rome</LOC> slept.",
                 "Bob sold a ship.": "Bob sold a ship."}  # fmt: skip
        for request, text in zip(asked, texts, strict=True):
            assert request.prefix == asked[0].prefix
            assert plain(request.rest) == [text]
        labels, *parts = plain(asked[0].prefix)
        assert labels == "PER\nLOC\n"
        assert dict(zip(parts[::2], parts[1::2], strict=True)) == shown
        assert parts[2] == "Bob sold a ship.", "the one without entities that are asked for, last but one"
        statistics = opened.statistics
    with open_model(spec(shots=3)) as (_, opened_model):
        assert statistics.prefix == len(opened_model.prefix_ids(asked[0].prefix))


def test_nearest_examples_stand_with_each_text_and_never_the_text_itself(spec: Callable[..., RunSpec]) -> None:
    texts = ["A ship for Bob", "Rome slept.", "In Rome"]
    with LlamaBackend().open(spec(shots=2, nearest="words")) as opened:
        asked = requests_of(opened, texts)
    for request, text in zip(asked, texts, strict=True):
        assert plain(request.prefix) == ["PER\nLOC\n"]
        assert plain(request.rest)[-1] == text
        assert text not in plain(request.rest)[:-1]
        assert len(plain(request.rest)) == 5
    assert plain(asked[0].rest)[-3:-1] == ["Bob sold a ship."] * 2, "the nearest stands last"
    assert plain(asked[2].rest)[-3] == "Ann met Bob in Rome."


def test_a_fixed_example_is_not_shown_with_itself(spec: Callable[..., RunSpec]) -> None:
    with LlamaBackend().open(spec(shots=3)) as opened:
        (asked,) = requests_of(opened, ["Rome slept."])
    assert "Rome slept." not in plain(asked.prefix)
    assert len(plain(asked.prefix)) == 1 + 2 * 2


@pytest.mark.parametrize("name", FORMATS)
def test_without_examples_the_prompt_shows_one_in_the_format(name: str, spec: Callable[..., RunSpec]) -> None:
    with open_model(spec(examples=None, format=name)) as (facts, _):
        (shown,) = facts.task.demonstrations
        prefix, *_ = shown.pieces(facts.task.labels, Query("x", "x"))
        text, answer = plain(prefix)[1:]
        assert [entity.label for entity in FORMATS[name].parse(answer, text)] == ["PER", "LOC"]
        assert FORMATS[name].task in facts.task.prompt.before_labels
        assert facts.task.whole_words


def test_examples_that_do_not_fit_a_quarter_of_the_context_are_fewer(
    spec: Callable[..., RunSpec], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "genner"), open_model(spec(shots=3, context=320)) as (facts, model):
        prefix, *_ = facts.task.demonstrations[0].pieces(facts.task.labels, Query("x", "x"))
        shown = len(model.prefix_ids(prefix)) - len(model.prefix_ids(facts.task.prompt.prefix(facts.task.labels)))
        assert 3 <= len(plain(prefix)) < 1 + 2 * 3
        assert shown <= 80
    assert sum("fit into 80 tokens" in message for message in caplog.messages) == 1


def test_all_examples_are_shown_without_a_warning_where_all_fit(
    spec: Callable[..., RunSpec], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "genner"):
        for asked in (("PER", "LOC"), ("SHIP",)):
            with open_model(spec(shots=9, labels=tuple(map(Label, asked)))) as (facts, _):
                (demonstrations,) = facts.task.demonstrations
                assert {each.text for each in demonstrations.fixed} == SHOWN.keys()
    assert not caplog.messages


def test_the_file_of_an_instruction_replaces_the_wording(spec: Callable[..., RunSpec], tmp_path: Path) -> None:
    path = tmp_path / "wording.txt"
    path.write_text("  Trouvez les noms.\n")
    with open_model(spec(instruction=str(path), no_chat_template=True)) as (facts, _):
        assert facts.task.prompt.before_labels == "Trouvez les noms.\n\nLabel Set:\n"


def test_an_instruction_that_is_too_long_is_named_as_such(spec: Callable[..., RunSpec], tmp_path: Path) -> None:
    path = tmp_path / "wording.txt"
    path.write_text("Find the names. " * 400)
    too_long = pytest.raises(UsageError, match=r"instruction.* of 512;")
    with LlamaBackend().open(spec(instruction=str(path), context=512)) as opened, too_long:
        requests_of(opened, ["Ann slept."])


def test_an_example_that_the_format_cannot_carry_is_not_shown(
    spec: Callable[..., RunSpec], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    inside = {"text": "unhappy", "entities": [{"start": 2, "end": 7, "label": "PER"}]}
    whole = {"text": "Ann is happy.", "entities": [{"start": 0, "end": 3, "label": "PER"}]}
    path = write_documents(tmp_path / "two.jsonl", [inside, whole])
    with open_model(spec(examples=str(path), format="category")) as (facts, _):
        (demonstrations,) = facts.task.demonstrations
        assert [each.text for each in demonstrations.fixed] == ["Ann is happy."]
    assert ["in the format category" in message for message in caplog.messages] == [True]


def test_what_else_a_file_says_of_its_examples_counts_for_nothing(spec: Callable[..., RunSpec], tmp_path: Path) -> None:
    value = {"text": "Ann is happy.", "entities": [{"start": 0, "end": 3, "label": "PER"}]}
    contents = []
    for name, more in (("one.jsonl", {}), ("two.jsonl", {"id": "7", "year": 2026})):
        path = write_documents(tmp_path / name, [{**value, **more}])
        with open_model(spec(examples=str(path), nearest="words")) as (facts, _):
            contents.append(facts.task.demonstrations[0].content())
    assert contents[0] == contents[1]


def test_each_pass_shows_the_examples_of_its_labels(spec: Callable[..., RunSpec]) -> None:
    labels = tuple(Label(name, "such things " * 12) for name in ("PER", "LOC", "SHIP"))
    with open_model(spec(labels=labels, context=256, shots=1)) as (facts, _):
        assert len(facts.task.passes) > 1
        for task in facts.task.by_pass():
            (demonstrations,) = task.demonstrations
            answers = [each.answer for each in demonstrations.fixed]
            assert all(
                f"<{label}>" not in answer for answer in answers for label in {"PER", "LOC", "SHIP"} - {*task.names}
            )


def test_a_plan_counts_the_bytes_of_texts_and_not_those_of_examples(spec: Callable[..., RunSpec]) -> None:
    def nothing(requests: Iterable[Request]) -> Iterator[tuple[int, Completion]]:
        yield from ((number, Completion("")) for number, _ in enumerate(requests))

    tally = Tally()
    with open_model(spec(nearest="words")) as (facts, _):
        list(extract([Document("In Rome"), Document("Zoë")], facts.task, tally.counted(nothing)))
    assert (tally.completions, tally.bytes) == (2, len("In RomeZoë".encode()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": str(hub.BUNDLED)}, "has a prompt of its own"),
        ({"examples": None, "model": str(hub.BUNDLED), "no_chat_template": True}, "has a prompt of its own"),
        ({"labels": (Label("TIME"),)}, "theirs are LOC, PER, SHIP"),
        ({"examples": "missing.jsonl"}, r"missing\.jsonl"),
        ({"instruction": "missing.txt"}, r"missing\.txt"),
    ],
)
def test_what_cannot_be_shown_is_a_usage_error(
    options: dict[str, Any], message: str, spec: Callable[..., RunSpec]
) -> None:
    with pytest.raises(UsageError, match=message):
        open_model(spec(**options)).__enter__()


@pytest.mark.parametrize("content", ["", '{"text": "Ann", "entities": []}\n'])
def test_a_file_without_any_example_is_a_usage_error(
    content: str, spec: Callable[..., RunSpec], tmp_path: Path
) -> None:
    path = tmp_path / "empty.jsonl"
    path.write_text(content)
    with pytest.raises(UsageError, match=r"empty\.jsonl: .* at all"):
        open_model(spec(examples=str(path))).__enter__()


@pytest.mark.parametrize("line", ['{"text": "Ann"}', '{"text": "Ann", "entities": [{"start": 0, "end": 9}]}'])
def test_a_wrong_example_is_named(line: str, spec: Callable[..., RunSpec], tmp_path: Path) -> None:
    path = tmp_path / "wrong.jsonl"
    path.write_text(f"{line}\n")
    with pytest.raises(UsageError, match=r"wrong\.jsonl:1"):
        open_model(spec(examples=str(path))).__enter__()


def test_the_examples_that_come_with_genner_can_be_shown() -> None:
    gold = read_gold([str(ROOT / "examples" / "news_examples.jsonl")])
    assert not gold.problems
    assert {entity.label for document in gold.documents for entity in document.entities} == {"PER", "ORG", "LOC"}
    assert any(not document.entities for document in gold.documents)


def calibrated(spec: RunSpec, path: Path) -> RunSpec:
    """The same run with a calibration that was made for it."""
    with open_model(spec) as (facts, _):
        calibration = Calibration(ScoreMap((Knot(0.0, 0.0), Knot(1.0, 1.0))), {})
        asked = asked_options(facts.task, spec)
        value = calibration_value(calibration, facts.files, facts.fingerprint, asked=asked, more={})
    path.write_bytes(encode_value(value))
    return replace(spec, calibration=str(path))


def test_a_calibration_holds_for_the_examples_it_was_made_with(
    spec: Callable[..., RunSpec], examples: Path, tmp_path: Path
) -> None:
    others = write_documents(
        tmp_path / "others.jsonl",
        [*map(orjson.loads, examples.read_bytes().splitlines()), {"text": "It rained.", "entities": []}],
    )
    (tmp_path / "wording.txt").write_text("Find people.")
    whole = calibrated(spec(shots=2), tmp_path / "made.json")
    moved = examples.rename(tmp_path / "moved.jsonl")
    same = {"examples": str(moved), "shots": 2, "labels": (Label("PER"),)}
    with open_model(replace(whole, **same)) as (facts, _):
        assert facts.task.calibration
    for option, value in [
        ("examples", str(others)),
        ("examples", None),
        ("shots", 3),
        ("nearest", "words"),
        ("instruction", str(tmp_path / "wording.txt")),
        ("no_chat_template", True),
        ("whole_words", False),
    ]:
        changed = {**same, option: value, **({"shots": None} if option == "examples" and not value else {})}
        name = option.replace("_", "-")
        with pytest.raises(ModelError, match=rf"made\.json: was made for --{name}"):
            open_model(replace(whole, **changed)).__enter__()
    plain = calibrated(spec(examples=None), tmp_path / "plain.json")
    with pytest.raises(ModelError, match="made for --examples unset"):
        open_model(replace(plain, **same)).__enter__()


def test_an_empty_instruction_is_refused(spec: Callable[..., RunSpec], tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text(" \n")
    with pytest.raises(UsageError, match="is empty"):
        open_model(spec(instruction=str(tmp_path / "empty.txt"))).__enter__()
