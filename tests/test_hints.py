"""Hints of another model: which document they belong to, how they are shown, and which ones are refused."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from fake_engine import FakeEngine
from random_model import write_random_model
from resuming import Start, manifest, records, start, told, wait_for_lines, write_documents

from genner_cli.demonstrations import Demonstrations, Nearest, Rendered
from genner_cli.errors import UsageError
from genner_cli.extraction import extract
from genner_cli.files import hints as hints_file
from genner_cli.files.hashing import hash_file, hash_files
from genner_cli.files.hints import FOLDS, TRAINING_DATA, check_hints, hinted, refuse_unmatched
from genner_cli.files.manifest import Manifest, Settings
from genner_cli.generation import Completion, EngineOptions, Request
from genner_cli.prompting import HINTS, Demonstration, Prompt, Turn, hint_lines
from genner_cli.running.backend import extractions
from genner_cli.running.examples import check_provenance
from genner_cli.running.llama import LlamaBackend
from genner_cli.running.local import run
from genner_cli.running.spec import Nearness, RunSpec
from genner_cli.running.supervised import SupervisedBackend
from genner_cli.tasks import Task
from genner_cli.types import Document, Entity, Label

__all__ = ["start"]
ENGINE = EngineOptions(threads=1, gpu_layers=0, slots=2)
NAMES = {"text_field": "text", "id_field": "id"}


def entity(text: str, mention: str, label: str, score: float | None = None) -> Entity:
    at = text.index(mention)
    return Entity(at, at + len(mention), label, mention, score)


def record(text: str, *entities: Entity, id: str | None = None) -> dict[str, Any]:
    found = [{"start": e.start, "end": e.end, "label": e.label, "score": e.score} for e in entities]
    return {**({"id": id} if id else {}), "text": text, "entities": found}


def made_by(path: Path, *, trained: Iterable[str] = (), calibration: str | None = "a map", **more: Any) -> None:
    """The manifest of a file of predictions."""
    model = {TRAINING_DATA: list(trained), **more}
    Manifest(Settings({"calibration": calibration}, model=model), "complete", None, {}).write(f"{path}.run.json")


def test_the_lines_of_hints() -> None:
    text = "Ann met\nBob in Rome."
    hints = [entity(text, "Ann met\nBob", "PER", 0.875), entity(text, "Rome", "LOC"), entity(text, "Rome", "CITY", 1.0)]
    assert hint_lines(hints, {"PER", "LOC"}) == f"{HINTS}Ann met Bob | PER | 0.88\nRome | LOC\n"
    assert hint_lines(hints, {"ORG"}) == hint_lines([], {"ORG"}) == f"{HINTS}none\n"


def test_hints_belong_to_the_document_of_their_id_and_text(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ann = entity("Ann ran.", "Ann", "PER", 0.5)
    path = write_documents(
        tmp_path / "hints.jsonl",
        [
            record("Ann ran.", id="2"),
            record("Ann ran.", ann, id="1"),
            record("Bob sat.", id="3"),
            {"id": "4", "text": "It broke.", "error": {"message": "failed"}, "entities": []},
        ],
    )
    asked = [
        Document("Ann ran.", "1"),
        Document("Ann ran.", "2"),
        Document("Ann ran.", "3"),
        Document("It broke.", "4"),
    ]
    with caplog.at_level(logging.WARNING, "genner"):
        found = list(hinted(asked, str(path), **NAMES))
    assert [each.hints for each in found] == [(ann,), (), None, None]
    assert [hint.score for hint in found[0].hints or ()] == [0.5]
    assert len(caplog.messages) == 1
    assert "2 of 4 documents" in caplog.text
    assert list(hinted(asked, None, **NAMES)) == asked
    read = iter(asked)
    refuse_unmatched(read, str(path), "--hints", **NAMES)
    assert len(list(read)) == 3  # one was enough
    with pytest.raises(UsageError, match="none of 2 documents"):
        refuse_unmatched(asked[2:], str(path), "--hints", **NAMES)
    refuse_unmatched([], str(path), "--hints", **NAMES)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no named pipes in folders")
def test_a_stream_of_documents_is_not_read_for_a_check_of_hints(tmp_path: Path) -> None:
    stream, hints = tmp_path / "stream.jsonl", write_documents(tmp_path / "hints.jsonl", [record("Ann ran.")])
    os.mkfifo(stream)
    reader = os.open(stream, os.O_RDONLY | os.O_NONBLOCK)
    stream.write_bytes(line := b'{"text": "Ann ran."}\n')
    check = threading.Thread(
        target=check_provenance, args=[RunSpec(inputs=(str(stream),), hints=str(hints))], daemon=True
    )
    check.start()
    check.join(10)  # for ever, if it waits for the end of the stream
    assert os.read(reader, 99) == line
    os.close(reader)


def test_a_file_of_hints_is_read_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster's actor draws its documents block by block."""
    reads = []
    real = hints_file.read_predictions

    def noting(*args: Any, **options: Any) -> Any:
        reads.append(args)
        return real(*args, **options)

    monkeypatch.setattr(hints_file, "read_predictions", noting)
    ann = entity("Ann ran.", "Ann", "PER", 0.5)
    path = write_documents(tmp_path / "hints.jsonl", [record("Ann ran.", ann)])
    for _ in range(2):
        assert [each.hints for each in hinted([Document("Ann ran.")], str(path), **NAMES)] == [(ann,)]
    assert len(reads) == 1
    write_documents(path, [record("Ann ran.")])
    assert [each.hints for each in hinted([Document("Ann ran.")], str(path), **NAMES)] == [()]


def test_hints_from_standard_input_are_refused() -> None:
    with pytest.raises(UsageError):
        check_hints("-", [], "--hints")


@pytest.mark.parametrize(
    ("trained", "more", "refused"),
    [
        ("all", {}, True),
        ("one", {}, True),
        ("alone", {}, True),
        ("other", {}, False),
        ("all", {FOLDS: 5}, False),
    ],
)
def test_hints_of_a_model_that_has_seen_the_texts_are_refused(
    trained: str, more: dict[str, Any], refused: bool, tmp_path: Path
) -> None:
    files = [write_documents(tmp_path / f"{name}.jsonl", [record(f"{name} ran.")]) for name in ("ann", "bob", "eve")]
    hashes = {"all": [hash_files(files[:2])], "one": ["x", hash_file(files[1])], "other": [hash_files(files[2:])],
              "alone": [hash_files(files[1:2])]}  # fmt: skip
    hints = write_documents(tmp_path / "hints.jsonl", [record("ann ran.")])
    made_by(hints, trained=hashes[trained], **more)
    if refused:
        with pytest.raises(UsageError, match=r"--hints .*hints\.jsonl"):
            check_hints(str(hints), map(str, files[:2]), "--hints")
    else:
        check_hints(str(hints), map(str, files[:2]), "--hints")


@pytest.mark.parametrize(("calibration", "warnings"), [("a map", 0), (None, 1)])
def test_raw_scores_and_unknown_origins_are_warned_of(
    calibration: str | None, warnings: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hints = write_documents(tmp_path / "hints.jsonl", [record("ann ran.")])
    with caplog.at_level(logging.WARNING, "genner"):
        check_hints(str(hints), [], "--hints")
        assert len(caplog.messages) == 1
        made_by(hints, calibration=calibration)
        check_hints(str(hints), [], "--hints")
    assert len(caplog.messages) == 1 + warnings


PROMPTS = tuple(Prompt("", ">", "<", (Turn("=", ";"),) * count) for count in range(3))


def test_a_model_that_trusts_sure_hints_alone_writes_just_these() -> None:
    """A scripted reader that keeps a hint from .8 on and finds `Bob` by itself."""
    texts = ["Ann met Bob.", "Bob met Ann.", "Nobody came."]
    hints = [
        (entity(texts[0], "Ann", "PER", 0.93),),
        (entity(texts[1], "Ann", "PER", 0.41), entity(texts[1], "Bob", "PER", 0.97)),
        (),
    ]

    def answer(request: Request) -> str:
        text, lines = request.text, request.rest[-2].text.removeprefix(HINTS).splitlines()
        split = [line.split(" | ") for line in lines if line != "none"]
        sure = {mention for mention, _, probability in split if float(probability) >= 0.8} | {"Bob"}
        for mention in sure & set(text.replace(".", " ").split()):
            text = text.replace(mention, f"<PER>{mention}</PER>")
        return text

    task = Task((Label("PER"),), PROMPTS[0], "xml", hinted=True)
    documents = [Document(text, hints=each) for text, each in zip(texts, hints, strict=True)]
    found = [[e.text for e in each.entities] for each in extract(documents, task, FakeEngine(answer).generate)]
    assert found == [["Ann", "Bob"], ["Bob"], []]


def test_hints_stand_in_demonstrations_and_behind_the_part_of_the_text_they_are_in() -> None:
    text = "Ann ran to Rome. " * 40 + "Bob sat in Oslo."
    pool = (Document("Bob ran.", entities=(entity("Bob ran.", "Bob", "PER"),),
                     hints=(entity("Bob ran.", "Bob", "PER", 0.75),)), Document("Eve sat."))  # fmt: skip
    rendered = Rendered("xml", ("PER", "LOC"))
    shown = Demonstrations(PROMPTS, Demonstration("i", "I"), nearest=Nearest(pool, rendered, 2, 1000))
    labels = (Label("PER"), Label("LOC"))
    task = Task(labels, PROMPTS[0], "xml", chunk_bytes=200, demonstrations=(shown,), hinted=True)
    oslo = entity(text, "Oslo", "LOC", 0.5)
    engine = FakeEngine(lambda request: request.text)
    list(extract([Document(text, hints=(oslo,)), Document("Bob left.")], task, engine.generate))
    *chunks, bare = engine.requests
    assert len(chunks) > 2
    there = {True: f"{HINTS}Oslo | LOC | 0.50\n", False: f"{HINTS}none\n"}
    assert [request.rest[-2].text for request in chunks] == [there["Oslo" in request.text] for request in chunks]
    assert chunks[-1].text.endswith("Oslo.")
    assert not bare.hinted
    assert bare.text == bare.rest[-2].text == "Bob left."
    (with_hints,) = [piece.text for piece in bare.rest[: bare.retrieved] if piece.text.startswith(HINTS)]
    assert with_hints == f"{HINTS}Bob | PER | 0.75\n"


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_model(tmp_path_factory.mktemp("models") / "foreign.gguf", leave_out=["genner."])


POOL = [
    record("Ann met Bob in Rome.", entity("Ann met Bob in Rome.", "Ann", "PER")),
    record("Rome slept.", entity("Rome slept.", "Rome", "LOC")),
    record("Bob sold a ship."),
    record("Eve flew to Oslo on Monday.", entity("Eve flew to Oslo on Monday.", "Oslo", "LOC")),
]
TEXTS = ["A ship for Bob", "Rome slept.", "In Oslo it rained.", "Ann and Eve met on Monday in Rome.", "Nobody."]
ASKED = [{"id": str(number), "text": text} for number, text in enumerate(TEXTS)]


@pytest.fixture
def spec(foreign: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., RunSpec]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    asked, pool = write_documents(tmp_path / "asked.jsonl", ASKED), write_documents(tmp_path / "pool.jsonl", POOL)
    hints = write_documents(
        tmp_path / "hints.jsonl",
        [{**each, "entities": record("", *hints_of(each["text"]))["entities"]} for each in ASKED],
    )
    made_by(hints)

    def make(**options: Any) -> RunSpec:
        given = {"labels": (Label("PER"), Label("LOC")), "model": str(foreign), "examples": str(pool), "format": "xml"}
        output = str(tmp_path / f"{options.pop('output', 'out')}.jsonl")
        more = {"hints": str(hints)} if options.pop("hinted", False) else {}
        engine = replace(ENGINE, slots=options.pop("slots", 2))
        return RunSpec(inputs=(str(asked),), output=output, engine=engine, shots=2, **{**given, **more, **options})

    return make


def hints_of(text: str) -> list[Entity]:
    return [entity(text, mention, "PER", 0.9) for mention in ("Bob", "Ann") if mention in text]


@pytest.mark.parametrize("way", ["sentence", "entity", "span"])
@pytest.mark.parametrize("with_hints", [False, True])
def test_one_slot_or_many_and_a_child_write_the_same(way: str, with_hints: bool, spec: Callable[..., RunSpec]) -> None:
    given = {"nearest": way, "hinted": with_hints}
    one, many, child = (spec(output=name, slots=slots, **given) for name, slots in (("a", 1), ("b", 4), ("c", 4)))
    run(one, LlamaBackend())
    run(many, LlamaBackend())
    done = run(child, SupervisedBackend())
    assert Path(one.output).read_bytes() == Path(many.output).read_bytes() == Path(child.output).read_bytes()
    assert [each.get("error") for each in records(Path(one.output))] == [None] * len(ASKED)
    tokens = done.report()["tokens"]
    assert tokens["retrieved"] > 0
    assert (tokens["hints"] > 0) is with_hints


def test_killed_and_resumed_writes_the_same(
    start: Start, foreign: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    asked = write_documents(
        tmp_path / "asked.jsonl", [{"id": str(n), "text": f"{n} {TEXTS[n % 5]}"} for n in range(40)]
    )
    pool, hints = write_documents(tmp_path / "pool.jsonl", POOL), tmp_path / "hints.jsonl"
    write_documents(hints, [{**each, "entities": []} for each in map(orjson.loads, asked.read_bytes().splitlines())])
    shown = ("--examples", pool, "--nearest", "span", "--shots", 2, "--hints", hints, "--format", "xml")
    command = (asked, "--model", foreign, "--types", "PER,LOC", *shown, "-o")
    whole, out = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    told(start(*command, whole), 0)
    killed = start(*command, out)
    wait_for_lines(Path(f"{out}.partial"), 5, killed)
    killed.kill()
    killed.wait()
    assert not out.exists()
    told(start(*command, out), 0)
    assert out.read_bytes() == whole.read_bytes()


def test_the_twin_of_a_text_is_never_shown_and_a_first_pass_finds_what_is_near(spec: Callable[..., RunSpec]) -> None:
    asked: list[Request] = []
    with LlamaBackend().open(spec(nearest="entity")) as opened:

        def noting(requests: Iterable[Request]) -> Iterator[tuple[int, Completion]]:
            return opened.generate(asked.append(each) or each for each in requests)  # type: ignore[func-returns-value]

        documents = [Document(each["text"]) for each in ASKED]
        done = list(extractions(replace(opened, engine=_Noting(opened.engine, noting)), documents))
    assert [each.document for each in done] == documents
    assert len(asked) == 2 * len(ASKED)
    for request in asked:
        shown = [piece.text for piece in request.rest[: request.retrieved] if not piece.literal][::2]
        assert request.text not in shown
        assert len(shown) == len(set(shown)) == 2


class _Noting:
    """An engine whose requests are noted."""

    def __init__(self, engine: Any, generate: Any) -> None:
        self.generate, self.statistics, self.costs = generate, engine.statistics, engine.costs


def test_what_is_chosen_is_in_the_manifest_and_a_resumed_run_keeps_it(
    spec: Callable[..., RunSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genner_cli.running.choosing.TRIED_FORMATS", ("xml", "bracketed"))
    asked = spec(choose=True, format=None)
    run(replace(asked, limit=2), LlamaBackend())
    begun = manifest(Path(asked.output))
    chosen = begun["model"]["chosen"]
    assert {"xml, words", "bracketed, words", f"{chosen['format']}, span"} <= chosen["f1"].keys()
    assert (begun["options"]["format"], begun["options"]["nearest"]) == (chosen["format"], chosen["nearest"])
    monkeypatch.setattr("genner_cli.running.llama.choose", lambda *_: pytest.fail("it is chosen already"))
    done = run(asked, LlamaBackend())
    assert (done.documents, manifest(Path(asked.output))["model"]["chosen"]) == (len(ASKED) - 2, chosen)
    given = replace(asked, choose=False, format=chosen["format"], nearest=chosen["nearest"])
    assert run(given, LlamaBackend()).complete, "the same as if both were given"


@pytest.mark.parametrize(
    "options",
    [
        {"example_hints": "x.jsonl"},
        {"choose": True, "examples": None, "shots": None},
        {"choose": True, "cluster": "ray"},
    ],
)
def test_options_that_contradict_each_other(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        RunSpec(**{"labels": (Label("PER"),), "examples": "pool.jsonl", **options})


def test_no_retrieval_needs_no_examples() -> None:
    assert RunSpec(nearest="none").nearest is Nearness.NONE  # type: ignore[arg-type]  # callers may give its name


def test_a_leak_ends_a_run_before_the_model_is_opened(spec: Callable[..., RunSpec], tmp_path: Path) -> None:
    leak = write_documents(tmp_path / "leak.jsonl", POOL)
    made_by(leak, trained=[hash_file(tmp_path / "pool.jsonl")])
    wrong = spec(hinted=True, example_hints=str(leak), nearest="words", model="missing.gguf")
    with pytest.raises(UsageError, match="trained on these very texts"):
        run(wrong, LlamaBackend())
    made_by(leak, trained=[hash_file(tmp_path / "pool.jsonl")], **{FOLDS: 5})
    run(replace(wrong, model=spec().model), LlamaBackend())


def test_the_manifest_of_a_trained_model_names_its_data(tmp_path: Path) -> None:
    """So that its predictions are refused as hints for the very texts."""
    path = write_documents(tmp_path / "asked.jsonl", ASKED)
    data = {"genner.base.reference": "b", "genner.base.hash": "c", "genner.data.hash": hash_files([path])}
    more = {"genner.data.files": orjson.dumps([hash_file(path)]).decode(), "genner.training.options": "{}"}
    model = write_random_model(tmp_path / "own.gguf", change={**data, **more, "genner.training.versions": "{}"})
    out = tmp_path / "found.jsonl"
    run(RunSpec(inputs=(str(path),), model=str(model), output=str(out), engine=ENGINE, limit=1), LlamaBackend())
    assert manifest(out)["model"][TRAINING_DATA] == [hash_files([path]), hash_file(path)]
    with pytest.raises(UsageError):
        check_hints(str(out), [str(path)], "--hints")
